//! 1. Retry storm: three times the load for ten seconds, and then?

use std::time::Duration;
use steadfast::testing::sim::{Dependency, Latency, Load, Scenario};
use steadfast::{Pipeline, PipelineBuilder, Retry};

const fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

/// Poisson 80/s, 10 workers, exponential service of 0.1 s on average, FIFO; what was abandoned is done all the same.
fn scenario(pipeline: fn() -> PipelineBuilder) -> Scenario {
    Scenario::new("storm", Load::poisson(80.0).times(3.0, 60..70), Dependency::new(10, Latency::exponential(ms(100))))
        .through(pipeline)
        .lasting(Duration::from_secs(240))
}

/// What many a client does: 1 s timeout, 3 retries with full jitter, and nothing else.
pub(crate) fn retries_alone() -> Scenario {
    scenario(|| Pipeline::builder("retries").attempt_timeout(ms(1_000)).retry(Retry::exponential(3, ms(100)).without_budget()))
}

/// The preset, with the client's timeout of 1 s.
pub(crate) fn preset() -> Scenario {
    scenario(|| Pipeline::http("preset").attempt_timeout(ms(1_000)).retry(Retry::exponential(3, ms(100))))
}
