//! From a configuration to a [`Tree`]: every setting, also those that were not chosen.

use super::PipelineConfig;
use super::policies::{adaptive_limit, per_key, throttle};
use super::text::Rate;
use super::tree::Tree;
use crate::admission::{BulkheadConfig, CircuitBreakerConfig, CircuitWindow, CoDel, RateLimiterConfig};
use crate::execution::{Backoff, BudgetSource, Formula, Jitter, Retry, RetryConfig};
use crate::outcome::RejectedKind;
use std::time::Duration;

fn unwritable(what: &str) -> Tree {
    Tree::Bad(format!("{what} cannot be written down"))
}

impl PipelineConfig {
    pub(crate) fn tree(&self) -> Tree {
        let mut tree = Tree::table();
        tree.put_some("total_timeout", self.total_timeout);
        tree.put_some("attempt_timeout", self.attempt_timeout);
        tree.put("monitor", self.monitor);
        tree.put_some("retry", self.policies.retry.as_ref().map(retry));
        tree.put_some("circuit_breaker", self.policies.circuit_breaker.as_ref().map(circuit_breaker));
        tree.put_some("throttle", self.policies.throttle.as_ref().map(throttle::write));
        tree.put_some("per_key", self.policies.per_key.as_ref().map(per_key::write));
        tree.put_some("rate_limit", self.policies.rate_limit.as_ref().map(rate_limit));
        tree.put_some("bulkhead", self.policies.bulkhead.as_ref().map(bulkhead));
        tree.put_some("adaptive_limit", self.policies.adaptive_limit.as_ref().map(adaptive_limit::write));
        tree
    }
}

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
    match &config.budget {
        BudgetSource::Own(own) if own.unlimited => tree.put("budget", false),
        BudgetSource::Own(own) => {
            let mut budget = Tree::table();
            budget.put("share", own.share);
            budget.put("min_per_second", own.min_per_second);
            budget.put("burst", own.burst);
            tree.put("budget", budget);
        }
        BudgetSource::Shared(_) => tree.put("budget", unwritable("a budget shared with others")),
    }
    tree
}

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

pub(super) fn rate_limit(config: &RateLimiterConfig) -> Tree {
    let mut tree = Tree::table();
    tree.put("rate", Rate { units: config.units, period: config.period }.to_string());
    tree.put_some("burst", config.burst);
    tree.put("sliding_window", config.sliding);
    queue(&mut tree, config.queue, config.max_wait, config.ageing);
    tree.put_some("shed", config.shed.as_ref().map(shed));
    tree
}

pub(super) fn bulkhead(config: &BulkheadConfig) -> Tree {
    let mut tree = Tree::table();
    tree.put("limit", config.limit);
    queue(&mut tree, config.queue, config.max_wait, config.ageing);
    tree.put_some("shed", config.shed.as_ref().map(shed));
    tree
}

fn shed(codel: &CoDel) -> Tree {
    let mut tree = Tree::table();
    tree.put("target", codel.target);
    tree.put("interval", codel.interval);
    tree
}

fn queue(tree: &mut Tree, queue: usize, max_wait: Duration, ageing: Duration) {
    tree.put("queue", queue);
    tree.put("max_wait", max_wait);
    tree.put("ageing", ageing);
}
