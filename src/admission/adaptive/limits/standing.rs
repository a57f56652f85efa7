//! The default: no standing queue, and room for bursts.
//!
//! # Implementation details
//!
//! By Little's law so many places work: `busy = in flight × baseline / time of a call`; the rest of what is in flight stands in a queue.
//! Under saturation the limit is `busy` and a third more. Three questions are left.
//!
//! *What is the baseline?* The mean time of calls that began *calm*, with no more than `busy` in flight: those met no queue. Their mean follows
//! slowly, both up and down. Where nothing is ever calm there is a *trial*: for one window the limit goes down. If throughput goes down with
//! it, nothing stood in a queue at the lower limit, and the time measured there is the baseline. If throughput stays, what was cut off was
//! queue. Every large decrease is a trial, whatever its reason; so a limit that begins at twenty times the capacity finds down, and a
//! server that has become slower for good is recognised by the first cut that costs throughput.
//!
//! *Is it a queue or a burst?* (Nichols and Jacobson, *Controlling Queue Delay*, ACM Queue 10 (2012): a good queue empties by itself.)
//! Where the mean number in flight stays well below the limit and yet the limit was met, that was a burst: the limit grows, though calls
//! took longer. Where the mean stays at the limit it is overload: the limit goes to `busy` and a third, at once.
//!
//! *How much is noise?* A limit that is near enough stays.
//!
//! Relatives: BBR (Cardwell and others, ACM Queue 14 (2016)) also divides throughput and propagation time and lowers its window to measure the latter;
//! Envoy's adaptive concurrency filter lowers the limit now and then to measure its `minRTT`; failsafe-go caps the limit at a multiple of
//! what is in flight.

use super::super::sampling::Window;

/// How much longer than the baseline calls may take under saturation: what stands in the queue keeps the servers busy between two calls.
pub(in super::super) const TOLERANCE: f64 = 0.3;
/// Mean in flight, as a share of the limit, from which on the limit is what holds the calls back.
const SATURATED: f64 = 0.75;
/// How many times the baseline a call may take while the limit grows for bursts.
const BURST: f64 = 3.0;
/// How many calm calls the baseline is the mean of, roughly.
const MEMORY: f64 = 200.0;
/// Under lasting saturation the baseline is measured anew after so many windows.
const EXPIRES: u32 = 50;
/// A limit this near to the one wished for stays: the next window would say something else again.
const NEAR: f64 = 0.08;

/// What was before a large decrease.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Trial {
    limit: f64,
    throughput: f64,
}

#[derive(Clone, Debug, PartialEq)]
pub(in super::super) struct Standing {
    pub(in super::super) tolerance: f64,
    /// 0 for unknown.
    baseline: f64,
    /// Whether it was measured where no queue stood.
    is_sure: bool,
    /// Windows since then.
    age: u32,
    trial: Option<Trial>,
    /// Windows in a row in which the limit grew.
    streak: i32,
    busy: f64,
}

impl Standing {
    pub(in super::super) const fn new(tolerance: f64) -> Self {
        Self { tolerance, baseline: 0.0, is_sure: false, age: 0, trial: None, streak: 0, busy: 0.0 }
    }

    pub(super) const fn baseline(&self) -> f64 {
        self.baseline
    }

    pub(super) fn calm_level(&self) -> u32 {
        if self.is_sure { (self.busy as u32).max(1) } else { 1 }
    }

    /// The limit for a dependency that works on so many calls at once.
    fn limit_for(&self, busy: f64) -> f64 {
        (busy * (1.0 + self.tolerance)).max(busy.min(1.0) + 1.0 - f64::EPSILON).round()
    }

    fn learn(&mut self, rtt: f64) {
        // Measured twice, twice as sure; but not where it has plainly changed.
        let near = self.is_sure && (rtt / self.baseline - 1.0).abs() < 0.3;
        self.baseline = if near { 0.5 * (self.baseline + rtt) } else { rtt };
        self.is_sure = true;
        self.age = 0;
    }

    fn learn_from_calm(&mut self, window: &Window) {
        let calm = window.calm as f64;
        if calm < 1.0 {
            return;
        }
        let mean = window.calm_rtt / calm;
        if self.is_sure {
            self.baseline += (mean - self.baseline) * calm / (calm + MEMORY);
        } else if calm >= 10.0 {
            self.learn(mean);
        }
        if calm >= 10.0 {
            self.age = 0;
        }
    }

    pub(super) fn next(&mut self, window: &Window, limit: f64) -> f64 {
        if window.samples == 0 {
            // Nothing was measured. Pushback alone is a reason to send less.
            return if window.drops > 0 { limit * 0.7 } else { limit };
        }
        let (rtt, in_flight) = (window.mean_rtt(), window.mean_in_flight());
        let throughput = in_flight / rtt;
        let dropping = window.drop_share() > 0.05;
        let saturated = in_flight >= SATURATED * limit;
        if self.baseline <= 0.0 {
            self.baseline = rtt;
        }
        self.learn_from_calm(window);
        self.age = self.age.saturating_add(1);
        let before = self.trial.take();
        let next = match before {
            Some(before) if saturated => self.judge(before, window, limit),
            _ => None,
        };
        let next = next.unwrap_or_else(|| self.steer(window, limit, saturated, dropping));
        self.busy = (throughput * self.baseline).min(in_flight);
        if next < limit * 0.8 && saturated {
            self.trial = Some(Trial { limit, throughput });
        }
        self.streak = if next > limit { self.streak + 1 } else { 0 };
        next
    }

    /// After a large decrease: did it cost throughput?
    fn judge(&mut self, before: Trial, window: &Window, limit: f64) -> Option<f64> {
        let rtt = window.mean_rtt();
        let throughput = window.mean_in_flight() / rtt;
        let share = limit / before.limit;
        if throughput < before.throughput * 0.5 * (1.0 + share) && window.drops == 0 {
            // It did: at this limit nothing stood in a queue.
            self.learn(rtt);
            return Some(self.limit_for(before.throughput * self.baseline).min(before.limit).max(limit));
        }
        // It did not: all that is gone is queue.
        self.baseline = self.baseline.min(rtt);
        None
    }

    fn steer(&mut self, window: &Window, limit: f64, saturated: bool, dropping: bool) -> f64 {
        let (rtt, in_flight) = (window.mean_rtt(), window.mean_in_flight());
        if rtt < 0.8 * self.baseline {
            self.baseline = rtt;
            self.is_sure = false;
        }
        let ratio = rtt / self.baseline;
        let busy = in_flight / ratio;
        let may_grow = !dropping && !window.is_failing();
        if !saturated {
            let hit = f64::from(window.peak) >= limit;
            return if dropping {
                limit * 0.8
            } else if hit && may_grow && ratio < BURST {
                limit * 1.25 + 1.0
            } else {
                limit
            };
        }
        if !self.is_sure || self.age > EXPIRES {
            if limit > 1.5 {
                self.age = 0;
                return (limit * 0.5).floor();
            }
            self.learn(rtt);
        }
        let wish = self.limit_for(busy);
        if ratio > 1.0 + self.tolerance || dropping {
            let wish = if dropping { wish.min(limit * 0.8) } else { wish };
            return if wish < limit * (1.0 - NEAR) { wish } else { limit };
        }
        if !may_grow {
            return limit;
        }
        if ratio < 1.1 {
            let factor = if self.streak > 0 { 2.0 } else { 1.5 };
            return wish.max(limit * factor);
        }
        if wish > limit * (1.0 + NEAR) { wish } else { limit }
    }
}
