//! `[throttle]`.

#[cfg(feature = "serde")]
use crate::admission::Throttle;
use crate::admission::ThrottleConfig;
#[cfg(feature = "serde")]
use crate::pipeline::config::read::Section;
use crate::pipeline::config::tree::Tree;

#[cfg(feature = "serde")]
pub(crate) const FIELDS: &[&str] =
    &["accept_multiplier", "window", "min_requests", "max_rejection", "fast_recovery", "probe_interval", "seed"];

#[cfg(feature = "serde")]
pub(crate) fn read(section: &mut Section<'_>, partial: bool) -> Option<ThrottleConfig> {
    let mut config = Throttle::new();
    macro_rules! set {
        ($($field:ident: $read:ident),* $(,)?) => {$(
            if let Some(value) = section.$read(stringify!($field)) {
                config = config.$field(value);
            }
        )*};
    }
    set! {
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

pub(crate) fn write(config: &ThrottleConfig) -> Tree {
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
