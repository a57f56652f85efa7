//! Small models that loom plays through in every order of their steps: the live policies of a key come and go with those who wait.
//!
//! `RUSTFLAGS="--cfg steadfast_loom" cargo test --release --lib models`

use super::{KeyPermit, PerKey, PerKeyConfig};
use crate::admission::Bulkhead;
use crate::call::Call;
use crate::outcome::{Outcome, Rejected, Verdict};
use loom::thread;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, Wake, Waker};

const S: Outcome = Outcome::Judged(Verdict::Success);

fn model(preemptions: usize, play: impl Fn() + Send + Sync + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(preemptions);
    builder.check(play);
}

#[derive(Default)]
struct Woken(AtomicUsize);

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

type Acquiring = Pin<Box<dyn Future<Output = Result<KeyPermit<'static>, Rejected>> + Send>>;

struct Caller {
    future: Acquiring,
    woken: Arc<Woken>,
}

impl Caller {
    fn new(keys: &'static PerKey) -> Self {
        Self { future: Box::pin(async { keys.acquire(&Call::now().for_key("a")).await }), woken: Arc::default() }
    }

    fn poll(&mut self) -> Option<KeyPermit<'static>> {
        let waker = Waker::from(Arc::clone(&self.woken));
        match self.future.as_mut().poll(&mut Context::from_waker(&waker)) {
            Poll::Ready(got) => Some(got.expect("nobody is refused")),
            Poll::Pending => None,
        }
    }

    /// Polled as an executor would: only when woken. `None`: asleep, and nobody will wake it.
    fn run(&mut self) -> Option<KeyPermit<'static>> {
        while self.woken.0.swap(0, Ordering::SeqCst) > 0 {
            if let Some(permit) = self.poll() {
                return Some(permit);
            }
        }
        None
    }
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
        let mut caller = Caller::new(keys);
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
        let mut caller = Caller::new(keys);
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
    model(2, || {
        let keys = keys();
        let inside: &'static AtomicUsize = Box::leak(Box::default());
        let call = move || {
            let mut caller = Caller::new(keys);
            let permit = caller.poll().or_else(|| caller.run());
            if let Some(permit) = permit {
                assert_eq!(inside.fetch_add(1, Ordering::SeqCst), 0);
                thread::yield_now();
                inside.fetch_sub(1, Ordering::SeqCst);
                permit.settle(S);
            }
        };
        let threads = [(); 2].map(|()| thread::spawn(call));
        call();
        threads.into_iter().for_each(|thread| thread.join().expect("no panic"));
        is_quiet(keys);
    });
}
