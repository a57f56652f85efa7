//! A simulator: what will my settings do on a bad day?
//!
//! It drives the real pipeline, as your program builds it, in tokio's paused time against a model of what it calls, and records what comes
//! of it, bucket by bucket. Four minutes of 80 calls a second take a tenth of a second. The same seed gives the same report, to the last byte.
//!
//! ```
//! use std::time::Duration;
//! use steadfast::Pipeline;
//! use steadfast::testing::sim::{self, Dependency, Latency, Load, Scenario};
//!
//! # fn main() -> Result<(), steadfast::ConfigError> {
//! // Will my settings survive a spike of 10 s?
//! let load = Load::poisson(80.0).times(3.0, 20..30); //                                     80 calls a second, and 240
//! let service = Dependency::new(10, Latency::exponential(Duration::from_millis(100))); //   bears 100
//! let spike = Scenario::new("spike", load, service)
//!     .through(|| Pipeline::http("api").attempt_timeout(Duration::from_secs(1))) //         yours: what your program builds
//!     .lasting(Duration::from_secs(60));
//!
//! let report = sim::run(&spike, 7)?;
//! assert!(report.goodput(20..30) > 0.38, "meanwhile, as much as can be: {}", report.goodput(20..30)); // 100 of 240
//! assert!(report.served(30..50) > 0.98, "and then everything: {}", report.served(30..50));
//! assert!(report.load(0..60) < 1.1, "at hardly any more load: {}", report.load(0..60));
//! # Ok(()) }
//! ```
//!
//! In a `#[test]` of yours that is a promise kept from release to release. Take a few seeds, and leave room for chance: of 100 events
//! there are 90 or 110 now and then.
//!
//! | part | says | for instance |
//! |---|---|---|
//! | [`Load`] | who calls, how often, how important it is | [`poisson`](Load::poisson), [`clients`](Load::clients), [`times`](Load::times), [`herd`](Load::herd), [`mix`](Load::mix) |
//! | [`Dependency`] | what is called: servers, a queue, bad days | [`slow`](Dependency::slow), [`outage`](Dependency::outage), [`hangs`](Dependency::hangs), [`errors`](Dependency::errors), [`servers`](Dependency::servers) |
//! | [`Latency`] | how long the work takes | [`exponential`](Latency::exponential), [`lognormal`](Latency::lognormal), [`pareto`](Latency::pareto), [`bimodal`](Latency::bimodal), [`custom`](Latency::custom) |
//! | [`Scenario`] | all of it, and the pipelines between | [`through`](Scenario::through), [`operation`](Scenario::operation) |
//! | [`Report`] | what came of it | [`goodput`](Report::goodput), [`served`](Report::served), [`load`](Report::load), [`latency`](Report::latency), [`to_csv`](Report::to_csv) |
//!
//! # A dependency of your own
//!
//! Where servers and a queue are not what you call, say it in code. It runs in the simulated time, so it sleeps with `tokio::time`:
//!
//! ```
//! use std::sync::atomic::{AtomicU32, Ordering};
//! use std::sync::Arc;
//! use std::time::Duration;
//! use steadfast::testing::sim::{self, Dependency, Failure, Latency, Load, Scenario};
//! use steadfast::{Bulkhead, BulkheadConfig, Pipeline};
//! use tokio::time::sleep;
//!
//! # fn main() -> Result<(), steadfast::ConfigError> {
//! // A provider that answers at most 50 at once, and punishes the next with five seconds of silence.
//! let provider = || {
//!     let busy = Arc::new(AtomicU32::new(0));
//!     move |_attempt| {
//!         let busy = Arc::clone(&busy);
//!         async move {
//!             let too_many = busy.fetch_add(1, Ordering::Relaxed) >= 50;
//!             sleep(Duration::from_millis(if too_many { 5_000 } else { 200 })).await;
//!             busy.fetch_sub(1, Ordering::Relaxed);
//!             if too_many { Err(Failure::Other("too many")) } else { Ok(()) }
//!         }
//!     }
//! };
//! let nothing = Dependency::new(0, Latency::constant(Duration::ZERO)); // the operation takes its place
//! let scenario = |bulkhead: BulkheadConfig| {
//!     Scenario::new("at most 50", Load::poisson(200.0).herd(300, 20), nothing.clone())
//!         .operation(provider)
//!         .through(move || Pipeline::builder("provider").bulkhead(bulkhead.clone()))
//!         .lasting(Duration::from_secs(40))
//! };
//! assert_eq!(sim::run(&scenario(Bulkhead::new(50).queue(400)), 1)?.served(0..30), 1.0);
//! assert!(sim::run(&scenario(Bulkhead::new(80)), 1)?.served(0..30) < 0.1); // once is enough for ever
//! # Ok(()) }
//! ```
//!
//! For experiments that are no stream of calls there is [`virtually`], which runs any async function in a time of its own, and [`Chance`], a
//! stream of random numbers for each purpose.
//!
//! # What is modelled, and what is not
//!
//! * The dependency is exact to the nanosecond; tokio's timers tick in milliseconds, so answers and pauses end up to one later. Below a few
//!   milliseconds all times look alike.
//! * Code takes no time: what your program computes, and what this crate does, is instantaneous. So what tries again for ever without a pause
//!   never ends.
//! * A policy without a seed gets one from the simulation when the pipeline is built in it. Your own chance must come from [`Chance`],
//!   and what must not vary may not come from the system's clock or the order of a `HashMap`. `ln` and `cos` differ in the last bit from
//!   platform to platform, so two of them may differ in a call or two.
//! * Live policies in [`through`](Scenario::through) must be built in it: their clock is the simulation's.
//!
//! `cargo run --release --example simulate -- --list` in the repository shows scenarios at work, with figures.

mod chance;
mod dependency;
mod latency;
mod load;
mod machine;
mod report;
mod scenario;
mod world;

pub use chance::Chance;
pub use dependency::{Dependency, Failure};
pub use latency::Latency;
pub use load::Load;
pub use report::{Bucket, Report};
pub use scenario::Scenario;
pub use world::{run, virtually};
