//! `[rate_limit]`.

use super::queue::shed;
use super::{Section, kind};
use crate::admission::{RateLimiter, RateLimiterConfig};
use crate::fault::Fault;
use crate::pipeline::config::text::Rate;
use crate::pipeline::config::tree::Tree;

pub(super) const FIELDS: &[&str] = &["rate", "burst", "sliding_window", "max_wait", "queue", "ageing", "shed"];

pub(super) fn read(section: &mut Section<'_>, partial: bool) -> Option<RateLimiterConfig> {
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
        section.judge(faults(&config));
    }
    (rate.is_some() || partial).then_some(config)
}

/// In text, the period is a part of the rate.
pub(crate) fn faults(config: &RateLimiterConfig) -> Vec<Fault> {
    let rename = |fault: Fault| if fault.field() == "period" { Fault::new("rate", fault.problem()) } else { fault };
    config.faults().into_iter().map(rename).collect()
}
