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

/// A callsite has one level for good, so an event of several levels has several callsites.
macro_rules! at {
    ($severity:expr, $name:literal, $($fields:tt)*) => {
        match $severity {
            Severity::Debug => tracing::event!(name: $name, target: TARGET, tracing::Level::DEBUG, $($fields)*),
            Severity::Info => tracing::event!(name: $name, target: TARGET, tracing::Level::INFO, $($fields)*),
            Severity::Warn => tracing::event!(name: $name, target: TARGET, tracing::Level::WARN, $($fields)*),
            Severity::Error => tracing::event!(name: $name, target: TARGET, tracing::Level::ERROR, $($fields)*),
        }
    };
}

pub(crate) fn trace(pipeline: &str, event: &Event) {
    if !is_on() {
        return;
    }
    let severity = event.severity();
    match *event {
        Event::AttemptFailed { attempt, outcome, elapsed } => {
            let (outcome, elapsed_ms) = (outcome_name(outcome), millis(elapsed));
            at!(severity, "steadfast.attempt_failed", pipeline, attempt, outcome, elapsed_ms, "attempt failed");
        }
        Event::Retrying { attempt, delay, cause } => {
            let (cause, delay_ms) = (outcome_name(cause), millis(delay));
            at!(severity, "steadfast.retrying", pipeline, attempt, cause, delay_ms, "retrying");
        }
        Event::Hedged { leg, after } => {
            let after_ms = millis(after);
            at!(severity, "steadfast.hedged", pipeline, leg, after_ms, "hedged");
        }
        Event::RetryStopped { attempts, reason } => at!(severity, "steadfast.retry_stopped", pipeline, attempts, reason, "no more retries"),
        Event::Rejected { kind, retry_after } => {
            let (kind, retry_after_ms) = (kind.as_str(), retry_after.map(millis));
            at!(severity, "steadfast.rejected", pipeline, kind, retry_after_ms, "rejected");
        }
        Event::Waited { policy, waited } => {
            let waited_ms = millis(waited);
            at!(severity, "steadfast.waited", pipeline, policy, waited_ms, "waited");
        }
        Event::CircuitChanged { from, to, generation } => {
            at!(severity, "steadfast.circuit_changed", pipeline, from, to, generation, "circuit changed");
        }
        Event::FallbackUsed { cause } => {
            let cause = cause.as_str();
            at!(severity, "steadfast.fallback_used", pipeline, cause, "fallback used");
        }
        Event::CallFinished { end, attempts, elapsed } => {
            let elapsed_ms = millis(elapsed);
            // Good news once per call is for whoever asks for every detail.
            if end == CallEnd::Success {
                tracing::event!(name: "steadfast.call_finished", target: TARGET, tracing::Level::TRACE, pipeline, end = "success", attempts, elapsed_ms, "call finished");
            } else {
                let end = end.as_str();
                at!(severity, "steadfast.call_finished", pipeline, end, attempts, elapsed_ms, "call finished");
            }
        }
    }
}

/// A span around one call, for those who ask for it; `key` is in it for those who ask for that, too, escaped and cut as names are. Disabled, and
/// free, without a subscriber.
pub(crate) fn call_span(pipeline: &str, key: Option<&str>) -> tracing::Span {
    tracing::info_span!(target: TARGET, "steadfast.call", pipeline, key = key.map(clean).as_deref())
}
