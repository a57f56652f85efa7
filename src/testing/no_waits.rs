//! Retries without their waits.

use crate::execution::RetryConfig;
use crate::pipeline::{Pipeline, PipelineBuilder, PipelineConfig};

/// Decides everything as before, and waits for nothing between the attempts.
///
/// For tests where the clock runs: against a real server, or in code that reads the system's clock. Whether there is a retry (deadline,
/// budget, hints of the server) is decided as if the wait took place. Where the clock can be
/// [paused](https://docs.rs/tokio/latest/tokio/time/fn.pause.html) do that instead: it is exact, and covers queues and open times as well.
///
/// ```
/// use std::time::{Duration, Instant};
/// use steadfast::testing::{NoWaits, Script};
/// use steadfast::{Pipeline, Retry};
///
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), steadfast::ConfigError> {
/// let patient = Pipeline::builder("patient").retry(Retry::constant(3, Duration::from_secs(3600)));
/// let script = Script::new().fail_times(3, "down").ok("up");
/// let begun = Instant::now();
/// assert_eq!(patient.no_waits().build()?.call(|| script.run()).await, Ok("up"));
/// assert!(begun.elapsed() < Duration::from_secs(3600));
/// # Ok(()) }
/// ```
pub trait NoWaits {
    /// The same without waits between attempts. For a `&Pipeline` (a static, say): from now on, for all its clones.
    fn no_waits(self) -> Self;
}

impl NoWaits for RetryConfig {
    fn no_waits(mut self) -> Self {
        self.hurried = true;
        self
    }
}

impl NoWaits for PipelineConfig {
    fn no_waits(mut self) -> Self {
        self.policies.retry = self.policies.retry.map(RetryConfig::no_waits);
        self
    }
}

impl NoWaits for PipelineBuilder {
    fn no_waits(self) -> Self {
        self.map_retry(RetryConfig::no_waits)
    }
}

impl NoWaits for &Pipeline {
    fn no_waits(self) -> Self {
        // The settings it runs with are sound; at worst (a bulkhead resized to nothing) it stays as it is.
        let _ = self.reconfigure(&self.config().no_waits());
        self
    }
}
