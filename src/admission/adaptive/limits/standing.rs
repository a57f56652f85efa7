//! The default: no standing queue, and room for bursts.
//!
//! # Implementation details
//!
//! By Little's law so many calls are at work: `busy = throughput × baseline`; the rest of what is in flight stands in a queue.
//! Under saturation the limit is `busy` and a third more (`tolerance`). Three questions are left.
//!
//! *What is the baseline?* The mean time of calls that began *calm*, with no more than `busy` in flight: those met no queue. Their mean follows
//! slowly, both up and down. Where nothing is ever calm there is a *trial*: for one window the limit goes down. If throughput goes down with
//! it, nothing stood in a queue at the lower limit, and the time measured there is the baseline. If throughput stays, what was cut off was
//! queue. Every large decrease is a trial, whatever its reason; so a limit that begins at twenty times the capacity finds down, and a
//! server that has become slower for good is recognised by the first cut that costs throughput.
//!
//! *Is it a queue or a burst?* (Nichols and Jacobson, *Controlling Queue Delay*, ACM Queue 10 (2012): a good queue empties by itself.)
//! Where the mean number in flight stays well below the limit and yet the limit was met, that was a burst: the limit grows, though calls
//! took longer. Where the mean stays at the limit, or as many calls find no place as find one, it is overload: the limit goes to `busy` and
//! a third, at once.
//!
//! *Is it a queue, or is the service itself slower?* (A brown-out.) A cut that was right saves time and costs no answers. One that costs answers was
//! wrong: it is taken back, and the time measured under it is the baseline. No cut goes below half before that is known (less than a third
//! where most calls are lost), and where one cut did not do, the next is a trial. The same for timeouts: those that a cut does not lessen are
//! usual from then on, for the timeout is too short for this service, whatever the limit. The way back is quick: while callers find no
//! place and calls take no longer than the baseline a low limit grows by half with each window, and a low limit needs few calls for a window. After losses
//! it doubles only up to where they were (the slow start of TCP, RFC 5681).
//!
//! *How much is noise?* Means remember 400 calls and jump only where three standard errors say that it is no chance; a limit that is near
//! enough stays; a baseline and a throughput that cannot both be right (saturated, and no queue) raise the limit.
//!
//! What it cannot know: whether the queue is its own. Several callers that saturate one dependency for long each lower their limit, see
//! the time stay (the others keep the queue up) and take it for the baseline. So trials raise the baseline to four times the lowest at most.
//!
//! Relatives: BBR (Cardwell and others, ACM Queue 14 (2016)) also divides throughput and propagation time and lowers its window to measure the latter;
//! Envoy's adaptive concurrency filter lowers the limit now and then to measure its `minRTT`; failsafe-go caps the limit at a multiple of
//! what is in flight.

use super::super::sampling::Window;
use super::mean::{MEMORY, Mean, doubt};

/// How much longer than the baseline calls may take under saturation: what stands in the queue keeps the servers busy between two calls.
pub(in super::super) const TOLERANCE: f64 = 0.35;
/// Mean in flight, as a share of the limit, from which on the limit is what holds the calls back.
const SATURATED: f64 = 0.8;
/// How many times the baseline a call may take while the limit grows for bursts.
const BURST: f64 = 3.0;
/// Under lasting saturation the baseline is measured anew after so many windows.
const EXPIRES: u32 = 100;
/// Trials raise the baseline to so many times the lowest that was measured, and no further: where others keep the queue up, a trial sees no
/// end of it.
const RISE: f64 = 4.0;
/// The lowest is forgotten by and by: doubled in an hour, in nanoseconds.
const FORGOTTEN: f64 = 3600e9;
/// So many calm calls make sure of the baseline.
const CALM: f64 = 30.0;
/// A limit this near to the one wished for stays: the next window would say something else again.
const NEAR: f64 = 0.05;
/// Small cuts within so many windows add up.
const FORGOTTEN_CUT: u32 = 10;
/// One cut takes no more than this share of the limit away where less is lost than [`LOST`]; a deeper one waits for what this one shows.
const CUT: f64 = 0.5;
/// Where so many calls are lost nothing that is answered is a reason to go on.
const LOST: f64 = 0.5;
/// The share of calls that may be lost beyond what is usual.
const DROPPING: f64 = 0.05;
/// A limit lower than this grows by half at a time: that is quick, and only a few calls more.
const LOW: f64 = 10.0;
/// A decrease to this share tells whether it cost throughput.
const LARGE: f64 = 0.7;

/// What was before a large decrease.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Trial {
    limit: f64,
    flow: f64,
    /// The share of calls that were lost.
    lost: f64,
    /// Windows since then.
    age: u32,
    /// It was made to measure the baseline, and not because of overload.
    is_probe: bool,
}

impl Trial {
    fn answers(&self) -> f64 {
        self.flow * (1.0 - self.lost)
    }
}

#[derive(Clone, Debug, PartialEq)]
#[expect(clippy::struct_excessive_bools, reason = "four independent facts")]
pub(in super::super) struct Standing {
    pub(in super::super) tolerance: f64,
    baseline: Mean,
    /// The lowest that was made sure of.
    floor: f64,
    /// Whether the baseline was measured where no queue stood.
    is_sure: bool,
    /// Windows since then.
    age: u32,
    /// Calm calls since then.
    calm: f64,
    /// Under saturation, in calls per nanosecond.
    throughput: Mean,
    trial: Option<Trial>,
    /// The share of calls that are lost whatever the limit: the timeout is too short for them.
    usual_loss: f64,
    /// Where too many were lost: up to there the limit doubles no more.
    ceiling: f64,
    /// The window before ended with a cut.
    has_cut: bool,
    /// To less than half.
    is_deep: bool,
    /// Windows in a row under saturation and without a queue.
    clear: u32,
    calm_level: u32,
    /// The next window is judged as a trial.
    decides: bool,
}

impl Standing {
    pub(in super::super) const fn new(tolerance: f64) -> Self {
        let unknown = Mean::of(0.0, 0.0);
        Self {
            tolerance,
            baseline: unknown,
            floor: f64::INFINITY,
            is_sure: false,
            age: 0,
            calm: 0.0,
            throughput: unknown,
            trial: None,
            usual_loss: 0.0,
            ceiling: f64::INFINITY,
            has_cut: false,
            is_deep: false,
            clear: 0,
            calm_level: 1,
            decides: false,
        }
    }

    pub(super) const fn baseline(&self) -> f64 {
        self.baseline.value
    }

    pub(super) const fn calm_level(&self) -> u32 {
        self.calm_level
    }

    /// The limit for a dependency that works on so many calls at once: never so few that it waits for the next one.
    fn limit_for(&self, busy: f64) -> f64 {
        (busy * (1.0 + self.tolerance)).round().max((busy + 1.0).floor().min(2.0))
    }

    /// Whether a window full of losses is reason enough to cut at once. After a deep cut it is not: what was sent before is still worked on.
    pub(super) const fn is_alert(&self) -> bool {
        !self.is_deep
    }

    /// Windows of a trial decide much, and are given more calls.
    pub(super) const fn patience(&self) -> u64 {
        if self.decides { 2 } else { 1 }
    }

    #[inline]
    pub(super) fn next(&mut self, window: &Window, limit: f64) -> f64 {
        let next = self.decide(window, limit);
        // Whole places: whether a limit was met must not depend on a fraction that nobody can take.
        if next < limit { next.floor() } else { next.round() }
    }

    fn decide(&mut self, window: &Window, limit: f64) -> f64 {
        if window.samples == 0 {
            // Nothing was measured. Pushback alone is a reason to send less.
            return if window.drops > 0 { limit * 0.7 } else { limit };
        }
        let now = Now::of(window, limit, self.usual_loss);
        // Usual is what a cut has shown: less is learnt as it comes, more is not.
        self.usual_loss += (now.lost - self.usual_loss).min(0.0) * now.calls / (now.calls + MEMORY / 2.0);
        if !self.baseline.is_known() && !now.is_dropping {
            self.baseline = Mean::of(now.rtt, now.calls);
        }
        self.learn_from_calm(window, now.is_saturated);
        self.age = self.age.saturating_add(1);
        self.floor *= 1.0 + window.elapsed / FORGOTTEN;
        if self.is_sure {
            self.floor = self.floor.min(self.baseline.value);
        }
        let judged = match self.trial {
            // A small cut proves nothing yet; and what flowed long before it proves nothing any more.
            Some(before) if !before.is_probe && limit > LARGE * before.limit => {
                self.trial = (before.age < FORGOTTEN_CUT).then_some(Trial { age: before.age + 1, ..before });
                None
            }
            Some(before) => {
                self.trial = None;
                if now.is_saturated { self.judge(before, &now) } else { None }
            }
            None => None,
        };
        let next = judged.unwrap_or_else(|| if now.is_saturated { self.hold(&now) } else { self.burst(&now) });
        if next > limit {
            self.trial = None;
        }
        self.has_cut = next < limit;
        self.is_deep = next < limit * CUT;
        self.decides = self.trial.is_some_and(|before| next <= LARGE * before.limit);
        let calm = if self.is_sure || !now.is_saturated {
            (now.throughput * self.baseline.value).min(now.in_flight)
        } else {
            now.in_flight.min(next) * 0.5
        };
        self.calm_level = (calm as u32).max(1);
        next
    }

    fn learn_from_calm(&mut self, window: &Window, is_saturated: bool) {
        let calls = window.calm as f64;
        if calls < 1.0 || is_saturated {
            return;
        }
        let mean = window.calm_rtt / calls;
        if window.calm * 2 > window.samples && calls >= 10.0 {
            if self.baseline.add(mean, calls) {
                self.floor = mean;
            }
        } else {
            // Where calm is rare, those that began in one calm moment end one after the other, the quick ones first: only their mean over
            // several windows tells.
            self.baseline.blend(mean, calls);
        }
        self.calm += calls;
        if self.calm >= CALM {
            self.is_sure = true;
            self.age = 0;
            self.calm = 0.0;
        }
    }

    /// After a large decrease: did it cost throughput? Then nothing stood in a queue, and the time measured is the baseline.
    fn judge(&mut self, before: Trial, now: &Now) -> Option<f64> {
        let share = now.limit / before.limit;
        let ratio = now.rtt / self.baseline.value;
        if !before.is_probe {
            // A cut because of overload. Did calls not become quicker, and fewer? Where more are lost than before, things have changed.
            let is_worse = now.lost > LOST || now.lost > before.lost + now.calls.sqrt().recip().max(0.1);
            if is_worse || now.answers() > before.answers() * (0.35 + 0.65 * share) {
                return None;
            }
            self.relearn(now);
            return Some(before.limit);
        }
        if now.is_dropping {
            return None;
        }
        if self.is_sure && (ratio - 1.0).abs() <= doubt(now.calls) {
            self.baseline.add(now.whole_rtt(), now.calls);
            self.age = 0;
            return Some(before.limit);
        }
        if now.flow < before.flow * 0.5 * (1.0 + share) {
            self.relearn(now);
            // All that was cut off had been at work: there may be room for more.
            let all = now.flow < before.flow * (share + 0.15);
            return Some(if all && !self.throughput.is_known() && !now.is_failing { before.limit * 1.5 } else { before.limit });
        }
        if ratio < 1.0 {
            self.baseline = Mean::of(now.rtt, now.calls);
        }
        Some(self.probe(now))
    }

    fn relearn(&mut self, now: &Now) {
        self.baseline = Mean::of(now.whole_rtt().min(RISE * self.floor), now.calls);
        self.is_sure = true;
        self.age = 0;
        self.usual_loss = if now.lost > DROPPING { now.lost.min(LOST) } else { 0.0 };
    }

    /// Goes down for a window, to see what calls take without a queue.
    fn probe(&mut self, now: &Now) -> f64 {
        if now.limit < 2.0 {
            self.relearn(now);
            return now.limit;
        }
        self.trial = Some(Trial { limit: now.limit, flow: now.flow, lost: now.lost, age: 0, is_probe: true });
        (now.limit * 0.5).floor()
    }

    /// Not saturated. Where the limit was met all the same that was a burst, and there is room for the next one.
    fn burst(&mut self, now: &Now) -> f64 {
        self.clear = 0;
        if now.is_dropping {
            now.limit * 0.8
        } else if now.peak >= now.limit && !now.is_failing && now.rtt < BURST * self.baseline.value {
            now.limit * 1.25 + 1.0
        } else {
            now.limit
        }
    }

    fn hold(&mut self, now: &Now) -> f64 {
        let limit = now.limit;
        if limit < 2.0 && now.lost > DROPPING && now.lost <= LOST {
            // There is no queue of ours.
            self.relearn(now);
        } else if now.is_dropping {
            if !self.has_cut {
                self.ceiling = if now.lost > LOST { limit * 0.6 } else { limit };
            }
            // What is measured now is how long callers wait, and what was known of the throughput may no longer be so.
            let busy = if self.baseline.is_known() { now.throughput * self.baseline.value } else { limit * 0.5 };
            self.throughput = Mean::of(0.0, 0.0);
            let deepest = limit * if now.lost > LOST { 0.3 } else { CUT };
            return self.cut(now, self.limit_for(busy).clamp(deepest, limit * 0.8));
        }
        if now.rtt < self.baseline.value * (1.0 - doubt(now.calls)).min(0.8) {
            self.baseline = Mean::of(now.rtt, now.calls);
            self.throughput = Mean::of(now.throughput, now.calls);
            // To be measured soon, but not before those who were kept out have been let in.
            self.age = self.age.max(EXPIRES - 5);
            self.calm = 0.0;
        }
        if !self.is_sure || self.age > EXPIRES {
            return self.probe(now);
        }
        let ratio = now.rtt / self.baseline.value;
        let may_grow = !now.is_failing;
        let slack = if self.ceiling.is_finite() { doubt(now.calls) / 3.0 } else { 0.0 };
        if !self.throughput.is_known() && ratio <= 1.05 + self.tolerance + slack && limit * 2.0 <= self.ceiling && may_grow {
            // The beginning: capacity has not been met yet, so nothing stands in a queue.
            if (0.8..=1.2).contains(&ratio) {
                self.baseline.blend(now.whole_rtt(), now.calls);
            }
            return limit * 2.0;
        }
        // Under saturation a third more than what works should stand in the queue: where there is not half of that, more could work.
        let is_clear = ratio < 1.0 + self.tolerance / 2.0;
        self.clear = if is_clear { self.clear + 1 } else { 0 };
        if !is_clear || now.throughput > self.throughput.value {
            let knew = self.throughput.is_known();
            if self.throughput.add(now.throughput, now.calls) && knew && ratio < 0.8 {
                // Something has changed over there: perhaps the baseline, too.
                self.age = EXPIRES;
            }
        }
        if self.clear >= 3 {
            // There is more to be had than was known.
            self.throughput.value *= 1.25;
        }
        let wish = self.limit_for(self.throughput.value * self.baseline.value);
        if ratio > 1.0 + self.tolerance && wish < limit * (1.0 - NEAR) {
            // The wish is such that after one cut it should be fulfilled.
            if self.has_cut { self.probe(now) } else { self.cut(now, wish.max(limit * CUT)) }
        } else if may_grow && is_clear && limit < LOW && now.is_pressed {
            wish.max(limit * 1.5)
        } else if may_grow && wish > limit * (1.0 + NEAR) {
            wish
        } else {
            limit
        }
    }

    fn cut(&mut self, now: &Now, wish: f64) -> f64 {
        self.trial.get_or_insert(Trial { limit: now.limit, flow: now.flow, lost: now.lost, age: 0, is_probe: false });
        wish.max(1.0)
    }
}

/// A window, worked out.
struct Now {
    limit: f64,
    calls: f64,
    rtt: f64,
    in_flight: f64,
    peak: f64,
    /// Calls that ended, per nanosecond.
    throughput: f64,
    /// The same by Little's law: exact where a long queue makes all calls take about the same.
    flow: f64,
    is_saturated: bool,
    /// As many find no place as find one.
    is_pressed: bool,
    /// The share of calls that timed out or were pushed back.
    lost: f64,
    /// More of them than usual.
    is_dropping: bool,
    is_failing: bool,
}

impl Now {
    fn of(window: &Window, limit: f64, usual_loss: f64) -> Self {
        let rtt = window.mean_rtt();
        // Where as many find no place as find one all places are taken all the time, though those who enter as many leave at once may
        // each see few others.
        let in_flight = if window.pressed > window.samples { limit } else { window.mean_in_flight() };
        let throughput = window.samples as f64 / window.elapsed.max(1.0);
        let chance = (usual_loss * (1.0 - usual_loss) / (window.samples.max(1) as f64)).sqrt();
        let is_saturated = in_flight >= SATURATED * limit || window.pressed * 2 > window.samples;
        Self {
            limit,
            calls: window.samples as f64,
            rtt,
            in_flight,
            peak: f64::from(window.peak),
            throughput,
            flow: in_flight / rtt,
            is_saturated,
            is_pressed: window.pressed > window.samples,
            lost: window.drop_share(),
            is_dropping: window.drop_share() > DROPPING + usual_loss + 2.0 * chance,
            is_failing: window.is_failing(),
        }
    }

    fn answers(&self) -> f64 {
        self.flow * (1.0 - self.lost)
    }

    /// Of the calls that began under a new limit the quick ones end first. Little's law gives the time of them all, with more noise.
    fn whole_rtt(&self) -> f64 {
        (self.in_flight.min(self.limit) / self.throughput).clamp(self.rtt, self.rtt * 1.1)
    }
}

#[cfg(all(test, not(steadfast_loom)))]
mod tests;
