//! What is simulated, and what it shows. `tests/simulator.rs` asserts the numbers; the guide shows the figures.

pub(crate) mod adaptive;
pub(crate) mod day;
pub(crate) mod hedging;
pub(crate) mod jitter;
pub(crate) mod layers;
pub(crate) mod outage;
pub(crate) mod priorities;
pub(crate) mod storm;

use crate::figure::Figure;
use std::sync::Arc;
use std::time::Duration;
use steadfast::testing::sim::{self, Report, Scenario};

pub(crate) const fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

pub(crate) const fn secs(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

/// What a scenario showed.
#[derive(Debug)]
pub(crate) struct Findings {
    pub(crate) figure: Figure,
    /// Name and text of CSV files.
    pub(crate) tables: Vec<(String, String)>,
    /// The numbers that matter.
    pub(crate) numbers: Vec<(String, f64)>,
}

impl Findings {
    /// One of the numbers.
    #[allow(dead_code, reason = "for the tests")]
    pub(crate) fn number(&self, name: &str) -> f64 {
        self.numbers.iter().find(|(known, _)| known == name).map_or(f64::NAN, |(_, value)| *value)
    }
}

/// How to run them.
#[derive(Clone)]
pub(crate) struct Lab {
    pub(crate) seed: u64,
    /// Told how much simulated time has passed.
    pub(crate) tell: Arc<dyn Fn(Duration) + Send + Sync>,
}

impl Lab {
    /// A run with this lab's seed, or a later one.
    pub(crate) fn run(&self, scenario: Scenario, later: u64) -> Report {
        let (tell, bucket) = (Arc::clone(&self.tell), secs(1));
        let scenario = scenario.progress(move |_| tell(bucket));
        sim::run(&scenario, self.seed + later).expect("the scenarios' settings are sound")
    }
}

pub(crate) struct Entry {
    pub(crate) name: &'static str,
    pub(crate) about: &'static str,
    /// How much time it simulates: for the progress bar.
    pub(crate) lasts: Duration,
    /// Whether its figure is in the guide.
    pub(crate) in_guide: bool,
    pub(crate) run: fn(&Lab) -> Findings,
}

pub(crate) const ALL: &[Entry] =
    &[storm::ENTRY, jitter::ENTRY, outage::ENTRY, hedging::ENTRY, adaptive::ENTRY, priorities::ENTRY, layers::ENTRY, day::ENTRY];

/// How a count of the buckets goes, per second.
pub(crate) fn per_second(report: &Report, count: impl Fn(&sim::Bucket) -> u64) -> Vec<(f64, f64)> {
    let width = report.buckets().get(1).map_or(1.0, |second| second.start.as_secs_f64());
    report.buckets().iter().map(|bucket| (bucket.start.as_secs_f64() + width / 2.0, count(bucket) as f64 / width)).collect()
}

/// The same line with less noise: each point the mean of so many around it.
pub(crate) fn smooth(points: &[(f64, f64)], around: usize) -> Vec<(f64, f64)> {
    let mean = |place: usize| {
        let near = &points[place.saturating_sub(around / 2)..(place + around / 2 + 1).min(points.len())];
        near.iter().map(|(_, y)| y).sum::<f64>() / near.len() as f64
    };
    points.iter().enumerate().map(|(place, (x, _))| (*x, mean(place))).collect()
}
