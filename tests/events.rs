//! Events as values. What a pipeline emits, and when, is in the tests of each policy.

use std::time::Duration;
use steadfast::{CallEnd, Event, Observer, Outcome, RejectedKind, Severity, Verdict};

fn all() -> Vec<(Event, &'static str, Severity)> {
    let (elapsed, outcome) = (Duration::from_millis(1_200), Outcome::Judged(Verdict::transient()));
    let finished = |end| Event::CallFinished { end, attempts: 2, elapsed };
    vec![
        (Event::AttemptFailed { attempt: 1, outcome, elapsed }, "attempt_failed", Severity::Warn),
        (Event::Retrying { attempt: 1, delay: elapsed, cause: outcome }, "retrying", Severity::Info),
        (Event::RetryStopped { attempts: 3, reason: "budget" }, "retry_stopped", Severity::Warn),
        (Event::Rejected { kind: RejectedKind::RateLimited, retry_after: Some(elapsed) }, "rejected", Severity::Debug),
        (Event::Rejected { kind: RejectedKind::Custom("mine"), retry_after: None }, "rejected", Severity::Debug),
        (Event::Waited { policy: "bulkhead", waited: elapsed }, "waited", Severity::Debug),
        (Event::CircuitChanged { from: "closed", to: "open", generation: 1 }, "circuit_changed", Severity::Error),
        (Event::CircuitChanged { from: "half_open", to: "closed", generation: 3 }, "circuit_changed", Severity::Info),
        (Event::FallbackUsed { cause: CallEnd::Failure }, "fallback_used", Severity::Warn),
        (finished(CallEnd::Success), "call_finished", Severity::Info),
        (finished(CallEnd::Failure), "call_finished", Severity::Error),
        (finished(CallEnd::Rejected(RejectedKind::CircuitOpen)), "call_finished", Severity::Error),
        (finished(CallEnd::Abandoned), "call_finished", Severity::Debug),
        (finished(CallEnd::Panicked), "call_finished", Severity::Error),
    ]
}

#[test]
fn r10_names_and_severities_are_stable() {
    for (event, name, severity) in all() {
        assert_eq!((event.name(), event.severity()), (name, severity), "{event:?}");
    }
}

#[test]
fn h85_an_event_is_one_line_for_people() {
    let lines: Vec<_> = all().into_iter().map(|(event, ..)| event.to_string()).collect();
    assert!(lines.iter().all(|line| !line.is_empty() && line.chars().all(|c| !c.is_control())));
    let forged = Event::Rejected { kind: RejectedKind::Custom("mine\nERROR forged"), retry_after: None };
    assert_eq!(forged.to_string(), "rejected: mine\\nERROR forged");
    assert_eq!(
        &lines[..9],
        [
            "attempt 1 failed: transient, after 1.20 s",
            "attempt 1 was transient; next one in 1.20 s",
            "no more retries after 3 (budget)",
            "rejected: rate_limited; worth another try in 1.20 s",
            "rejected: mine",
            "waited 1.20 s for bulkhead",
            "circuit closed -> open",
            "circuit half_open -> closed",
            "fallback used: failure",
        ]
    );
    assert_eq!(lines[10], "call finished: failure, attempts 2, 1.20 s");
}

#[test]
fn a_closure_is_an_observer() {
    fn is_observer(_: impl Observer) {}
    is_observer(|pipeline: &str, event: &Event| println!("{pipeline}: {event}"));
}
