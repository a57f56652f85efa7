//! Many futures under one deadline.

use crate::execution::has_runtime;
use crate::outcome::{Rejected, RejectedKind};
use crate::time;
use futures_util::stream::{FuturesUnordered, Stream};
use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::time::{Instant, Sleep, sleep_until};

/// Runs all `futures` in one, and gives the output of each, in their order. With [`within`](JoinAll::within) those that are late are dropped, and
/// the others keep their outputs: nothing that is finished is lost because something else is slow.
///
/// ```
/// # #[tokio::main(flavor = "current_thread", start_paused = true)] async fn main() {
/// use std::time::Duration;
/// use steadfast::batch::join_all;
/// use tokio::time::sleep;
///
/// let after = |millis| async move { sleep(Duration::from_millis(millis)).await; millis };
/// let done = join_all([after(10), after(5_000), after(20)]).within(Duration::from_secs(1)).await;
/// assert_eq!(done[0], Ok(10));
/// assert_eq!(done[1].as_ref().unwrap_err().kind(), steadfast::RejectedKind::DeadlineExceeded);
/// assert_eq!(done[2], Ok(20));
/// # }
/// ```
///
/// # Cancel safety
/// Dropped, it drops every future that is not finished.
pub fn join_all<I>(futures: I) -> JoinAll<I::Item>
where
    I: IntoIterator<Item: Future>,
{
    let running: FuturesUnordered<_> =
        futures.into_iter().enumerate().map(|(place, future)| Placed { place, future: Box::pin(future) }).collect();
    let done = (0..running.len()).map(|_| None).collect();
    JoinAll { running, done, within: None, timer: None }
}

/// A future, and where its output belongs.
struct Placed<F> {
    place: usize,
    future: Pin<Box<F>>,
}

impl<F: Future> Future for Placed<F> {
    type Output = (usize, F::Output);

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let place = self.place;
        self.future.as_mut().poll(cx).map(|output| (place, output))
    }
}

/// Made by [`join_all`]. Its output has one entry for each future, in their order: `Ok` with what it gave, or `DeadlineExceeded` (`NoRuntime` when a
/// deadline is polled outside a tokio runtime).
#[must_use = "futures do nothing unless polled"]
pub struct JoinAll<F: Future> {
    running: FuturesUnordered<Placed<F>>,
    done: Vec<Option<F::Output>>,
    within: Option<Duration>,
    /// From the first poll on.
    timer: Option<Pin<Box<Sleep>>>,
}

impl<F: Future> JoinAll<F> {
    /// The deadline of all of them, counted from the first poll. What is ready at that very moment still counts. **Default**: none.
    pub const fn within(mut self, time: Duration) -> Self {
        self.within = Some(time);
        self
    }

    fn finish(&mut self, kind: RejectedKind) -> Vec<Result<F::Output, Rejected>> {
        self.running.clear();
        std::mem::take(&mut self.done).into_iter().map(|done| done.ok_or_else(|| Rejected::new(kind))).collect()
    }
}

impl<F: Future> Unpin for JoinAll<F> {}

impl<F: Future> Future for JoinAll<F> {
    type Output = Vec<Result<F::Output, Rejected>>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = &mut *self;
        if let Some(limit) = this.within.take() {
            if !has_runtime() {
                return Poll::Ready(this.finish(RejectedKind::NoRuntime));
            }
            this.timer = time::after(Instant::now(), limit).map(|end| Box::pin(sleep_until(end)));
        }
        while let Poll::Ready(next) = Pin::new(&mut this.running).poll_next(cx) {
            match next {
                Some((place, output)) => this.done[place] = Some(output),
                None => return Poll::Ready(this.finish(RejectedKind::DeadlineExceeded)),
            }
        }
        if this.timer.as_mut().is_some_and(|timer| timer.as_mut().poll(cx).is_ready()) {
            return Poll::Ready(this.finish(RejectedKind::DeadlineExceeded));
        }
        Poll::Pending
    }
}

impl<F: Future> fmt::Debug for JoinAll<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("JoinAll").field("running", &self.running.len()).field("of", &self.done.len()).finish_non_exhaustive()
    }
}
