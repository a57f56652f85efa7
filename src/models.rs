//! What the models under loom share: small plays that loom goes through in every order of their steps. They are in the `models` module of
//! what they are about.
//!
//! `RUSTFLAGS="--cfg steadfast_loom" cargo test --release --lib models::`

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, Wake, Waker};

/// At most so many times is a thread stopped where it could go on: two are enough for every bug that two threads need.
pub(crate) fn model(preemptions: usize, play: impl Fn() + Send + Sync + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(preemptions);
    builder.max_branches = 10_000;
    let plays = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&plays);
    builder.check(move || {
        counted.fetch_add(1, Ordering::Relaxed);
        // Without a step before its first thread loom finds no other order than the first, and every model passes.
        loom::thread::yield_now();
        play();
    });
    let plays = plays.load(Ordering::Relaxed);
    assert!(plays > 1, "only one order was played");
}

/// Counts its wakes. Of std, so that it is no step of the model: what counts is whether it was woken, not when that is seen.
#[derive(Default)]
struct Woken(AtomicUsize);

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

/// A future that is polled as an executor would: when it is woken, and only then.
pub(crate) struct Task<T> {
    future: Pin<Box<dyn Future<Output = T> + Send>>,
    woken: Arc<Woken>,
    waker: Waker,
}

impl<T> Task<T> {
    pub(crate) fn new(future: impl Future<Output = T> + Send + 'static) -> Self {
        let woken = Arc::new(Woken::default());
        let waker = Waker::from(Arc::clone(&woken));
        Self { future: Box::pin(future), woken, waker }
    }

    /// Polls it once, woken or not.
    pub(crate) fn poll(&mut self) -> Option<T> {
        match self.future.as_mut().poll(&mut Context::from_waker(&self.waker)) {
            Poll::Ready(output) => Some(output),
            Poll::Pending => None,
        }
    }

    /// Polls it as long as it is woken. `None`: asleep, and nobody has woken it.
    pub(crate) fn run(&mut self) -> Option<T> {
        while self.woken.0.swap(0, Ordering::SeqCst) > 0 {
            if let Some(output) = self.poll() {
                return Some(output);
            }
        }
        None
    }
}
