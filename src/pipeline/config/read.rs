//! From a [`Tree`] to a configuration: every fault with its full path, all at once.

use super::PipelineConfig;
use super::layers::is_off;
use super::policies::{adaptive_limit, per_key, throttle};
use super::text::{Rate, parse_duration, parse_share, quoted};
use super::tree::{Tree, join};
use super::words::{shown, suggest};
use crate::admission::{Bulkhead, BulkheadConfig, CircuitBreakerConfig, CoDel, RateLimiter, RateLimiterConfig};
use crate::execution::{Backoff, Budget, BudgetConfig, Jitter, Retry, RetryConfig};
use crate::fault::Fault;
use crate::outcome::RejectedKind;
use std::time::Duration;

const PIPELINE: &[&str] = &[
    "preset",
    "total_timeout",
    "attempt_timeout",
    "retry",
    "circuit_breaker",
    "throttle",
    "per_key",
    "rate_limit",
    "bulkhead",
    "adaptive_limit",
    "monitor",
];
const RETRY: &[&str] = &[
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
pub(super) const CIRCUIT_BREAKER: &[&str] = &[
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
pub(super) const RATE_LIMIT: &[&str] = &["rate", "burst", "sliding_window", "max_wait", "queue", "ageing", "shed"];
pub(super) const BULKHEAD: &[&str] = &["limit", "queue", "max_wait", "ageing", "shed"];
const SHED: &[&str] = &["target", "interval"];

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
/// The share of failures that everybody's breaker begins with.
const DEFAULT_FAILURE_RATE: f64 = 0.5;

/// One table on its way to a configuration. Fields are taken out as they are read.
pub(super) struct Section<'f> {
    path: String,
    entries: Vec<(String, Tree)>,
    pub(super) faults: &'f mut Vec<Fault>,
}

/// What a file says of a field.
enum Said<T> {
    Nothing,
    Off,
    Value(T),
}

impl<'f> Section<'f> {
    /// Fields that are not `known` are faults.
    fn open(path: String, tree: Tree, known: &[&str], faults: &'f mut Vec<Fault>) -> Option<Self> {
        let entries = match tree {
            Tree::Table(entries) => entries,
            Tree::Bad(problem) => {
                faults.push(Fault::new(path, problem));
                return None;
            }
            other => {
                let what = if path.is_empty() { "the configuration" } else { "this" };
                let fields = known.join("`, `");
                faults.push(Fault::new(path, format!("{} where {what} is a table; its fields are `{fields}`", kind(&other))));
                return None;
            }
        };
        let mut section = Self { path, entries: Vec::with_capacity(entries.len()), faults };
        for (name, value) in entries {
            if !known.contains(&name.as_str()) {
                section.fault(&shown(&name), format!("unknown field; {}", suggest(&name, known)));
            } else {
                section.entries.push((name, value));
            }
        }
        Some(section)
    }

    pub(super) fn fault(&mut self, field: &str, problem: String) {
        let path = join(&self.path, field);
        self.faults.push(Fault::new(path, problem));
    }

    /// What a policy found in settings that could be read.
    pub(super) fn judge(&mut self, found: Vec<Fault>) {
        let path = &self.path;
        self.faults.extend(found.into_iter().map(|fault| fault.under(path)));
    }

    fn said(&mut self, field: &str) -> Said<Tree> {
        let Some(place) = self.entries.iter().position(|(name, _)| name == field) else { return Said::Nothing };
        match self.entries.remove(place).1 {
            Tree::Nothing => Said::Nothing,
            value if is_off(&value) => Said::Off,
            value => Said::Value(value),
        }
    }

    pub(super) fn read<T>(&mut self, field: &str, read: impl FnOnce(&Tree) -> Result<T, String>) -> Option<T> {
        match self.said(field) {
            Said::Value(Tree::Bad(problem)) => {
                self.fault(field, problem);
                None
            }
            Said::Value(value) => match read(&value) {
                Ok(value) => Some(value),
                Err(problem) => {
                    self.fault(field, problem);
                    None
                }
            },
            Said::Nothing | Said::Off => None,
        }
    }

    pub(super) fn duration(&mut self, field: &str) -> Option<Duration> {
        self.read(field, duration)
    }

    pub(super) fn share(&mut self, field: &str) -> Option<f64> {
        self.read(field, |value| match value {
            Tree::Text(text) => parse_share(text).map_err(|error| error.to_string()),
            number => real(number).map_err(|()| format!("{} where a share is wanted; write \"50%\" or 0.5", kind(number))),
        })
    }

    pub(super) fn number(&mut self, field: &str) -> Option<f64> {
        self.read(field, |value| {
            let text = if let Tree::Text(text) = value { text.trim().parse().ok() } else { None };
            text.or(real(value).ok()).ok_or_else(|| format!("{} where a number is wanted", kind(value)))
        })
    }

    fn count<T: TryFrom<i128>>(&mut self, field: &str, most: u128) -> Option<T> {
        self.read(field, |value| count(value, most))
    }

    pub(super) fn count_u32(&mut self, field: &str) -> Option<u32> {
        self.count(field, u32::MAX.into())
    }

    pub(super) fn count_u64(&mut self, field: &str) -> Option<u64> {
        self.count(field, u64::MAX.into())
    }

    pub(super) fn count_usize(&mut self, field: &str) -> Option<usize> {
        self.count(field, usize::MAX as u128)
    }

    /// A yes or no. `false` is a value here, not a field switched off.
    pub(super) fn flag(&mut self, field: &str) -> Option<bool> {
        match self.said(field) {
            Said::Nothing => None,
            Said::Off => Some(false),
            Said::Value(Tree::Bool(yes)) => Some(yes),
            Said::Value(Tree::Text(text)) if text == "true" => Some(true),
            Said::Value(other) => {
                self.fault(field, format!("{} where `true` or `false` is wanted", kind(&other)));
                None
            }
        }
    }

    /// A section inside this one; `None` where there is none, or none that could be read.
    pub(super) fn section<T>(&mut self, field: &str, known: &[&str], read: impl FnOnce(&mut Section<'_>) -> Option<T>) -> Option<T> {
        match self.said(field) {
            Said::Value(Tree::Bool(_)) => {
                self.fault(field, format!("`true` says too little; write a table of `{}`", known.join("`, `")));
                None
            }
            Said::Value(tree) => {
                let mut section = Section::open(join(&self.path, field), tree, known, self.faults)?;
                read(&mut section)
            }
            Said::Nothing | Said::Off => None,
        }
    }
}

/// Reads the settings of one pipeline; `partial` settings are for others to complete, so nothing is missing from them.
pub(crate) fn pipeline(path: &str, tree: Tree, partial: bool, faults: &mut Vec<Fault>) -> PipelineConfig {
    let mut config = PipelineConfig::default();
    let Some(mut section) = Section::open(path.to_owned(), tree, PIPELINE, faults) else { return config };
    let _ = section.said("preset");
    config.total_timeout = section.duration("total_timeout");
    config.attempt_timeout = section.duration("attempt_timeout");
    config.policies.retry = section.section("retry", RETRY, |section| retry(section, partial));
    config.policies.circuit_breaker = section.section("circuit_breaker", CIRCUIT_BREAKER, |section| circuit_breaker(section, partial));
    config.policies.throttle = section.section("throttle", throttle::FIELDS, |section| throttle::read(section, partial));
    config.policies.per_key = section.section("per_key", per_key::FIELDS, |section| per_key::read(section, partial));
    config.policies.rate_limit = section.section("rate_limit", RATE_LIMIT, |section| rate_limit(section, partial));
    config.policies.bulkhead = section.section("bulkhead", BULKHEAD, |section| bulkhead(section, partial));
    config.policies.adaptive_limit =
        section.section("adaptive_limit", adaptive_limit::FIELDS, |section| adaptive_limit::read(section, partial));
    config.monitor = section.flag("monitor").unwrap_or(false);
    if !partial {
        let found = config.time_faults();
        section.faults.extend(found.into_iter().map(|fault| if path.is_empty() { fault } else { fault.under(path) }));
    }
    config
}

fn retry(section: &mut Section<'_>, partial: bool) -> Option<RetryConfig> {
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
    macro_rules! set {
        ($($field:ident: $read:ident),* $(,)?) => {$(
            if let Some(value) = section.$read(stringify!($field)) {
                config = config.$field(value);
            }
        )*};
    }
    set! { factor: number, max_delay: duration, hint_ceiling: duration, hint_jitter: duration, retry_timeouts: flag }
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

fn budget(section: &mut Section<'_>) -> Option<BudgetConfig> {
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

pub(super) fn circuit_breaker(section: &mut Section<'_>, partial: bool) -> Option<CircuitBreakerConfig> {
    const RULES: [&str; 3] = ["failure_rate", "consecutive_failures", "slow_calls"];
    let mut config = CircuitBreakerConfig::new();
    let mentioned = section.entries.iter().any(|(name, value)| RULES.contains(&name.as_str()) && *value != Tree::Nothing);
    let on = section.entries.iter().any(|(name, value)| RULES.contains(&name.as_str()) && *value != Tree::Nothing && !is_off(value));
    if !mentioned {
        config = config.failure_rate(DEFAULT_FAILURE_RATE);
    } else if !on && !partial {
        section.fault("failure_rate", "no rule is left that could open the circuit; write `failure_rate = \"50%\"`".into());
    }
    macro_rules! set {
        ($($field:ident: $read:ident),* $(,)?) => {$(
            if let Some(value) = section.$read(stringify!($field)) {
                config = config.$field(value);
            }
        )*};
    }
    set! {
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

pub(super) fn rate_limit(section: &mut Section<'_>, partial: bool) -> Option<RateLimiterConfig> {
    let before = section.faults.len();
    let rate = section.read("rate", |value| match value {
        Tree::Text(text) => text.parse::<Rate>().map_err(|error| error.to_string()),
        Tree::Whole(units) => Err(format!("{units} of what? A rate needs a period: write \"{units}/s\" or \"{units}/min\"")),
        other => Err(format!("{} where a rate is wanted; write \"100/s\", \"10/min\" or \"5/30s\"", kind(other))),
    });
    if rate.is_none() && section.faults.len() == before && !partial {
        section.fault("rate", "is missing; write `rate = \"100/s\"`".into());
    }
    let mut config = rate.map_or_else(|| RateLimiter::per_second(1), Rate::limiter);
    if let Some(units) = section.count_u32("burst") {
        config = config.burst(units);
    }
    if section.flag("sliding_window") == Some(true) {
        config = config.sliding_window();
    }
    if let Some(wait) = section.duration("max_wait") {
        config = config.max_wait(wait);
    }
    if let Some(waiters) = section.count_usize("queue") {
        config = config.queue(waiters);
    }
    if let Some(step) = section.duration("ageing") {
        config = config.ageing(step);
    }
    if let Some(when) = shed(section) {
        config = config.shed(when);
    }
    if !partial && rate.is_some() {
        section.judge(rate_limit_faults(&config));
    }
    (rate.is_some() || partial).then_some(config)
}

/// When a queue sheds: `true` is the usual.
fn shed(section: &mut Section<'_>) -> Option<CoDel> {
    if let Some((_, value)) = section.entries.iter_mut().find(|(name, _)| name == "shed")
        && (*value == Tree::Bool(true) || *value == Tree::Text("true".into()))
    {
        *value = Tree::table();
    }
    section.section("shed", SHED, |section| {
        let usual = CoDel::default();
        let codel = CoDel::target(section.duration("target").unwrap_or(usual.target));
        Some(codel.interval(section.duration("interval").unwrap_or(usual.interval)))
    })
}

/// In text, the period is a part of the rate.
pub(crate) fn rate_limit_faults(config: &RateLimiterConfig) -> Vec<Fault> {
    let rename = |fault: Fault| if fault.field() == "period" { Fault::new("rate", fault.problem()) } else { fault };
    config.faults().into_iter().map(rename).collect()
}

pub(super) fn bulkhead(section: &mut Section<'_>, partial: bool) -> Option<BulkheadConfig> {
    let before = section.faults.len();
    let limit = section.count_usize("limit");
    if limit.is_none() && section.faults.len() == before && !partial {
        section.fault("limit", "is missing; say how many calls may run at once, `limit = 50`".into());
    }
    let mut config = Bulkhead::new(limit.unwrap_or(1));
    if let Some(calls) = section.count_usize("queue") {
        config = config.queue(calls);
    }
    if let Some(wait) = section.duration("max_wait") {
        config = config.max_wait(wait);
    }
    if let Some(step) = section.duration("ageing") {
        config = config.ageing(step);
    }
    if let Some(when) = shed(section) {
        config = config.shed(when);
    }
    if !partial && limit.is_some() {
        section.judge(config.faults());
    }
    (limit.is_some() || partial).then_some(config)
}

// ---- values ----

fn duration(value: &Tree) -> Result<Duration, String> {
    match value {
        Tree::Text(text) => parse_duration(text).map_err(|error| error.to_string()),
        Tree::Whole(n) => Err(format!("{n} has no unit; write \"{n}s\" or \"{n}ms\"")),
        Tree::Real(n) => Err(format!("{n} has no unit; write \"{n}s\" or \"{n}ms\"")),
        other => Err(format!("{} where a duration is wanted; write \"250ms\", \"2s\" or \"1m\"", kind(other))),
    }
}

fn real(value: &Tree) -> Result<f64, ()> {
    match value {
        Tree::Real(value) => Ok(*value),
        #[expect(clippy::cast_precision_loss, reason = "no setting is a number where the last of 53 bits matters")]
        Tree::Whole(value) => Ok(*value as f64),
        _ => Err(()),
    }
}

fn count<T: TryFrom<i128>>(value: &Tree, most: u128) -> Result<T, String> {
    let number = match value {
        Tree::Whole(number) => *number,
        // What comes from the environment is all text.
        Tree::Text(text) => match text.trim().replace('_', "").parse() {
            Ok(number) if text.len() <= 40 => number,
            _ => return Err(format!("{} where a whole number is wanted", kind(value))),
        },
        other => return Err(format!("{} where a whole number is wanted", kind(other))),
    };
    if number < 0 {
        return Err(format!("{number} is negative; it must be at least 0"));
    }
    T::try_from(number).map_err(|_| format!("{number} is too large; it must be at most {most}"))
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

/// The one of a few words that a text is.
pub(super) fn one_of<T: Copy>(choices: &[(&str, T)], value: &Tree) -> Result<T, String> {
    let names: Vec<&str> = choices.iter().map(|(name, _)| *name).collect();
    match value {
        Tree::Text(text) => match choices.iter().find(|(name, _)| name == text) {
            Some((_, choice)) => Ok(*choice),
            None => Err(format!("{} is none of those there are; {}", quoted(text), suggest(text, &names))),
        },
        other => Err(format!("{} where one of `{}` is wanted", kind(other), names.join("`, `"))),
    }
}

/// A value as a message tells it.
fn kind(value: &Tree) -> String {
    match value {
        Tree::Nothing => "nothing".into(),
        Tree::Bool(value) => format!("`{value}`"),
        Tree::Whole(value) => value.to_string(),
        Tree::Real(value) => value.to_string(),
        Tree::Text(text) => format!("the text {}", quoted(text)),
        Tree::List(_) => "a list".into(),
        Tree::Table(_) => "a table".into(),
        Tree::Bad(problem) => problem.clone(),
    }
}
