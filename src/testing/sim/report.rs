//! What happened, bucket by bucket.

use crate::admission::CircuitState;
use crate::call::Priority;
use std::fmt::Write as _;
use std::ops::Range;
use std::time::Duration;

/// One stretch of time of a simulation.
///
/// Counts are of what happened in it; the state of policies is that at its end, of the first pipeline where there are several.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct Bucket {
    /// When it began, from the beginning of the simulation.
    pub start: Duration,
    /// Calls that began.
    pub offered: u64,
    /// Calls that ended with an answer: the goodput.
    pub good: u64,
    /// Of the calls that began, those that had an answer in the end, whenever that was.
    pub served: u64,
    /// Calls that ended without an answer, those of a policy's refusal included.
    pub failed: u64,
    /// Calls that ended without an answer before a single attempt was made.
    pub refused: u64,
    /// Requests that reached the dependency: first attempts, retries and hedges.
    pub requests: u64,
    /// Pieces of work that the dependency did.
    pub done: u64,
    /// Of these, those that were done for nobody: the caller had given up.
    pub wasted: u64,
    /// Requests in the dependency's queue.
    pub waiting: u64,
    /// Requests that the dependency works on.
    pub running: u64,
    /// Calls under way.
    pub in_flight: u64,
    /// How long the answered calls took, in microseconds, in ascending order.
    pub latencies: Vec<u32>,
    /// The state of the circuit breaker.
    pub circuit: Option<CircuitState>,
    /// How many may be at once: the limit of the bulkhead, or the adaptive one.
    pub limit: Option<f64>,
    /// How many calls wait for a place.
    pub queued: Option<u64>,
    /// The share of calls that the throttle holds back.
    pub throttled: Option<f64>,
    /// The tokens in the retry budget; `None` for one that grants everything.
    pub budget: Option<u32>,
    /// Calls that began, by priority.
    pub offered_by: [u64; 5],
    /// Of these, those that had an answer in the end, by priority.
    pub served_by: [u64; 5],
}

impl Bucket {
    /// This quantile (in [0, 1]) of the times that the answered calls took.
    #[must_use]
    pub fn latency(&self, quantile: f64) -> Option<Duration> {
        at_quantile(&self.latencies, quantile)
    }
}

#[expect(clippy::cast_precision_loss, clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a place in a list in memory")]
fn at_quantile(ascending: &[u32], quantile: f64) -> Option<Duration> {
    let place = (quantile.clamp(0.0, 1.0) * ascending.len() as f64).ceil() as usize;
    ascending.get(place.saturating_sub(1)).map(|&micros| Duration::from_micros(micros.into()))
}

/// What a simulation showed. The same scenario and seed give the same report, to the last byte of its [CSV](Self::to_csv).
///
/// Ranges are of whole seconds from the beginning, and count the buckets that begin in them.
#[derive(Clone, Debug)]
pub struct Report {
    pub(super) name: String,
    pub(super) seed: u64,
    pub(super) buckets: Vec<Bucket>,
}

impl Report {
    /// The name of the scenario.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The seed it was run with.
    #[must_use]
    pub const fn seed(&self) -> u64 {
        self.seed
    }

    /// Everything, bucket by bucket.
    #[must_use]
    pub fn buckets(&self) -> &[Bucket] {
        &self.buckets
    }

    fn within(&self, during: Range<u32>) -> impl Iterator<Item = &Bucket> + Clone {
        let (from, to) = (Duration::from_secs(during.start.into()), Duration::from_secs(during.end.into()));
        self.buckets.iter().filter(move |bucket| bucket.start >= from && bucket.start < to)
    }

    /// The sum of a count over these seconds: `report.sum(0..60, |bucket| bucket.wasted)`.
    pub fn sum(&self, during: Range<u32>, count: impl Fn(&Bucket) -> u64) -> u64 {
        self.within(during).map(count).sum()
    }

    /// Answers per call offered in these seconds: calls that *ended* well in them over calls that began in them. More than 1 where
    /// a backlog is worked off. 1 where no call began.
    pub fn goodput(&self, during: Range<u32>) -> f64 {
        ratio(self.sum(during.clone(), |bucket| bucket.good), self.sum(during, |bucket| bucket.offered), 1.0)
    }

    /// The share of the calls that *began* in these seconds and had an answer, whenever that came. 1 where no call began.
    pub fn served(&self, during: Range<u32>) -> f64 {
        ratio(self.sum(during.clone(), |bucket| bucket.served), self.sum(during, |bucket| bucket.offered), 1.0)
    }

    /// The same for calls of one priority.
    pub fn served_of(&self, priority: Priority, during: Range<u32>) -> f64 {
        let place = priority as usize;
        ratio(self.sum(during.clone(), |bucket| bucket.served_by[place]), self.sum(during, |bucket| bucket.offered_by[place]), 1.0)
    }

    /// Load amplification in these seconds: requests that reached the dependency over calls that began. 1 without retries, 4 where
    /// every call is tried four times, less than 1 where policies hold calls back.
    pub fn load(&self, during: Range<u32>) -> f64 {
        ratio(self.sum(during.clone(), |bucket| bucket.requests), self.sum(during, |bucket| bucket.offered), 1.0)
    }

    /// This quantile (in [0, 1]) of the times that the calls took which were answered in these seconds; `None` if there were none.
    pub fn latency(&self, quantile: f64, during: Range<u32>) -> Option<Duration> {
        let mut all: Vec<u32> = self.within(during).flat_map(|bucket| bucket.latencies.iter().copied()).collect();
        all.sort_unstable();
        at_quantile(&all, quantile)
    }

    /// One line a bucket, with a line of names above.
    #[must_use]
    pub fn to_csv(&self) -> String {
        let mut csv = String::from(
            "seconds,offered,good,served,failed,refused,requests,done,wasted,waiting,running,in_flight,p50_ms,p90_ms,p99_ms,circuit,limit,queued,throttled,budget\n",
        );
        for b in &self.buckets {
            let Bucket { offered, good, served, failed, refused, requests, done, wasted, waiting, running, in_flight, .. } = b;
            let _ = write!(csv, "{:.3},", b.start.as_secs_f64());
            let _ = write!(csv, "{offered},{good},{served},{failed},{refused},{requests},{done},{wasted},{waiting},{running},{in_flight}");
            for quantile in [0.5, 0.9, 0.99] {
                let _ = match b.latency(quantile) {
                    Some(latency) => write!(csv, ",{:.1}", latency.as_secs_f64() * 1e3),
                    None => write!(csv, ","),
                };
            }
            let _ = write!(csv, ",{},", b.circuit.map_or("", CircuitState::as_str));
            let _ = b.limit.map_or(Ok(()), |limit| write!(csv, "{limit:.1}"));
            csv.push(',');
            let _ = b.queued.map_or(Ok(()), |queued| write!(csv, "{queued}"));
            csv.push(',');
            let _ = b.throttled.map_or(Ok(()), |share| write!(csv, "{share:.3}"));
            csv.push(',');
            let _ = b.budget.map_or(Ok(()), |tokens| write!(csv, "{tokens}"));
            csv.push('\n');
        }
        csv
    }
}

#[expect(clippy::cast_precision_loss, reason = "counts of events in memory")]
fn ratio(part: u64, whole: u64, of_nothing: f64) -> f64 {
    if whole == 0 { of_nothing } else { part as f64 / whole as f64 }
}
