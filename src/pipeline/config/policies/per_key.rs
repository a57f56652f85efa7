//! `[per_key]`.

#[cfg(feature = "serde")]
use crate::admission::PerKey;
use crate::admission::PerKeyConfig;
#[cfg(feature = "serde")]
use crate::pipeline::config::read::{self, Section};
use crate::pipeline::config::tree::Tree;
use crate::pipeline::config::write;

#[cfg(feature = "serde")]
pub(crate) const FIELDS: &[&str] = &["max_keys", "idle", "statistics", "rate_limit", "circuit_breaker", "bulkhead"];

#[cfg(feature = "serde")]
pub(crate) fn read(section: &mut Section<'_>, partial: bool) -> Option<PerKeyConfig> {
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
    config.rate_limit = section.section("rate_limit", read::RATE_LIMIT, |section| read::rate_limit(section, partial));
    config.circuit_breaker = section.section("circuit_breaker", read::CIRCUIT_BREAKER, |section| read::circuit_breaker(section, partial));
    config.bulkhead = section.section("bulkhead", read::BULKHEAD, |section| read::bulkhead(section, partial));
    // What the policies themselves found is told already.
    if !partial && max_keys.is_some() && section.faults.len() == sound {
        section.judge(config.faults());
    }
    (max_keys.is_some() || partial).then_some(config)
}

pub(crate) fn write(config: &PerKeyConfig) -> Tree {
    let mut tree = Tree::table();
    tree.put("max_keys", config.max_keys);
    tree.put("idle", config.idle);
    tree.put("statistics", config.statistics);
    tree.put_some("rate_limit", config.rate_limit.as_ref().map(write::rate_limit));
    tree.put_some("circuit_breaker", config.circuit_breaker.as_ref().map(write::circuit_breaker));
    tree.put_some("bulkhead", config.bulkhead.as_ref().map(write::bulkhead));
    tree
}
