//! `[hedge]`.

use super::{Section, kind, retry};
use crate::execution::{Hedge, HedgeConfig};
use crate::fault::Fault;
use crate::pipeline::config::text::parse_duration;
use crate::pipeline::config::tree::Tree;
use std::time::Duration;

pub(super) const FIELDS: &[&str] =
    &["after", "max_hedges", "idempotent", "min_samples", "initial_delay", "min_delay", "max_delay", "budget"];

pub(super) fn read(section: &mut Section<'_>, partial: bool) -> Option<HedgeConfig> {
    let before = section.faults.len();
    let after = section.read("after", after);
    if after.is_none() && section.faults.len() == before && !partial {
        section.fault("after", "is missing; say when the second leg starts, `after = \"p95\"` or `after = \"50ms\"`".into());
    }
    let found = after.is_some();
    let mut config = after.unwrap_or_else(|| Hedge::after(Duration::MAX));
    set! {
        config from section:
        max_hedges: count_u32,
        min_samples: count_u32,
        initial_delay: duration,
        min_delay: duration,
        max_delay: duration,
    }
    match section.flag("idempotent") {
        Some(true) => config = config.idempotent(),
        Some(false) => config = config.only_idempotent_calls(),
        None => {}
    }
    if let Some(budget) = retry::budget(section) {
        config = config.budget(budget);
    }
    if !partial && found {
        // In text, the percentile is what comes after.
        let rename = |fault: Fault| if fault.field() == "percentile" { Fault::new("after", fault.problem()) } else { fault };
        section.judge(config.faults().into_iter().map(rename).collect());
    }
    (found || partial).then_some(config)
}

/// `p95` or a time.
fn after(value: &Tree) -> Result<HedgeConfig, String> {
    match value {
        Tree::Text(text) => match text.strip_prefix('p') {
            // As exactly as it was written: 99.9 / 100 is not 0.999.
            Some(percent) => match percent.trim().parse::<f64>() {
                Ok(percent) => Ok(Hedge::at_percentile((percent * 1e6).round() / 1e8)),
                Err(_) => Err(format!("{} is no percentile; write \"p95\" or \"p99.9\"", kind(value))),
            },
            None => parse_duration(text).map(Hedge::after).map_err(|error| error.to_string()),
        },
        other => Err(format!("{} where a time or a percentile is wanted; write \"50ms\" or \"p95\"", kind(other))),
    }
}
