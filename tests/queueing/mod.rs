//! A small queueing model: callers behind an adaptive limit, and a dependency that works on so many calls at once and queues the rest.
//! A discrete-event simulation on the moments it hands to the policy: no runtime, no sleep; the same seed gives the same run.

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};
use std::time::Duration;
use steadfast::{AdaptiveLimit, AdaptiveLimitConfig, AdaptivePermit, Outcome, Verdict};
use tokio::time::Instant;

const SECOND: f64 = 1e9;

/// How long the work on one call takes, in seconds.
#[derive(Clone, Copy, Debug)]
pub enum Service {
    Constant(f64),
    Exponential(f64),
    /// Mean, and sigma of the logarithm.
    LogNormal(f64, f64),
}

impl Service {
    fn draw(self, rng: &mut StdRng) -> f64 {
        let uniform = |rng: &mut StdRng| 1.0 - rng.random::<f64>();
        match self {
            Self::Constant(mean) => mean,
            Self::Exponential(mean) => -mean * uniform(rng).ln(),
            Self::LogNormal(mean, sigma) => {
                let normal = (-2.0 * uniform(rng).ln()).sqrt() * (std::f64::consts::TAU * rng.random::<f64>()).cos();
                mean * (sigma * normal - sigma * sigma / 2.0).exp()
            }
        }
    }
}

/// Who calls.
#[derive(Clone, Copy, Debug)]
pub enum Load {
    /// As many as the limit lets through, always.
    Saturated,
    /// So many a second, at random.
    Poisson(f64),
}

#[derive(Clone, Copy, Debug)]
pub struct World {
    pub servers: usize,
    pub service: Service,
    pub load: Load,
    /// Callers give up after so many seconds; the server works on.
    pub timeout: f64,
    /// So many of the calls fail at once.
    pub errors: f64,
}

#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Books {
    pub offered: u64,
    pub refused: u64,
    pub good: u64,
    pub timed_out: u64,
    /// The sum of the good calls' times, in seconds.
    pub latency: f64,
}

impl Books {
    pub fn goodput(&self) -> f64 {
        self.good as f64 / self.offered.max(1) as f64
    }
}

impl std::ops::Sub for Books {
    type Output = Self;
    fn sub(self, before: Self) -> Self {
        Self {
            offered: self.offered - before.offered,
            refused: self.refused - before.refused,
            good: self.good - before.good,
            timed_out: self.timed_out - before.timed_out,
            latency: self.latency - before.latency,
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Event {
    Arrival,
    Done(usize),
    Failed(usize),
    TimedOut(usize),
}

pub struct Model<'a> {
    /// The first of the callers, who is watched.
    pub limit: &'a AdaptiveLimit,
    /// All of them, each with a limit of its own.
    callers: Vec<&'a AdaptiveLimit>,
    pub world: World,
    pub books: Books,
    /// The limit after each window.
    pub trace: Vec<usize>,
    origin: Instant,
    now: u64,
    number: u64,
    events: BinaryHeap<Reverse<(u64, u64, Event)>>,
    rng: StdRng,
    /// By number of the call.
    calls: Vec<Option<(AdaptivePermit<'a>, u64)>>,
    waiting: VecDeque<usize>,
    busy: usize,
    windows: u64,
    arriving: bool,
}

pub fn build(config: AdaptiveLimitConfig) -> AdaptiveLimit {
    config.build().expect("valid")
}

impl<'a> Model<'a> {
    pub fn new(limit: &'a AdaptiveLimit, world: World, seed: u64) -> Self {
        Self::shared(vec![limit], world, seed)
    }

    /// A dependency with several callers who do not know of each other.
    pub fn shared(callers: Vec<&'a AdaptiveLimit>, world: World, seed: u64) -> Self {
        Self {
            limit: callers[0],
            callers,
            world,
            books: Books::default(),
            trace: Vec::new(),
            origin: Instant::now(),
            now: 0,
            number: 0,
            events: BinaryHeap::new(),
            rng: StdRng::seed_from_u64(seed),
            calls: Vec::new(),
            waiting: VecDeque::new(),
            busy: 0,
            windows: 0,
            arriving: false,
        }
    }

    pub fn seconds(&self) -> f64 {
        self.now as f64 / SECOND
    }

    fn at(&mut self, seconds: f64, event: Event) {
        self.number += 1;
        self.events.push(Reverse((self.now + (seconds * SECOND) as u64, self.number, event)));
    }

    fn instant(&self) -> Instant {
        self.origin + Duration::from_nanos(self.now)
    }

    /// One call asks to go. False when it is refused.
    fn ask(&mut self, limit: &'a AdaptiveLimit) -> bool {
        self.books.offered += 1;
        let Ok(permit) = limit.try_acquire_at(self.instant()) else {
            self.books.refused += 1;
            return false;
        };
        let call = self.calls.len();
        self.calls.push(Some((permit, self.now)));
        if self.world.errors > 0.0 && self.rng.random_bool(self.world.errors) {
            self.at(0.000_1, Event::Failed(call));
            return true;
        }
        if self.world.timeout.is_finite() {
            self.at(self.world.timeout, Event::TimedOut(call));
        }
        self.waiting.push_back(call);
        self.serve();
        true
    }

    fn serve(&mut self) {
        while self.busy < self.world.servers {
            let Some(call) = self.waiting.pop_front() else { break };
            self.busy += 1;
            let time = self.world.service.draw(&mut self.rng);
            self.at(time, Event::Done(call));
        }
    }

    fn settle(&mut self, call: usize, outcome: Outcome) {
        let Some((permit, began)) = self.calls[call].take() else { return };
        permit.settle_at(outcome, self.instant());
        match outcome {
            Outcome::TimedOut => self.books.timed_out += 1,
            Outcome::Judged(Verdict::Success) => {
                self.books.good += 1;
                self.books.latency += (self.now - began) as f64 / SECOND;
            }
            _ => {}
        }
        let windows = self.limit.snapshot().windows;
        if windows != self.windows {
            self.windows = windows;
            self.trace.push(self.limit.limit());
        }
    }

    fn fill(&mut self) {
        match self.world.load {
            Load::Saturated => {
                for caller in 0..self.callers.len() {
                    let limit = self.callers[caller];
                    while limit.available() > 0 && self.ask(limit) {}
                }
            }
            Load::Poisson(rate) if !self.arriving => {
                self.arriving = true;
                let gap = -(1.0 - self.rng.random::<f64>()).ln() / rate;
                self.at(gap, Event::Arrival);
            }
            Load::Poisson(_) => {}
        }
    }

    /// The next event.
    pub fn step(&mut self) {
        self.fill();
        let Some(Reverse((at, _, event))) = self.events.pop() else { return };
        self.now = at;
        match event {
            Event::Arrival => {
                self.arriving = false;
                let caller = self.rng.random_range(0..self.callers.len());
                self.ask(self.callers[caller]);
            }
            Event::Done(call) => {
                self.busy -= 1;
                self.settle(call, Outcome::Judged(Verdict::Success));
                self.serve();
            }
            Event::Failed(call) => self.settle(call, Outcome::Judged(Verdict::transient())),
            Event::TimedOut(call) => self.settle(call, Outcome::TimedOut),
        }
    }

    /// Runs for so many seconds; what happened in them.
    pub fn run(&mut self, seconds: f64) -> Books {
        let (before, until) = (self.books, self.now + (seconds * SECOND) as u64);
        while self.now < until {
            self.step();
        }
        self.books - before
    }

    /// Runs for so many windows.
    pub fn windows(&mut self, windows: u64) -> Books {
        let (before, until) = (self.books, self.windows + windows);
        while self.windows < until {
            self.step();
        }
        self.books - before
    }
}
