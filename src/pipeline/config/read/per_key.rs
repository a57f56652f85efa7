//! `[per_key]`.

use super::{Section, bulkhead, circuit_breaker, rate_limit};
use crate::admission::{PerKey, PerKeyConfig};

pub(super) const FIELDS: &[&str] = &["max_keys", "idle", "statistics", "rate_limit", "circuit_breaker", "bulkhead"];

pub(super) fn read(section: &mut Section<'_>, partial: bool) -> Option<PerKeyConfig> {
    let before = section.faults.len();
    let max_keys = section.count_usize("max_keys");
    if max_keys.is_none() && section.faults.len() == before && !partial {
        section.fault("max_keys", "is missing; say how many keys may be known at once, `max_keys = 10000`".into());
    }
    let mut config = PerKey::new(max_keys.unwrap_or(1));
    if let Some(idle) = section.duration("idle") {
        config = config.idle(idle);
    }
    if let Some(on) = section.flag("statistics") {
        config = config.statistics(on);
    }
    let sound = section.faults.len();
    config.rate_limit = section.section("rate_limit", rate_limit::FIELDS, |section| rate_limit::read(section, partial));
    config.circuit_breaker = section.section("circuit_breaker", circuit_breaker::FIELDS, |section| circuit_breaker::read(section, partial));
    config.bulkhead = section.section("bulkhead", bulkhead::FIELDS, |section| bulkhead::read(section, partial));
    // What the policies themselves found is told already.
    if !partial && max_keys.is_some() && section.faults.len() == sound {
        section.judge(config.faults());
    }
    (max_keys.is_some() || partial).then_some(config)
}
