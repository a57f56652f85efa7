//! `[cache]`.

use super::Section;
use crate::substitution::Caching;
use std::time::Duration;

pub(super) const FIELDS: &[&str] = &[
    "capacity",
    "ttl",
    "jitter",
    "idle",
    "negative_ttl",
    "refresh_ahead",
    "stale_while_revalidate",
    "stale_if_error",
    "retry_stale_every",
    "load_timeouts",
];

pub(super) fn read(section: &mut Section<'_>, partial: bool) -> Option<Caching> {
    let before = section.faults.len();
    let capacity = section.count_usize("capacity");
    if capacity.is_none() && section.faults.len() == before && !partial {
        section.fault("capacity", "is missing; say how many answers of each function may be kept, `capacity = 10000`".into());
    }
    let mut config = Caching::new(capacity.unwrap_or(1));
    set! {
        config from section:
        ttl: duration,
        jitter: duration,
        idle: duration,
        negative_ttl: duration,
        refresh_ahead: share,
        stale_while_revalidate: duration,
        stale_if_error: duration,
        retry_stale_every: duration,
    }
    let limits = section.section("load_timeouts", &["soft", "hard"], |limits| Some((limits.duration("soft"), limits.duration("hard"))));
    if let Some((soft, hard)) = limits {
        config = config.load_timeouts(soft.unwrap_or(Duration::MAX), hard.unwrap_or(Duration::MAX));
    }
    if !partial && capacity.is_some() {
        section.judge(config.faults());
    }
    (capacity.is_some() || partial).then_some(config)
}
