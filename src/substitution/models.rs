//! Small models that loom plays through in every order of their steps: what many threads do to one key in flight.
//!
//! `RUSTFLAGS="--cfg steadfast_loom" cargo test --release --lib models`

use super::coalesce::{Coalesce, CoalesceConfig, End};
use crate::models::{Task, model};
use loom::thread;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::Poll;

/// How many operations run, and how often one began. An operation takes two polls.
#[derive(Clone, Copy)]
struct Watch {
    running: &'static AtomicUsize,
    runs: &'static AtomicUsize,
}

struct Running(&'static AtomicUsize);

impl Drop for Running {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

impl Watch {
    fn new() -> Self {
        Self { running: Box::leak(Box::default()), runs: Box::leak(Box::default()) }
    }

    async fn operation(self) -> Result<usize, ()> {
        assert_eq!(self.running.fetch_add(1, Ordering::SeqCst), 0, "one at a time");
        let _running = Running(self.running);
        let run = self.runs.fetch_add(1, Ordering::SeqCst) + 1;
        let mut first = true;
        std::future::poll_fn(|cx| {
            if std::mem::take(&mut first) {
                cx.waker().wake_by_ref();
                return Poll::Pending;
            }
            Poll::Ready(())
        })
        .await;
        Ok(run)
    }
}

struct Caller(Task<End<usize, ()>>);

impl Caller {
    fn new(group: &'static Coalesce<usize, ()>, watch: Watch) -> Self {
        Self(Task::new(group.join("key", None, |_| true, move || watch.operation())))
    }

    fn poll(&mut self) -> Option<usize> {
        self.0.poll().and_then(answer)
    }

    fn run(&mut self) -> Option<usize> {
        self.0.run().and_then(answer)
    }
}

fn answer(end: End<usize, ()>) -> Option<usize> {
    match end {
        End::Own(answer) | End::Shared(answer) => answer.ok(),
        End::OutOfTime => None,
    }
}

fn group() -> &'static Coalesce<usize, ()> {
    let config: CoalesceConfig = Coalesce::new();
    Box::leak(Box::new(config.build().expect("valid")))
}

#[test]
fn h10_a_leader_dropped_beside_its_followers_hands_over_to_one() {
    model(3, || {
        let (group, watch) = (group(), Watch::new());
        let mut leader = Caller::new(group, watch);
        let mut followers = [Caller::new(group, watch), Caller::new(group, watch)];
        assert!(leader.poll().is_none());
        assert!(followers.iter_mut().all(|follower| follower.poll().is_none()));
        let thread = thread::spawn(move || drop(leader));
        let [mut one, mut two] = followers;
        // Polled for no reason, as a `select!` does: they look while it leaves.
        let (first, second) = (one.poll(), two.poll());
        thread.join().expect("no panic");
        let first = first.or_else(|| one.run());
        let second = second.or_else(|| two.run());
        let first = first.or_else(|| one.run());
        assert_eq!((first, second), (Some(2), Some(2)), "one ran, and both have it");
        assert_eq!((watch.runs.load(Ordering::SeqCst), group.in_flight()), (2, 0));
    });
}

#[test]
fn an_arrival_beside_the_answer_gets_it_or_asks_anew() {
    model(4, || {
        let (group, watch) = (group(), Watch::new());
        let mut leader = Caller::new(group, watch);
        assert!(leader.poll().is_none());
        let thread = thread::spawn(move || leader.run().expect("it was woken"));
        let mut late = Caller::new(group, watch);
        let early = late.poll();
        assert_eq!(thread.join().expect("no panic"), 1);
        let answer = early.or_else(|| late.run()).expect("woken");
        assert_eq!(answer, watch.runs.load(Ordering::SeqCst), "the first one's, or its own");
        assert_eq!(group.in_flight(), 0);
    });
}

#[test]
fn h10_a_follower_dropped_beside_its_leader_passes_the_call_on() {
    model(3, || {
        let (group, watch) = (group(), Watch::new());
        let mut leader = Caller::new(group, watch);
        let (mut leaver, mut stays) = (Caller::new(group, watch), Caller::new(group, watch));
        assert!(leader.poll().is_none() && leaver.poll().is_none() && stays.poll().is_none());
        let one = thread::spawn(move || drop(leader));
        let two = thread::spawn(move || drop(leaver));
        let early = stays.run();
        one.join().expect("no panic");
        two.join().expect("no panic");
        assert_eq!(early.or_else(|| stays.run()), Some(2));
        assert_eq!((watch.runs.load(Ordering::SeqCst), group.in_flight()), (2, 0));
    });
}

#[test]
fn two_arrivals_are_one_flight_and_the_key_is_not_leaked() {
    model(3, || {
        let (group, watch) = (group(), Watch::new());
        let thread = thread::spawn(move || {
            let mut caller = Caller::new(group, watch);
            let _ = caller.poll();
            let _ = caller.run();
        });
        let mut caller = Caller::new(group, watch);
        let early = caller.poll().or_else(|| caller.run());
        thread.join().expect("no panic");
        assert!(early.or_else(|| caller.run()).is_some(), "whatever became of the other");
        assert_eq!(group.in_flight(), 0);
    });
}
