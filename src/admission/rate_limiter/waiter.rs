//! The wait of one call for its turn.

use super::meter::Meter;
use super::{Reservation, Shared, limited};
use crate::admission::wait_queue::Waiting;
use crate::call::Call;
use crate::outcome::Rejected;
use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::time::Instant;

pin_project_lite::pin_project! {
    /// Waits in line. It holds a place, not units: dropped, everybody behind it moves up.
    #[must_use = "a waiter that is not polled is passed over"]
    pub(crate) struct RateLimiterWaiter<'a> {
        shared: &'a Shared,
        #[pin]
        waiting: Waiting<'a, Meter>,
        // Without its key, which is borrowed for less long.
        call: Call<'static>,
    }
}

impl<'a> RateLimiterWaiter<'a> {
    pub(super) fn new(shared: &'a Shared, waiting: Waiting<'a, Meter>, call: Call<'_>) -> Self {
        Self { shared, waiting, call: Call { key: None, ..call } }
    }
}

impl<'a> Future for RateLimiterWaiter<'a> {
    type Output = Result<Reservation<'a>, Rejected>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        match this.waiting.poll(cx) {
            Poll::Ready(Ok(receipt)) => Poll::Ready(Ok(Reservation { shared: this.shared, receipt })),
            Poll::Ready(Err(refusal)) => Poll::Ready(Err(this.shared.refused(refusal, this.call, Instant::now()))),
            // The burst was made smaller while it waited: its turn would never come.
            Poll::Pending if this.call.cost > this.shared.queue.supply().capacity() => Poll::Ready(Err(limited(Duration::MAX))),
            Poll::Pending => Poll::Pending,
        }
    }
}

impl fmt::Debug for RateLimiterWaiter<'_> {
    #[inline]
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RateLimiterWaiter").field("call", &self.call).finish_non_exhaustive()
    }
}
