//! `[adaptive_limit]`.

#[cfg(feature = "serde")]
use crate::admission::AdaptiveLimit;
use crate::admission::AdaptiveLimitConfig;
#[cfg(feature = "serde")]
use crate::pipeline::config::read::{Section, one_of};
use crate::pipeline::config::tree::Tree;

#[cfg(feature = "serde")]
type Begin = fn() -> AdaptiveLimitConfig;
#[cfg(feature = "serde")]
const ALGORITHMS: &[(&str, Begin)] = &[
    ("default", AdaptiveLimit::new),
    ("aimd", AdaptiveLimit::aimd),
    ("vegas", AdaptiveLimit::vegas),
    ("gradient2", AdaptiveLimit::gradient2),
];

#[cfg(feature = "serde")]
pub(crate) const FIELDS: &[&str] = &[
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
    "tolerance",
    "backoff_ratio",
    "alpha",
    "beta",
    "smoothing",
    "queue_size",
];

#[cfg(feature = "serde")]
pub(crate) fn read(section: &mut Section<'_>, partial: bool) -> Option<AdaptiveLimitConfig> {
    let mut config = section.read("algorithm", |value| one_of(ALGORITHMS, value)).unwrap_or(AdaptiveLimit::new)();
    macro_rules! set {
        ($($field:ident: $read:ident),* $(,)?) => {$(
            if let Some(value) = section.$read(stringify!($field)) {
                config = config.$field(value);
            }
        )*};
    }
    set! {
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
    if !partial {
        section.judge(config.faults());
    }
    Some(config)
}

pub(crate) fn write(config: &AdaptiveLimitConfig) -> Tree {
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
