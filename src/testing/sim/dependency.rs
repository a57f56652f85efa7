//! The model of what is called: servers, a queue, and bad days.

use super::Latency;
use crate::outcome::RejectedKind;
use std::fmt;
use std::ops::Range;
use std::time::Duration;

/// What a simulated dependency fails with. Nobody's judge knows it, so all are transient, unless the pipeline classifies them.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Failure {
    /// It is down: refused at once, or lost when it went down.
    Down,
    /// Its queue is full.
    Full,
    /// It did the work, and failed.
    Failed,
    /// A service on the way did not get an answer for us, because one of its own policies said no.
    Behind(RejectedKind),
    /// Whatever an operation of your own says.
    Other(&'static str),
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Down => f.write_str("down"),
            Self::Full => f.write_str("queue is full"),
            Self::Failed => f.write_str("failed"),
            Self::Behind(kind) => write!(f, "no answer from the service behind: {}", kind.as_str()),
            Self::Other(what) => f.write_str(what),
        }
    }
}

impl std::error::Error for Failure {}

/// A service with so many servers (threads, connections, workers), one queue in front of them (first come, first served), and work
/// that takes time. Moments are whole seconds from the beginning of the scenario.
///
/// A caller that gives up does not stop the work: what it asked for is still done, for nobody. That is what most servers do, and why
/// an overload can outlast its cause.
///
/// ```
/// use std::time::Duration;
/// use steadfast::testing::sim::{Dependency, Latency};
///
/// let dependency = Dependency::new(10, Latency::exponential(Duration::from_millis(100))) // 100 a second
///     .queue(1_000)
///     .slow(3.0, 60..70)
///     .outage(120..150);
/// # let _ = dependency;
/// ```
#[derive(Clone, Debug)]
#[must_use = "a dependency does nothing until it is given to a scenario"]
pub struct Dependency {
    pub(super) servers: u32,
    pub(super) work: Latency,
    pub(super) queue: usize,
    pub(super) drops_abandoned: bool,
    pub(super) phases: Vec<Phase>,
    pub(super) changes: Vec<(u32, u32)>,
}

#[derive(Clone, Debug)]
pub(super) struct Phase {
    pub(super) during: Range<u32>,
    pub(super) effect: Effect,
}

#[derive(Clone, Copy, Debug)]
pub(super) enum Effect {
    Slow(f64),
    Errors(f64),
    Outage,
    Hangs,
}

impl Dependency {
    /// So many servers, each of which does one piece of work at a time.
    pub const fn new(servers: u32, work: Latency) -> Self {
        Self { servers, work, queue: usize::MAX, drops_abandoned: false, phases: Vec::new(), changes: Vec::new() }
    }

    /// Refuses at once ([`Failure::Full`]) when so many wait already. **Default**: any number may wait.
    pub const fn queue(mut self, most: usize) -> Self {
        self.queue = most;
        self
    }

    /// Throws away what waits for a caller that gave up (what runs is finished). **Default**: `false`, it is done for nobody.
    pub const fn drops_abandoned(mut self, yes: bool) -> Self {
        self.drops_abandoned = yes;
        self
    }

    /// From this second on there are so many servers. What runs is finished.
    pub fn servers(mut self, number: u32, from: u32) -> Self {
        self.changes.push((from, number));
        self
    }

    /// Work begun in these seconds takes so many times as long.
    pub fn slow(self, factor: f64, during: Range<u32>) -> Self {
        self.phase(during, Effect::Slow(factor))
    }

    /// This share (in [0, 1]) of the requests that come in these seconds is worked on, and fails.
    pub fn errors(self, share: f64, during: Range<u32>) -> Self {
        self.phase(during, Effect::Errors(share))
    }

    /// Down in these seconds: every request fails at once, and what was inside is lost.
    pub fn outage(self, during: Range<u32>) -> Self {
        self.phase(during, Effect::Outage)
    }

    /// Takes requests in these seconds, and begins none of them: only a timeout tells. Afterwards it works through what waits.
    pub fn hangs(self, during: Range<u32>) -> Self {
        self.phase(during, Effect::Hangs)
    }

    fn phase(mut self, during: Range<u32>, effect: Effect) -> Self {
        self.phases.push(Phase { during, effect });
        self
    }

    fn effects(&self, at: Duration) -> impl Iterator<Item = Effect> {
        let second = at.as_secs();
        let inside = move |during: &Range<u32>| (u64::from(during.start)..u64::from(during.end)).contains(&second);
        self.phases.iter().filter(move |phase| inside(&phase.during)).map(|phase| phase.effect)
    }

    /// How many servers take work at this moment.
    pub(super) fn servers_at(&self, at: Duration) -> u32 {
        if self.effects(at).any(|effect| matches!(effect, Effect::Outage | Effect::Hangs)) {
            return 0;
        }
        let changed = self.changes.iter().filter(|(from, _)| u64::from(*from) <= at.as_secs()).max_by_key(|(from, _)| *from);
        changed.map_or(self.servers, |&(_, number)| number)
    }

    pub(super) fn is_down(&self, at: Duration) -> bool {
        self.effects(at).any(|effect| matches!(effect, Effect::Outage))
    }

    pub(super) fn slowness(&self, at: Duration) -> f64 {
        self.effects(at).map(|effect| if let Effect::Slow(factor) = effect { factor } else { 1.0 }).product()
    }

    pub(super) fn error_share(&self, at: Duration) -> f64 {
        self.effects(at).map(|effect| if let Effect::Errors(share) = effect { share } else { 0.0 }).fold(0.0, f64::max)
    }

    /// The seconds at which something changes, in order.
    pub(super) fn moments(&self) -> Vec<Duration> {
        let mut moments: Vec<_> = self
            .phases
            .iter()
            .flat_map(|phase| [phase.during.start, phase.during.end])
            .chain(self.changes.iter().map(|&(from, _)| from))
            .collect();
        moments.sort_unstable();
        moments.dedup();
        moments.into_iter().map(|second| Duration::from_secs(second.into())).collect()
    }
}
