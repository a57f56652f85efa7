//! `[retry]`, and the budget.

use super::{Section, count, is_off, one_of};
use crate::execution::{Backoff, Budget, BudgetConfig, Jitter, Retry, RetryConfig};
use crate::outcome::RejectedKind;
use crate::pipeline::config::text::parse_duration;
use crate::pipeline::config::tree::Tree;
use std::time::Duration;

pub(super) const FIELDS: &[&str] = &[
    "retries",
    "backoff",
    "delay",
    "factor",
    "max_delay",
    "jitter",
    "seed",
    "hint_ceiling",
    "hint_jitter",
    "budget",
    "retry_timeouts",
    "retry_rejections",
    "even_when_nested",
];
const BUDGET: &[&str] = &["share", "min_per_second", "burst"];
/// A jitter of nothing but words: what is not one of these is a duration to add.
const JITTERS: &[(&str, Jitter)] = &[("full", Jitter::Full), ("equal", Jitter::Equal), ("none", Jitter::None)];
type Delays = fn(Duration) -> Backoff;
const BACKOFFS: &[(&str, Delays)] = &[
    ("constant", Backoff::constant),
    ("linear", Backoff::linear),
    ("exponential", Backoff::exponential),
    ("fibonacci", Backoff::fibonacci),
    ("decorrelated", Backoff::decorrelated),
];
const REJECTIONS: &[(&str, RejectedKind)] = &[
    ("timeout", RejectedKind::Timeout),
    ("deadline_exceeded", RejectedKind::DeadlineExceeded),
    ("circuit_open", RejectedKind::CircuitOpen),
    ("rate_limited", RejectedKind::RateLimited),
    ("bulkhead_full", RejectedKind::BulkheadFull),
    ("concurrency_limited", RejectedKind::ConcurrencyLimited),
    ("throttled", RejectedKind::Throttled),
    ("no_runtime", RejectedKind::NoRuntime),
];
/// Retries that begin here, unless it is said otherwise: like the presets for calls over a network.
const DEFAULT_DELAY: Duration = Duration::from_millis(100);

pub(super) fn read(section: &mut Section<'_>, partial: bool) -> Option<RetryConfig> {
    let before = section.faults.len();
    let retries = section.read("retries", |value| match value {
        Tree::Text(text) if text == "unlimited" => Ok(Retry::UNLIMITED),
        value => count(value, u32::MAX.into()),
    });
    if retries.is_none() && section.faults.len() == before && !partial {
        section.fault("retries", "is missing; say how many after the first attempt, `retries = 3`".into());
    }
    let backoff = section.read("backoff", |value| one_of(BACKOFFS, value)).unwrap_or(Backoff::exponential);
    let mut config = Retry::with_backoff(retries.unwrap_or(1), backoff(section.duration("delay").unwrap_or(DEFAULT_DELAY)));
    set! { config from section: factor: number, max_delay: duration, hint_ceiling: duration, hint_jitter: duration, retry_timeouts: flag }
    if let Some(jitter) = section.read("jitter", jitter) {
        config = config.jitter(jitter);
    }
    if let Some(seed) = section.count_u64("seed") {
        config = config.seed(seed);
    }
    if section.flag("even_when_nested") == Some(true) {
        config = config.even_when_nested();
    }
    if let Some(kinds) = section.read("retry_rejections", rejections) {
        config = config.retry_rejections(kinds);
    }
    if let Some(budget) = budget(section) {
        config = config.budget(budget);
    }
    if !partial {
        section.judge(config.faults());
    }
    (retries.is_some() || partial).then_some(config)
}

pub(super) fn budget(section: &mut Section<'_>) -> Option<BudgetConfig> {
    if section.entries.iter().any(|(name, value)| name == "budget" && is_off(value)) {
        section.entries.retain(|(name, _)| name != "budget");
        return Some(Budget::unlimited());
    }
    section.section("budget", BUDGET, |section| {
        let mut config = section.share("share").map_or_else(BudgetConfig::default, Budget::new);
        if let Some(rate) = section.number("min_per_second") {
            config = config.min_per_second(rate);
        }
        if let Some(burst) = section.count_u32("burst") {
            config = config.burst(burst);
        }
        Some(config)
    })
}

fn jitter(value: &Tree) -> Result<Jitter, String> {
    match value {
        Tree::Text(text) if text.starts_with('+') => parse_duration(&text[1..]).map(Jitter::Additive).map_err(|error| error.to_string()),
        value => one_of(JITTERS, value).map_err(|problem| format!("{problem}, or a duration to add at most: \"+50ms\"")),
    }
}

fn rejections(value: &Tree) -> Result<Vec<RejectedKind>, String> {
    match value {
        Tree::List(values) => values.iter().map(|value| one_of(REJECTIONS, value)).collect(),
        one => one_of(REJECTIONS, one).map(|kind| vec![kind]),
    }
}
