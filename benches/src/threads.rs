//! The peers where threads meet: two threads on one policy, 64 tasks on two workers through one stack.

use crate::peers::tower_breaker;
use crate::peers::{failsafe, governed, governor, recloser, seatbelt_breaker, with_permit};
use crate::stacks::{ByHand, seatbelt_six, tower_six};
use crate::window::WindowBreaker;
use crate::{AT_ONCE, BACKOFF, FALLBACK, RATE, RETRIES, Row, TIMEOUT, leak, op, slow_op, tasks, threaded};
use layered::Service as _;
use tokio::sync::Semaphore;
use tower::{ServiceBuilder, ServiceExt, service_fn};

/// All of them.
pub fn rows() -> Vec<Row> {
    use failsafe::futures::CircuitBreaker;
    let mut rows = Vec::new();

    let group = "2 threads, closed breaker";
    let (recloser, failsafe, seatbelt, window) = (recloser(), failsafe(), seatbelt_breaker(op), WindowBreaker::default());
    rows.push(threaded(2, group, "window by hand", async move || window.call(op).await));
    rows.push(threaded(2, group, "recloser", async move || recloser.call(op()).await));
    rows.push(threaded(2, group, "failsafe", async move || failsafe.call(op()).await));
    rows.push(threaded(2, group, "seatbelt", async move || seatbelt.execute(()).await));

    let governor = governor();
    rows.push(threaded(2, "2 threads, rate limit", "governor (check)", async move || governed(&governor).await));
    let semaphore = Semaphore::new(AT_ONCE);
    rows.push(threaded(2, "2 threads, bulkhead", "tokio Semaphore (try_acquire)", async move || with_permit(&semaphore).await));

    let group = "64 tasks, stack of six";
    let by_hand = leak(ByHand::default());
    let seatbelt = leak(seatbelt_six(op));
    let tower = tower_six!(op);
    rows.push(tasks(group, "by hand", || by_hand.six(op)));
    rows.push(tasks(group, "seatbelt + 2 by hand", || seatbelt.execute(())));
    rows.push(tasks(group, "tower-resilience", move || tower.clone().oneshot(())));

    let group = "64 tasks, stack of six, operation suspends once";
    let by_hand = leak(ByHand::default());
    let seatbelt = leak(seatbelt_six(slow_op));
    let tower = tower_six!(slow_op);
    rows.push(tasks(group, "by hand", || by_hand.six(slow_op)));
    rows.push(tasks(group, "seatbelt + 2 by hand", || seatbelt.execute(())));
    rows.push(tasks(group, "tower-resilience", move || tower.clone().oneshot(())));
    rows
}
