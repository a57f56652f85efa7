//! The suite that the stores of limits of this crate pass, for yours. Feature `testing` with `store`.
//!
//! Give it a function that makes new, empty [`RateStore`]s, and it runs every case of its list, list G, with every algorithm: never more goes than
//! the quota says, all that may go does, a refusal takes nothing, and what a store says about later is so.
//!
//! ```
//! # #[tokio::main(flavor = "current_thread")] async fn main() {
//! use steadfast::store::rate::{Algorithm, MemoryRateStore};
//! use steadfast::testing::rate_conformance;
//!
//! let report = rate_conformance::stores(|| async { MemoryRateStore::new() }) // yours
//!     .algorithms([Algorithm::Gcra])                                        // all, unless said otherwise
//! #   .only("G69")
//!     .run()
//!     .await;
//! report.assert();
//! # }
//! ```
//!
//! [`semaphores`] does the same for the stores behind semaphores and locks.
//!
//! What it cannot see from outside is for you to test: that two processes share a limit, and that keys vanish.

mod cases;
mod semaphores;

pub use semaphores::{Semaphores, semaphores};

use super::conformance::{CaseEnd, Findings, Time};
use crate::store::rate::{Algorithm, AnyRateStore, RateStore};
use crate::store::{Key, StoreError};
use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

type MakeStore = dyn Fn() -> Pin<Box<dyn Future<Output = AnyRateStore> + Send>> + Send + Sync;

/// A suite for stores of limits; made by [`stores`].
#[derive(Clone)]
#[must_use = "nothing happens until `run`"]
pub struct RateStores {
    make: Arc<MakeStore>,
    time: Time,
    only: String,
    algorithms: Vec<Algorithm>,
}

/// Begins a suite for stores of limits. `make` makes a new, empty one for each case.
pub fn stores<S, Fut>(make: impl Fn() -> Fut + Send + Sync + 'static) -> RateStores
where
    S: RateStore,
    Fut: Future<Output = S> + Send + 'static,
{
    let make = Arc::new(move || -> Pin<Box<dyn Future<Output = AnyRateStore> + Send>> {
        let made = make();
        Box::pin(async move { made.await.into_any() })
    });
    RateStores { make, time: Time::Real, only: String::new(), algorithms: Algorithm::ALL.to_vec() }
}

macro_rules! cases {
    ($($number:literal $title:literal $case:path,)*) => {
        const CASES: &[(&str, &str, fn(Lab) -> CaseFuture)] = &[$(($number, $title, |lab| Box::pin($case(lab)))),*];
    };
}

cases! {
    "G66" "32 tasks at once: exactly the limit goes" cases::g66,
    "G66b" "requests for several keys at once: never more than the limit of any" cases::g66_many,
    "G67" "never more than the algorithm allows, and all of that" cases::g67,
    "G68" "refused before retry_after, allowed at it; full at reset_after" cases::g68,
    "G69" "a cost of 0 looks, a cost above the capacity is an error, a refund is no gift" cases::g69,
    "G71" "a refusal takes nothing" cases::g71,
    "G71b" "of several requests all go, or none" cases::g71_many,
    "G72" "another limit or burst keeps what was spent" cases::g72,
    "G72b" "what a refusal had to put right stays so" cases::g72_mended,
    "G73" "one a year, a million a second, four billion" cases::g73,
    "G74" "a reset forgets, a peek does not begin anything" cases::g74,
    "G75" "algorithms keep their own books" cases::g75,
    "H104" "keys are their own" cases::h104,
    "H90" "closed is closed" cases::h90,
    "H92" "any future may be dropped at any point" cases::h92,
    "H95" "a probe leaves no trace" cases::h95,
}

impl RateStores {
    /// Which time the store goes by. **Default**: [`Time::Real`].
    pub const fn time(mut self, time: Time) -> Self {
        self.time = time;
        self
    }

    /// Only this case. **Default**: all.
    pub fn only(mut self, number: impl Into<String>) -> Self {
        self.only = number.into();
        self
    }

    /// Only these algorithms, for a store that does not have them all. **Default**: all.
    pub fn algorithms(mut self, algorithms: impl IntoIterator<Item = Algorithm>) -> Self {
        self.algorithms = algorithms.into_iter().collect();
        self
    }

    /// Runs every case with every algorithm, one after the other. A case that panics or, in real time, takes longer than a minute has failed.
    ///
    /// # Panics
    /// Outside a tokio runtime.
    pub async fn run(&self) -> Findings {
        let mut findings = Findings { subject: "a rate store".into(), cases: Vec::new() };
        for (number, title, case) in CASES.iter().filter(|(number, ..)| self.only.is_empty() || *number == self.only) {
            let mut end = CaseEnd::Passed;
            for algorithm in &self.algorithms {
                let store = (self.make)().await;
                findings.subject = format!("the {} rate store", store.name());
                let lab = Lab { store, algorithm: *algorithm, time: self.time };
                if let Err(why) = self.run_case(*case, lab).await {
                    end = CaseEnd::Failed(format!("{algorithm}: {why}"));
                    break;
                }
            }
            findings.cases.push((number, title, end));
        }
        findings
    }

    async fn run_case(&self, case: fn(Lab) -> CaseFuture, lab: Lab) -> Case {
        // On a task of its own, so that one that panics is one that failed.
        let mut task = tokio::spawn(case(lab));
        // A paused clock jumps to the end of any timer while a thread of the store's is at work.
        let watchdog = if self.time == Time::Virtual { Duration::MAX } else { Duration::from_secs(60) };
        match tokio::time::timeout(watchdog, &mut task).await {
            Ok(Ok(ended)) => ended,
            Ok(Err(panicked)) => Err(format!("it panicked: {panicked}")),
            Err(_) => {
                task.abort();
                Err("not done within a minute".into())
            }
        }
    }
}

impl fmt::Debug for RateStores {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RateStores").field("time", &self.time).field("only", &self.only).finish_non_exhaustive()
    }
}

type Case = Result<(), String>;
type CaseFuture = Pin<Box<dyn Future<Output = Case> + Send>>;

/// What a case works with.
struct Lab {
    store: AnyRateStore,
    algorithm: Algorithm,
    time: Time,
}

impl Lab {
    fn is_virtual(&self) -> bool {
        self.time == Time::Virtual
    }
}

/// An error where none belongs.
fn told(error: StoreError) -> String {
    format!("an error where none belongs: {error}")
}

fn key(raw: impl AsRef<[u8]>) -> Result<Key, String> {
    Key::new(raw).map_err(told)
}
