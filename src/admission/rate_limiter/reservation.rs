//! What was taken, as something to hand back.

use super::Shared;
use super::meter::Receipt;
use std::fmt;
use tokio::time::Instant;

/// Units taken and not yet used. Dropped, they are handed back, as far as the bucket has not filled up meanwhile without them.
#[must_use = "dropped, it hands the units back; `keep` it once the call is made"]
pub struct Reservation<'a> {
    pub(super) shared: &'a Shared,
    pub(super) receipt: Option<Receipt>,
}

impl Reservation<'_> {
    /// The call is made: the units are used.
    #[inline]
    pub fn keep(mut self) {
        self.used();
    }

    /// The call is made, and cost this much in truth: what was reserved beyond that is handed back, and what it cost beyond that is taken,
    /// at most until nothing is left.
    ///
    /// It takes the reservation, so nothing is handed back twice:
    ///
    /// ```compile_fail,E0382
    /// let limiter = steadfast::RateLimiter::per_second(9).build()?;
    /// let reservation = limiter.reserve(&steadfast::Call::now())?;
    /// reservation.settle(1);
    /// reservation.settle(1); // used after it was moved
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn settle(mut self, units: u32) {
        let reserved = self.receipt.map_or(0, Receipt::cost);
        let rest = self.receipt.take().and_then(|receipt| receipt.beyond(units));
        match rest {
            Some(rest) => self.shared.hand_back(rest),
            None => {
                if units != reserved {
                    self.shared.queue.supply().charge(units - reserved, Instant::now());
                }
            }
        }
    }

    /// As [`keep`](Self::keep), for who may hand the units back [by themselves](super::RateLimiter::hand_back_quietly): how many they are, and
    /// what is to be remembered of the grant. None, where the rate has changed since.
    pub(in crate::admission) fn kept(mut self) -> (u32, u64) {
        let receipt = self.receipt.take().filter(|receipt| self.shared.queue.supply().is_of_now(*receipt));
        receipt.map_or((0, 0), |receipt| (receipt.cost(), receipt.then()))
    }

    /// As [`keep`](Self::keep), in place.
    #[inline]
    pub(crate) fn used(&mut self) {
        self.receipt = None;
    }
}

impl Drop for Reservation<'_> {
    #[inline]
    fn drop(&mut self) {
        if let Some(receipt) = self.receipt.take() {
            self.shared.hand_back(receipt);
        }
    }
}

impl Shared {
    #[cold]
    fn hand_back(&self, receipt: Receipt) {
        self.queue.supply().give_back(receipt);
        if self.queue.waiting() != 0 {
            self.queue.retime();
        }
    }
}

impl fmt::Debug for Reservation<'_> {
    #[inline]
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reservation").field("receipt", &self.receipt).finish_non_exhaustive()
    }
}
