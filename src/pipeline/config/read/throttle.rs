//! `[throttle]`.

use super::Section;
use crate::admission::{Throttle, ThrottleConfig};

pub(super) const FIELDS: &[&str] =
    &["accept_multiplier", "window", "min_requests", "max_rejection", "fast_recovery", "probe_interval", "seed"];

pub(super) fn read(section: &mut Section<'_>, partial: bool) -> Option<ThrottleConfig> {
    let mut config = Throttle::new();
    set! {
        config from section:
        accept_multiplier: number,
        window: duration,
        min_requests: count_u32,
        max_rejection: share,
        fast_recovery: flag,
        probe_interval: duration,
        seed: count_u64,
    }
    if !partial {
        section.judge(config.faults());
    }
    Some(config)
}
