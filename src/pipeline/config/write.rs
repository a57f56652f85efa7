//! From a configuration to a [`Tree`]: every setting, also those that were not chosen.

use super::PipelineConfig;
use super::text::Rate;
use super::tree::Tree;
use crate::admission::{
    AdaptiveLimitConfig, BulkheadConfig, CircuitBreakerConfig, CircuitWindow, CoDel, PerKeyConfig, RateLimiterConfig, ThrottleConfig,
};
use crate::execution::hedge::When;
use crate::execution::{Backoff, BudgetSource, Formula, HedgeConfig, Jitter, Retry, RetryConfig};
use crate::outcome::RejectedKind;
use std::time::Duration;

#[inline]
fn unwritable(what: &str) -> Tree {
    Tree::Bad(format!("{what} cannot be written down"))
}

impl PipelineConfig {
    #[inline]
    pub(crate) fn tree(&self) -> Tree {
        let mut tree = Tree::table();
        tree.put_some("total_timeout", self.total_timeout);
        tree.put_some("attempt_timeout", self.attempt_timeout);
        tree.put("monitor", self.monitor);
        macro_rules! policies {
            ($($policy:ident),*) => {
                $(tree.put_some(stringify!($policy), self.policies.$policy.as_ref().map($policy));)*
            };
        }
        policies!(retry, hedge, circuit_breaker, throttle, per_key, rate_limit, bulkhead, adaptive_limit);
        #[cfg(feature = "cache")]
        tree.put_some("cache", self.caching.as_ref().map(cache));
        tree
    }
}

#[inline]
fn retry(config: &RetryConfig) -> Tree {
    let mut tree = Tree::table();
    if config.retries == Retry::UNLIMITED {
        tree.put("retries", "unlimited");
    } else {
        tree.put("retries", config.retries);
    }
    backoff(&mut tree, &config.backoff);
    tree.put("hint_ceiling", config.hint_ceiling);
    tree.put("hint_jitter", config.hint_jitter);
    tree.put("retry_timeouts", config.timeouts);
    if !config.rejections.is_empty() {
        let name = |kind: &RejectedKind| match kind {
            RejectedKind::Custom(_) => unwritable("a rejection of a gate of your own"),
            kind => kind.as_str().into(),
        };
        tree.put("retry_rejections", Tree::List(config.rejections.iter().map(name).collect()));
    }
    tree.put("even_when_nested", config.even_when_nested);
    tree.put("budget", budget(&config.budget));
    tree
}

#[inline]
fn budget(source: &BudgetSource) -> Tree {
    match source {
        BudgetSource::Own(own) if own.unlimited => false.into(),
        BudgetSource::Own(own) => {
            let mut budget = Tree::table();
            budget.put("share", own.share);
            budget.put("min_per_second", own.min_per_second);
            budget.put("burst", own.burst);
            budget
        }
        BudgetSource::Shared(_) => unwritable("a budget shared with others"),
    }
}

#[inline]
fn hedge(config: &HedgeConfig) -> Tree {
    let mut tree = Tree::table();
    match &config.when {
        When::After(delay) => tree.put("after", *delay),
        When::AtPercentile(share) => tree.put("after", format!("p{}", (share * 1e8).round() / 1e6)),
        When::Custom(_) => tree.put("after", unwritable("a function of your own")),
    }
    tree.put("max_hedges", config.max_hedges);
    tree.put_some("idempotent", config.idempotent);
    tree.put_some("min_samples", config.min_samples);
    tree.put_some("initial_delay", config.initial_delay);
    tree.put_some("min_delay", config.min_delay);
    tree.put_some("max_delay", config.max_delay);
    tree.put_some("budget", config.budget.as_ref().map(budget));
    tree
}

#[inline]
fn backoff(tree: &mut Tree, backoff: &Backoff) {
    let (name, delay) = match &backoff.formula {
        Formula::Constant(delay) => ("constant", *delay),
        Formula::Linear(delay) => ("linear", *delay),
        Formula::Exponential(delay, _) => ("exponential", *delay),
        Formula::Fibonacci(delay) => ("fibonacci", *delay),
        Formula::Decorrelated(delay) => ("decorrelated", *delay),
        Formula::Custom(_) => return tree.put("backoff", unwritable("a function of your own")),
    };
    tree.put("backoff", name);
    tree.put("delay", delay);
    if let Formula::Exponential(_, factor) = &backoff.formula {
        tree.put("factor", *factor);
    }
    tree.put_some("max_delay", backoff.max_delay);
    if name != "decorrelated" {
        match backoff.jitter {
            Jitter::Full => tree.put("jitter", "full"),
            Jitter::Equal => tree.put("jitter", "equal"),
            Jitter::Additive(most) => tree.put("jitter", format!("+{}", super::text::format_duration(most))),
            Jitter::None => tree.put("jitter", "none"),
        }
    }
    tree.put_some("seed", backoff.seed_value());
}

#[inline]
pub(super) fn circuit_breaker(config: &CircuitBreakerConfig) -> Tree {
    let mut tree = Tree::table();
    tree.put_some("failure_rate", config.failure_rate);
    tree.put_some("consecutive_failures", config.consecutive);
    if let Some((slower_than, share)) = config.slow {
        let mut slow = Tree::table();
        slow.put("slower_than", slower_than);
        slow.put("share", share);
        tree.put("slow_calls", slow);
    }
    match config.window {
        CircuitWindow::Time(time) => tree.put("window", time),
        CircuitWindow::Count(calls) => tree.put("count_window", calls),
    }
    tree.put_some("min_calls", config.min_calls);
    tree.put("trip_on_success", config.trip_on_success);
    tree.put("open_for", config.open_for);
    tree.put("open_growth", config.open_growth);
    tree.put_some("max_open", config.max_open);
    tree.put("open_jitter", config.open_jitter);
    tree.put_some("open_for_fn", config.open_for_fn.map(|_| unwritable("a function of your own")));
    tree.put_some("seed", config.seed);
    tree.put("probes", config.probes);
    tree.put_some("close_after", config.close_after);
    tree.put_some("probe_lease", config.probe_lease);
    tree.put_some("half_open_for", config.half_open_for);
    tree.put_some("abandoned_after", config.abandoned_after);
    tree.put_some("ramp", config.ramp);
    tree
}

#[inline]
pub(super) fn rate_limit(config: &RateLimiterConfig) -> Tree {
    let mut tree = Tree::table();
    tree.put("rate", Rate { units: config.units, period: config.period }.to_string());
    tree.put_some("burst", config.burst);
    tree.put("sliding_window", config.sliding);
    queue(&mut tree, config.queue, config.max_wait, config.ageing);
    tree.put_some("shed", config.shed.as_ref().map(shed));
    tree
}

#[inline]
pub(super) fn bulkhead(config: &BulkheadConfig) -> Tree {
    let mut tree = Tree::table();
    tree.put("limit", config.limit);
    queue(&mut tree, config.queue, config.max_wait, config.ageing);
    tree.put_some("shed", config.shed.as_ref().map(shed));
    tree
}

#[inline]
fn shed(codel: &CoDel) -> Tree {
    let mut tree = Tree::table();
    tree.put("target", codel.target);
    tree.put("interval", codel.interval);
    tree
}

#[inline]
fn queue(tree: &mut Tree, queue: usize, max_wait: Duration, ageing: Duration) {
    tree.put("queue", queue);
    tree.put("max_wait", max_wait);
    tree.put("ageing", ageing);
}

#[inline]
fn throttle(config: &ThrottleConfig) -> Tree {
    let mut tree = Tree::table();
    tree.put("accept_multiplier", config.accept_multiplier);
    tree.put("window", config.window);
    tree.put("min_requests", config.min_requests);
    tree.put("max_rejection", config.max_rejection);
    tree.put("fast_recovery", config.fast_recovery);
    tree.put("probe_interval", config.probe_interval);
    tree.put_some("seed", config.seed);
    tree
}

#[inline]
fn adaptive_limit(config: &AdaptiveLimitConfig) -> Tree {
    let mut tree = Tree::table();
    tree.put("algorithm", config.algorithm.name());
    tree.put("initial", config.initial);
    tree.put("min", config.min);
    tree.put("max", config.max);
    tree.put("window", config.window);
    tree.put("min_samples", config.min_samples);
    tree.put("reserve", config.reserve);
    tree.put("queue", config.queue);
    tree.put("max_wait", config.max_wait);
    tree.put("ageing", config.ageing);
    tree.put_some("shed", config.shed.as_ref().map(shed));
    let parameters = [
        ("tolerance", config.tolerance),
        ("backoff_ratio", config.backoff_ratio),
        ("alpha", config.alpha),
        ("beta", config.beta),
        ("smoothing", config.smoothing),
        ("queue_size", config.queue_size),
    ];
    parameters.into_iter().for_each(|(name, value)| tree.put_some(name, value));
    tree
}

#[inline]
fn per_key(config: &PerKeyConfig) -> Tree {
    let mut tree = Tree::table();
    tree.put("max_keys", config.max_keys);
    tree.put("idle", config.idle);
    tree.put("statistics", config.statistics);
    tree.put_some("rate_limit", config.rate_limit.as_ref().map(rate_limit));
    tree.put_some("circuit_breaker", config.circuit_breaker.as_ref().map(circuit_breaker));
    tree.put_some("bulkhead", config.bulkhead.as_ref().map(bulkhead));
    tree
}

#[cfg(feature = "cache")]
#[inline]
fn cache(config: &crate::substitution::Caching) -> Tree {
    let times = &config.times;
    let mut tree = Tree::table();
    tree.put("capacity", config.capacity);
    tree.put("ttl", times.ttl);
    tree.put("jitter", times.jitter);
    tree.put("idle", times.idle);
    tree.put("negative_ttl", times.negative_ttl);
    tree.put_some("refresh_ahead", times.refresh_ahead);
    tree.put("stale_while_revalidate", times.stale_while_revalidate);
    tree.put("stale_if_error", times.stale_if_error);
    tree.put("retry_stale_every", times.retry_stale_every);
    let mut limits = Tree::table();
    limits.put("soft", times.soft_timeout);
    limits.put("hard", times.hard_timeout);
    tree.put("load_timeouts", limits);
    tree
}
