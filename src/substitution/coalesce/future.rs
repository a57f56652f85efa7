//! A call in a group, as a future: it leads, or it follows and looks after who leads.

use super::flight::{Found, Group, Role, Seat};
use crate::admission::keyed::Hash;
use crate::call::polled_again;
use crate::time;
use pin_project_lite::pin_project;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use tokio::time::{Instant, Sleep, sleep_until};

/// How a call ended.
pub(crate) enum End<T, E> {
    /// By its own operation.
    Own(Result<T, E>),
    /// By that of another one.
    Shared(Result<T, E>),
    /// The deadline came while it waited for another one.
    OutOfTime,
}

pin_project! {
    /// A call in a group. To be awaited in an `async` block, which drops it when its operation panics: so the leader leaves at once, also
    /// if the block is kept.
    #[must_use = "futures do nothing unless polled"]
    pub(crate) struct Coalescing<'a, T, E, F, Fut> {
        // Dropped in this order: the operation is gone before another one begins.
        #[pin]
        running: Option<Fut>,
        seat: Option<Seat<'a, T, E>>,
        operation: Option<F>,
        group: &'a Group<T, E>,
        hash: Hash,
        deadline: Option<Instant>,
        concern: fn(&E) -> bool,
        timer: Option<Pin<Box<Sleep>>>,
    }
}

impl<'a, T, E, F, Fut> Coalescing<'a, T, E, F, Fut> {
    pub(super) fn new(group: &'a Group<T, E>, hash: Hash, deadline: Option<Instant>, concern: fn(&E) -> bool, operation: F) -> Self {
        Self { running: None, seat: None, operation: Some(operation), group, hash, deadline, concern, timer: None }
    }
}

impl<T, E, F, Fut> Future for Coalescing<'_, T, E, F, Fut>
where
    T: Clone,
    E: Clone,
    F: FnOnce() -> Fut,
    Fut: Future<Output = Result<T, E>>,
{
    type Output = End<T, E>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut this = self.project();
        if this.seat.is_none() && this.running.is_none() && this.operation.is_some() {
            *this.seat = this.group.join(*this.hash, Instant::now());
            if this.seat.is_none() {
                this.group.ran_alone();
            }
        }
        loop {
            let Some(seat) = this.seat.as_mut() else {
                // Alone.
                if let Some(operation) = this.operation.take() {
                    this.running.set(Some(operation()));
                }
                let running = this.running.as_mut().as_pin_mut().unwrap_or_else(|| polled_again());
                let answer = ready!(running.poll(cx));
                this.running.set(None);
                return Poll::Ready(End::Own(answer));
            };
            if let Role::Leader { beat, waker } = &seat.role {
                beat.poll(cx.waker());
                let waker = waker.clone();
                if let Some(operation) = this.operation.take() {
                    this.running.set(Some(operation()));
                }
                let Some(running) = this.running.as_mut().as_pin_mut() else { polled_again() };
                let answer = ready!(running.poll(&mut Context::from_waker(&waker)));
                this.running.set(None);
                let answer = seat.finish(answer, *this.concern);
                return Poll::Ready(End::Own(answer));
            }
            if !matches!(seat.role, Role::Follower) {
                polled_again();
            }
            let now = Instant::now();
            let is_late = this.deadline.is_some_and(|deadline| deadline <= now);
            let since = match seat.look(cx.waker(), now, is_late) {
                Found::Answer(answer) => {
                    *this.timer = None;
                    return Poll::Ready(End::Shared(Arc::unwrap_or_clone(answer)));
                }
                Found::Lead => {
                    *this.timer = None;
                    continue;
                }
                Found::Wait(since) => since,
            };
            if is_late {
                seat.leave();
                return Poll::Ready(End::OutOfTime);
            }
            if !follow(this.timer, seat, since, *this.deadline, now, cx) {
                return Poll::Pending;
            }
        }
    }
}

/// Looks after the leader once in a while; true when there is something to look at again.
fn follow<T, E>(
    timer: &mut Option<Pin<Box<Sleep>>>,
    seat: &mut Seat<'_, T, E>,
    since: Instant,
    deadline: Option<Instant>,
    now: Instant,
    cx: &mut Context<'_>,
) -> bool {
    match timer {
        Some(timer) => {
            if timer.as_mut().poll(cx).is_pending() {
                return false;
            }
            if seat.lose_patience(now) {
                return true;
            }
        }
        // Without a runtime there are no timers, and so no patience to lose.
        None if tokio::runtime::Handle::try_current().is_err() => return false,
        None => {}
    }
    let [patience, max_wait] = seat.group.limits();
    let next = time::earlier(time::after(now, patience), time::after(since, max_wait));
    let Some(next) = time::earlier(next, deadline) else {
        *timer = None;
        return false; // it follows for ever
    };
    let timer = timer.get_or_insert_with(|| Box::pin(sleep_until(next)));
    timer.as_mut().reset(next);
    timer.as_mut().poll(cx).is_ready()
}
