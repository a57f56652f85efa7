//! Small models that loom plays through in every order of their steps: the live policies of a key come and go with those who wait.
//!
//! `RUSTFLAGS="--cfg steadfast_loom" cargo test --release --lib models`

use super::{KeyPermit, PerKey, PerKeyConfig};
use crate::admission::Bulkhead;
use crate::call::Call;
use crate::models::{Task, model};
use crate::outcome::{Outcome, Verdict};
use loom::thread;
use std::sync::atomic::{AtomicUsize, Ordering};

const S: Outcome = Outcome::Judged(Verdict::Success);

fn caller(keys: &'static PerKey) -> Task<KeyPermit<'static>> {
    Task::new(async { keys.acquire(&Call::now().for_key("a")).await.expect("nobody is refused") })
}

fn keys() -> &'static PerKey {
    let config: PerKeyConfig = PerKey::new(1).bulkhead(Bulkhead::new(1).queue(2));
    Box::leak(Box::new(config.build().expect("valid")))
}

/// Nobody runs, nobody waits, and the next one gets in.
fn is_quiet(keys: &PerKey) {
    let now = keys.snapshot("a").expect("known");
    assert_eq!((now.in_use, now.waiting), (Some(0), 0));
    keys.try_acquire("a", 1).expect("there is room").settle(S);
}

#[test]
fn h50_a_release_beside_the_first_who_waits_wakes_it() {
    model(4, || {
        let keys = keys();
        let held = keys.try_acquire("a", 1).expect("free");
        let thread = thread::spawn(move || held.settle(S));
        let mut caller = caller(keys);
        let early = caller.poll();
        thread.join().expect("no panic");
        let permit = early.or_else(|| caller.run()).expect("woken");
        assert_eq!(keys.snapshot("a").expect("known").in_use, Some(1));
        drop(permit);
        is_quiet(keys);
    });
}

#[test]
fn h03_the_last_waiter_leaves_beside_a_release_and_an_arrival() {
    model(3, || {
        let keys = keys();
        let held = keys.try_acquire("a", 1).expect("free");
        let mut caller = caller(keys);
        assert!(caller.poll().is_none());
        let leaver = thread::spawn(move || drop(caller));
        let newcomer = thread::spawn(|| drop(keys.try_acquire("a", 1)));
        drop(held);
        leaver.join().expect("no panic");
        newcomer.join().expect("no panic");
        is_quiet(keys);
    });
}

#[test]
fn the_limit_of_a_key_holds_while_its_policies_come_and_go() {
    model(3, || {
        let keys = keys();
        let inside: &'static AtomicUsize = Box::leak(Box::default());
        let call = move || {
            let mut caller = caller(keys);
            let permit = caller.poll().or_else(|| caller.run());
            if let Some(permit) = permit {
                assert_eq!(inside.fetch_add(1, Ordering::SeqCst), 0);
                thread::yield_now();
                inside.fetch_sub(1, Ordering::SeqCst);
                permit.settle(S);
            }
        };
        // Two, for a third makes a million orders, and in so many one is interrupted long enough that the line takes it for parked.
        let thread = thread::spawn(call);
        call();
        thread.join().expect("no panic");
        is_quiet(keys);
    });
}
