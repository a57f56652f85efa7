//! Is everything there that the program needs? Probes under names, asked all at once, with a deadline for each, and one report.
//!
//! For the endpoint that a load balancer or an orchestrator asks, and for the operator's own eyes. Feature `health`. It has no task of its own: a
//! check is made when [`check`](Health::check) is awaited, and whoever wants one every ten seconds loops.
//!
//! ```
//! # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! use std::time::Duration;
//! use steadfast::Pipeline;
//! use steadfast::health::Health;
//!
//! let github = Pipeline::http("github").build()?;
//! let health = Health::new()
//!     .within(Duration::from_secs(2))
//!     .probe("database", || async { Ok::<_, std::io::Error>(()) }) // your `SELECT 1`
//!     .pipeline(&github)                                           // unhealthy while its circuit lets nobody through
//!     .threshold("places in use", 0.8, move || Some(0.3))          // unhealthy above; well again below nine tenths of it
//!     .on_change(|probe| eprintln!("{probe}"));                    // told when one falls ill, and when it is well again
//!
//! let report = health.check().await;
//! assert!(report.is_healthy());
//! println!("{report}");
//! # Ok(()) }
//! ```
//!
//! A probe should ask for as little as shows that the thing works, and change nothing. It is not for deciding whether to call a dependency: that
//! is what a [circuit breaker](crate::CircuitBreaker) finds out from the calls themselves.

use crate::admission::CircuitState;
use crate::batch::join_all;
use crate::outcome::Seconds;
use crate::pipeline::Pipeline;
use crate::sync::{Mutex, lock};
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use std::fmt;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::{Duration, SystemTime};
use tokio::time::Instant;

/// Above a threshold, a value counts as below it again only from this share of it on, so that one that hovers does not flicker.
const CLEAR: f64 = 0.9;

type Asking = dyn Fn() -> BoxFuture<'static, Result<(), String>> + Send + Sync;
type Told = dyn Fn(&ProbeReport) + Send + Sync;

struct Probe {
    name: String,
    ask: Box<Asking>,
    /// As it was last found; `None` before the first check.
    healthy: Mutex<Option<bool>>,
}

/// A registry of probes. Clones share what was found last; add all probes before cloning.
#[derive(Clone)]
pub struct Health {
    probes: Vec<Arc<Probe>>,
    within: Duration,
    told: Vec<Arc<Told>>,
}

impl Health {
    /// Without a probe, which is healthy.
    #[must_use]
    pub fn new() -> Self {
        Self { probes: Vec::new(), within: Duration::from_secs(5), told: Vec::new() }
    }

    /// How long each probe may take; one that is late is unhealthy. **Default**: 5 s.
    #[must_use]
    pub const fn within(mut self, limit: Duration) -> Self {
        self.within = limit;
        self
    }

    /// Adds a probe of your own: healthy when it gives `Ok`. The text of its error goes into the report, so keep secrets out of it. A panic
    /// is caught, and is unhealthy.
    #[must_use]
    pub fn probe<F, Fut, E>(mut self, name: impl Into<String>, ask: F) -> Self
    where
        F: Fn() -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<(), E>> + Send + 'static,
        E: fmt::Display,
    {
        let ask = move || ask().map(|found| found.map_err(|error| error.to_string())).boxed();
        self.probes.push(Arc::new(Probe { name: name.into(), ask: Box::new(ask), healthy: Mutex::new(None) }));
        self
    }

    /// Adds a pipeline, under its name: unhealthy while its circuit is open or isolated. (Half-open is on the way up, and healthy.) One
    /// without a circuit breaker is always healthy.
    #[must_use]
    pub fn pipeline(self, pipeline: &Pipeline) -> Self {
        let (name, pipeline) = (pipeline.name().to_owned(), pipeline.clone());
        self.probe(name, move || {
            let state = pipeline.circuit_breaker().map(|breaker| breaker.state());
            std::future::ready(match state {
                Some(state @ (CircuitState::Open | CircuitState::Isolated)) => Err(format!("its circuit is {}", state.as_str())),
                _ => Ok(()),
            })
        })
    }

    /// Adds a store, by its own [probe](crate::store::Store::probe), which leaves nothing behind.
    #[cfg(feature = "store")]
    #[must_use]
    pub fn store(self, name: impl Into<String>, store: &crate::store::AnyStore) -> Self {
        let store = store.clone();
        self.probe(name, move || {
            let store = store.clone();
            async move { crate::store::Store::probe(&store).await }
        })
    }

    /// Adds a value to watch: unhealthy above `limit`, and from then on until it is below nine tenths of it, so that one that hovers does not
    /// flicker. `None` (nothing to tell yet) and NaN are healthy.
    #[must_use]
    pub fn threshold(self, name: impl Into<String>, limit: f64, read: impl Fn() -> Option<f64> + Send + Sync + 'static) -> Self {
        let above = Mutex::new(false);
        self.probe(name, move || {
            let value = read();
            let mut above = lock(&above);
            *above = value.is_some_and(|value| value > if *above { limit * CLEAR } else { limit });
            std::future::ready(match (value, *above) {
                (Some(value), true) => Err(format!("{value:.3} is above {limit}")),
                _ => Ok(()),
            })
        })
    }

    /// Calls `told` for each probe that is found to be otherwise than at the check before; the first check tells of those that are unhealthy. It
    /// is called by whoever checks, after all probes have answered. The same goes to `tracing`: `steadfast.health_changed`.
    #[must_use]
    pub fn on_change(mut self, told: impl Fn(&ProbeReport) + Send + Sync + 'static) -> Self {
        self.told.push(Arc::new(told));
        self
    }

    /// Asks every probe, all at once.
    ///
    /// # Cancel safety
    /// Dropped, it drops the probes that have not answered, and tells nobody.
    pub async fn check(&self) -> HealthReport {
        let asked = self.probes.iter().map(|probe| {
            let (ask, began) = (AssertUnwindSafe(async { (probe.ask)().await }).catch_unwind(), Instant::now());
            async move { (ask.await, began.elapsed()) }
        });
        let at = SystemTime::now();
        let answers = join_all(asked).within(self.within).await;
        let probes = self.probes.iter().zip(answers).map(|(probe, answer)| {
            let (found, latency) = match answer {
                Ok((Ok(found), latency)) => (found, latency),
                Ok((Err(_panic), latency)) => (Err("the probe panicked".to_owned()), latency),
                Err(_late) => (Err(format!("no answer within {}", Seconds(self.within))), self.within),
            };
            ProbeReport { name: probe.name.clone(), latency, at, error: found.err() }
        });
        let report = HealthReport { probes: probes.collect() };
        for (probe, found) in self.probes.iter().zip(&report.probes) {
            let before = lock(&probe.healthy).replace(found.is_healthy());
            if before.unwrap_or(true) != found.is_healthy() {
                trace(found);
                self.told.iter().for_each(|told| told(found));
            }
        }
        report
    }
}

/// Only names, for an error's text may hold anything.
fn trace(probe: &ProbeReport) {
    let (name, healthy) = (&*probe.name, probe.is_healthy());
    if healthy {
        tracing::event!(name: "steadfast.health_changed", target: "steadfast", tracing::Level::INFO, name, healthy, "well again");
    } else {
        tracing::event!(name: "steadfast.health_changed", target: "steadfast", tracing::Level::ERROR, name, healthy, "unhealthy");
    }
}

impl Default for Health {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for Health {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<&str> = self.probes.iter().map(|probe| &*probe.name).collect();
        f.debug_struct("Health").field("probes", &names).field("within", &self.within).finish_non_exhaustive()
    }
}

/// What one probe found.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct ProbeReport {
    /// Its name.
    pub name: String,
    /// How long it took; of one that was late, the limit.
    pub latency: Duration,
    /// When it was asked, by the clock of the machine.
    pub at: SystemTime,
    /// What is wrong; `None`: nothing.
    pub error: Option<String>,
}

impl ProbeReport {
    /// Whether nothing is wrong.
    #[must_use]
    pub const fn is_healthy(&self) -> bool {
        self.error.is_none()
    }
}

/// `database: unhealthy after 2.0 s: no answer within 2.0 s`.
impl fmt::Display for ProbeReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (name, latency) = (crate::observation::clean(&self.name), Seconds(self.latency));
        match &self.error {
            None => write!(f, "{name}: healthy, in {latency}"),
            Some(error) => write!(f, "{name}: unhealthy after {latency}: {}", crate::observation::clean(error)),
        }
    }
}

/// What all probes found, in the order in which they were added. `Display` prints a line for each.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct HealthReport {
    probes: Vec<ProbeReport>,
}

impl HealthReport {
    /// Whether nothing is wrong anywhere.
    #[must_use]
    pub fn is_healthy(&self) -> bool {
        self.probes.iter().all(ProbeReport::is_healthy)
    }

    /// Every probe.
    #[must_use]
    pub fn probes(&self) -> &[ProbeReport] {
        &self.probes
    }

    /// The probe of this name.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&ProbeReport> {
        self.probes.iter().find(|probe| probe.name == name)
    }
}

impl fmt::Display for HealthReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let lines: Vec<String> = self.probes.iter().map(ToString::to_string).collect();
        f.write_str(&lines.join("\n"))
    }
}
