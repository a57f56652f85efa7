//! `[circuit_breaker]`.

use super::{Section, is_off};
use crate::admission::CircuitBreakerConfig;
use crate::pipeline::config::tree::{Tree, join};

pub(super) const FIELDS: &[&str] = &[
    "failure_rate",
    "consecutive_failures",
    "slow_calls",
    "window",
    "count_window",
    "min_calls",
    "trip_on_success",
    "open_for",
    "open_growth",
    "max_open",
    "open_jitter",
    "seed",
    "probes",
    "close_after",
    "probe_lease",
    "half_open_for",
    "abandoned_after",
    "ramp",
];
const SLOW_CALLS: &[&str] = &["slower_than", "share"];

/// The share of failures that everybody's breaker begins with.
const DEFAULT_FAILURE_RATE: f64 = 0.5;

pub(super) fn read(section: &mut Section<'_>, partial: bool) -> Option<CircuitBreakerConfig> {
    const RULES: [&str; 3] = ["failure_rate", "consecutive_failures", "slow_calls"];
    let mut config = CircuitBreakerConfig::new();
    let mentioned = section.entries.iter().any(|(name, value)| RULES.contains(&name.as_str()) && *value != Tree::Nothing);
    let on = section.entries.iter().any(|(name, value)| RULES.contains(&name.as_str()) && *value != Tree::Nothing && !is_off(value));
    if !mentioned {
        config = config.failure_rate(DEFAULT_FAILURE_RATE);
    } else if !on && !partial {
        section.fault("failure_rate", "no rule is left that could open the circuit; write `failure_rate = \"50%\"`".into());
    }
    set! {
        config from section:
        failure_rate: share,
        consecutive_failures: count_u32,
        min_calls: count_u32,
        trip_on_success: flag,
        open_for: duration,
        open_growth: number,
        max_open: duration,
        open_jitter: share,
        probes: count_u32,
        close_after: count_u32,
        probe_lease: duration,
        half_open_for: duration,
        abandoned_after: duration,
        ramp: duration,
    }
    if let Some(seed) = section.count_u64("seed") {
        config = config.seed(seed);
    }
    let (time, calls) = (section.duration("window"), section.count_u32("count_window"));
    if let Some(time) = time {
        config = config.window(time);
    }
    if let Some(calls) = calls {
        config = config.count_window(calls);
    }
    if time.is_some() && calls.is_some() {
        section.fault("count_window", "excludes `window`: rates are taken over a time or over a number of calls; leave one out".into());
    }
    let slow = section.section("slow_calls", SLOW_CALLS, |section| {
        let (slower_than, share) = (section.duration("slower_than"), section.share("share"));
        for (field, missing, example) in [("slower_than", slower_than.is_none(), "\"2s\""), ("share", share.is_none(), "\"80%\"")] {
            let told = join(&section.path, field);
            if missing && !partial && !section.faults.iter().any(|fault| fault.field() == told) {
                section.fault(field, format!("is missing; write `{field} = {example}`"));
            }
        }
        slower_than.zip(share)
    });
    if let Some((slower_than, share)) = slow {
        config = config.slow_calls(slower_than, share);
    }
    if !partial {
        section.judge(config.faults());
    }
    Some(config)
}
