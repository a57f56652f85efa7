//! `[adaptive_limit]`.

use super::queue::shed;
use super::{Section, one_of};
use crate::admission::{AdaptiveLimit, AdaptiveLimitConfig};

type Begin = fn() -> AdaptiveLimitConfig;
const ALGORITHMS: &[(&str, Begin)] = &[
    ("default", AdaptiveLimit::new),
    ("aimd", AdaptiveLimit::aimd),
    ("vegas", AdaptiveLimit::vegas),
    ("gradient2", AdaptiveLimit::gradient2),
];

pub(super) const FIELDS: &[&str] = &[
    "algorithm",
    "initial",
    "min",
    "max",
    "window",
    "min_samples",
    "reserve",
    "queue",
    "max_wait",
    "ageing",
    "shed",
    "tolerance",
    "backoff_ratio",
    "alpha",
    "beta",
    "smoothing",
    "queue_size",
];

pub(super) fn read(section: &mut Section<'_>, partial: bool) -> Option<AdaptiveLimitConfig> {
    let mut config = section.read("algorithm", |value| one_of(ALGORITHMS, value)).unwrap_or(AdaptiveLimit::new)();
    set! {
        config from section:
        initial: count_usize,
        min: count_usize,
        max: count_usize,
        window: duration,
        min_samples: count_u64,
        reserve: share,
        queue: count_usize,
        max_wait: duration,
        ageing: duration,
        tolerance: number,
        backoff_ratio: number,
        alpha: number,
        beta: number,
        smoothing: number,
        queue_size: number,
    }
    if let Some(when) = shed(section) {
        config = config.shed(when);
    }
    if !partial {
        section.judge(config.faults());
    }
    Some(config)
}
