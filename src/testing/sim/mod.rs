//! A simulator: what will my settings do on a bad day?
//!
//! It drives the real pipeline, as your program builds it, in tokio's paused time against a model of the dependency, and records what
//! comes of it.
//!
//! ```
//! use std::time::Duration;
//! use steadfast::Pipeline;
//! use steadfast::testing::sim::{self, Dependency, Latency, Load, Scenario};
//!
//! # fn main() -> Result<(), steadfast::ConfigError> {
//! // Will my settings survive a spike of 10 s?
//! let scenario = Scenario::new(
//!     "spike",
//!     Load::poisson(80.0).times(3.0, 20..30),
//!     Dependency::new(10, Latency::exponential(Duration::from_millis(100))), // bears 100 a second
//! )
//! .through(|| Pipeline::http("api").attempt_timeout(Duration::from_secs(1)))
//! .lasting(Duration::from_secs(60));
//!
//! let report = sim::run(&scenario, 7)?;
//! assert!(report.goodput(10..20) > 0.95, "before: {}", report.goodput(10..20));
//! assert!(report.goodput(50..60) > 0.95, "after: {}", report.goodput(50..60));
//! assert!(report.load(0..60) < 1.1, "the dependency was called {} times as often", report.load(0..60));
//! # Ok(()) }
//! ```

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
