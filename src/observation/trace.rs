//! Events as `tracing` sees them: target `steadfast`, static names, levels by severity, and nothing in the fields but numbers, names fixed at compile
//! time and the pipeline's own. Without a subscriber all of it is one relaxed load.

use super::event::{Event, Severity};
use super::names::clean;
use super::stats::{CallEnd, outcome_name};
use std::time::Duration;
use tracing::level_filters::LevelFilter;

/// The target of every event and span of this crate.
const TARGET: &str = "steadfast";

/// Whether any subscriber listens at all.
#[inline]
pub(crate) fn is_on() -> bool {
    LevelFilter::current() != LevelFilter::OFF
}

fn millis(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e3
}

/// A callsite has one level for good, so an event of two levels has two callsites: `Severity::Error` or else the other.
macro_rules! at {
    (error if $error:expr, else $level:ident, $($event:tt)*) => {
        if $error { at!(ERROR, $($event)*) } else { at!($level, $($event)*) }
    };
    ($level:ident, $name:literal, $($fields:tt)*) => {
        tracing::event!(name: $name, target: TARGET, tracing::Level::$level, $($fields)*)
    };
}

pub(crate) fn trace(pipeline: &str, event: &Event) {
    if !is_on() {
        return;
    }
    let is_error = event.severity() == Severity::Error;
    match *event {
        Event::AttemptFailed { attempt, outcome, elapsed } => {
            let (outcome, elapsed_ms) = (outcome_name(outcome), millis(elapsed));
            at!(WARN, "steadfast.attempt_failed", pipeline, attempt, outcome, elapsed_ms, "attempt failed");
        }
        Event::Retrying { attempt, delay, cause } => {
            let (cause, delay_ms) = (outcome_name(cause), millis(delay));
            at!(INFO, "steadfast.retrying", pipeline, attempt, cause, delay_ms, "retrying");
        }
        Event::Hedged { leg, after } => {
            let after_ms = millis(after);
            at!(INFO, "steadfast.hedged", pipeline, leg, after_ms, "hedged");
        }
        Event::RetryStopped { attempts, reason } => at!(WARN, "steadfast.retry_stopped", pipeline, attempts, reason, "no more retries"),
        Event::Rejected { kind, retry_after } => {
            let (kind, retry_after_ms) = (kind.as_str(), retry_after.map(millis));
            at!(DEBUG, "steadfast.rejected", pipeline, kind, retry_after_ms, "rejected");
        }
        Event::Waited { policy, waited } => {
            let waited_ms = millis(waited);
            at!(DEBUG, "steadfast.waited", pipeline, policy, waited_ms, "waited");
        }
        Event::CircuitChanged { from, to, generation } => {
            at!(error if is_error, else INFO, "steadfast.circuit_changed", pipeline, from, to, generation, "circuit changed");
        }
        Event::FallbackUsed { cause } => {
            let cause = cause.as_str();
            at!(WARN, "steadfast.fallback_used", pipeline, cause, "fallback used");
        }
        Event::CallFinished { end, attempts, elapsed } => {
            let elapsed_ms = millis(elapsed);
            // Good news once per call is for whoever asks for every detail.
            if end == CallEnd::Success {
                at!(TRACE, "steadfast.call_finished", pipeline, end = "success", attempts, elapsed_ms, "call finished");
            } else {
                let end = end.as_str();
                at!(error if is_error, else DEBUG, "steadfast.call_finished", pipeline, end, attempts, elapsed_ms, "call finished");
            }
        }
    }
}

/// A span around one call, for those who ask for it; `key` is in it for those who ask for that, too, escaped and cut as names are. Disabled, and
/// free, without a subscriber.
pub(crate) fn call_span(pipeline: &str, key: Option<&str>) -> tracing::Span {
    tracing::info_span!(target: TARGET, "steadfast.call", pipeline, key = key.map(clean).as_deref())
}
