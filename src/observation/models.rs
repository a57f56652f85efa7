//! Small models that loom plays through in every order of their steps: calls are recorded while somebody reads, or the second ends.
//!
//! `RUSTFLAGS="--cfg steadfast_loom" cargo test --release --lib models::`

use super::{CallEnd, Recorder, Window};
use crate::models::model;
use crate::outcome::{Outcome, Verdict};
use loom::thread;
use std::time::Duration;
use tokio::time::Instant;

const SECOND: Duration = Duration::from_secs(1);
const S: Outcome = Outcome::Judged(Verdict::Success);

fn recorder() -> (&'static Recorder, Instant) {
    let epoch = Instant::now();
    (Box::leak(Box::new(Recorder::new("test".into(), epoch))), epoch)
}

/// Calls, and what the histograms of calls and attempts hold: always the same number.
fn all(recorder: &Recorder, now: Instant) -> u64 {
    let stats = recorder.snapshot(now);
    let (calls, attempts) = (stats.call_latency().count(), stats.attempt_latency().count());
    assert_eq!((stats.calls(), stats.attempts()), (calls, attempts), "counted and timed together");
    assert_eq!(calls, attempts, "one entry for both");
    assert!(stats.window(Window::FiveMinutes).calls() <= calls);
    calls
}

fn record(recorder: &Recorder, now: Instant) {
    recorder.record_single(CallEnd::Success, S, SECOND, now);
}

#[test]
fn a_snapshot_beside_recording_loses_nothing_and_counts_nothing_twice() {
    model(3, || {
        let (recorder, now) = recorder();
        record(recorder, now);
        let records = thread::spawn(move || record(recorder, now));
        let seen = all(recorder, now);
        assert!((1..=2).contains(&seen));
        records.join().expect("no panic");
        assert_eq!((all(recorder, now), all(recorder, now)), (2, 2));
    });
}

#[test]
fn the_end_of_a_second_beside_recording_and_reading_loses_nothing() {
    model(2, || {
        let (recorder, now) = recorder();
        record(recorder, now);
        // One of them empties the shard of the second that is over; the other still comes with that second.
        let late = thread::spawn(move || record(recorder, now));
        let next = thread::spawn(move || record(recorder, now + SECOND));
        let seen = all(recorder, now + SECOND);
        assert!((1..=3).contains(&seen));
        late.join().expect("no panic");
        next.join().expect("no panic");
        assert_eq!(all(recorder, now + SECOND), 3);
        assert_eq!(recorder.snapshot(now + SECOND).window(Window::TenSeconds).calls(), 3);
    });
}

#[test]
fn a_reset_beside_recording_forgets_whole_calls() {
    model(3, || {
        let (recorder, now) = recorder();
        record(recorder, now);
        let records = thread::spawn(move || record(recorder, now + SECOND));
        recorder.reset();
        records.join().expect("no panic");
        assert!(all(recorder, now + SECOND) <= 1, "what was there before is gone, whole");
    });
}
