//! The reference: what a circuit breaker over a true time window costs when written by hand for one purpose.
//!
//! Ten buckets of a second, each one atomic count of successes and failures and one stamp; one clock reading a call; nothing else:
//! no events, no probes, no statistics, no names. The crate's breaker may cost a fifth more.

use crate::{Failure, MIN_CALLS, WINDOW};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use tokio::time::Instant;

const BUCKETS: u64 = 10;

#[derive(Debug, Default)]
struct Bucket {
    stamp: AtomicU64,
    /// Failures above, successes below.
    counts: AtomicU64,
}

/// A breaker that counts over ten buckets of a second.
#[derive(Debug)]
pub struct WindowBreaker {
    epoch: Instant,
    open: AtomicBool,
    buckets: [Bucket; BUCKETS as usize],
}

impl Default for WindowBreaker {
    fn default() -> Self {
        Self { epoch: Instant::now(), open: AtomicBool::new(false), buckets: Default::default() }
    }
}

impl WindowBreaker {
    /// Runs the operation, unless too many have failed.
    pub async fn call<T>(&self, op: impl AsyncFnOnce() -> Result<T, Failure>) -> Result<T, Failure> {
        if self.open.load(Relaxed) {
            return Err(Failure::Refused);
        }
        let now = Instant::now();
        let result = op().await;
        self.record(now, result.is_ok());
        result
    }

    fn record(&self, now: Instant, ok: bool) {
        let tick = now.saturating_duration_since(self.epoch).as_nanos() as u64 / (WINDOW.as_nanos() as u64 / BUCKETS) + 1;
        let bucket = &self.buckets[(tick % BUCKETS) as usize];
        let stamp = bucket.stamp.load(Relaxed);
        if stamp != tick && bucket.stamp.compare_exchange(stamp, tick, Relaxed, Relaxed).is_ok() {
            bucket.counts.store(0, Relaxed);
        }
        bucket.counts.fetch_add(if ok { 1 } else { 1 << 32 }, Relaxed);
        if !ok {
            self.judge(tick);
        }
    }

    #[cold]
    fn judge(&self, tick: u64) {
        let live = self.buckets.iter().filter(|bucket| bucket.stamp.load(Relaxed) + BUCKETS > tick);
        let counts = live.fold(0, |sum, bucket| sum + bucket.counts.load(Relaxed));
        let (failed, succeeded) = (counts >> 32, counts & u64::from(u32::MAX));
        if failed + succeeded >= u64::from(MIN_CALLS) && failed >= succeeded {
            self.open.store(true, Relaxed);
        }
    }
}
