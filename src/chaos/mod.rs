//! Breaks calls on purpose, now and then: so that you see what your timeouts, retries and breakers do before an outage shows you.
//!
//! For tests and game days: what happens to callers when a tenth of the calls takes 300 ms more, when one in a hundred hangs, when the
//! dependency answers nonsense? It is behind the cargo feature `chaos`, so no build contains it by accident, and everything it does is
//! counted and traced under the name `chaos_injected`.
//!
//! ```text
//!              drawn for each call, each by its own rate
//!   call ──▶ behaviour ─▶ latency ─▶ hang · rejection · fault · outcome ──▶ what they say, instead of the operation
//!                                         │ none of them
//!                                         ▼
//!                                     operation
//! ```
//!
//! **When not to use it**: in production, unless somebody watches. It is switched while calls run ([`Chaos::disable`]), and can be kept to
//! the calls of one tenant ([`ChaosConfig::only`]).
//!
//! ```
//! # #[tokio::main(flavor = "current_thread", start_paused = true)] async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! use std::time::Duration;
//! use steadfast::chaos::{Chaos, Injection};
//! use steadfast::{Pipeline, Retry};
//!
//! let chaos = Chaos::seeded(42)
//!     .latency(0.1, Duration::from_millis(300))
//!     .fault(0.3, || std::io::Error::other("chaos"))
//!     .build()?;
//! let api = Pipeline::builder("api").retry(Retry::exponential(5, Duration::from_millis(50))).chaos(chaos.clone()).build()?;
//!
//! for _ in 0..20 {
//!     let answer = api.call(|| async { Ok::<_, std::io::Error>(42) }).await?; // retried until it goes well
//!     assert_eq!(answer, 42);
//! }
//! assert!(chaos.counts().of(Injection::Fault) > 0);
//!
//! // Without a pipeline, or on one operation only:
//! let flaky = chaos.around(|| async { Ok::<_, std::io::Error>(42) });
//! # let _ = flaky().await;
//! # Ok(()) }
//! ```
//!
//! The same seed draws the same for the first call, the second, and so on: each call's draws depend on nothing but the seed and its
//! number among the calls that were considered, whatever the rates are. Where calls run at the same time, which of them is the
//! seventh is for the scheduler to say.
//!
//! The order, the strict comparison (`r < rate`) and the kinds are those of Simmy, the chaos library of
//! [Polly](https://www.pollydocs.org/chaos/).

mod config;
mod disturbed;

pub(crate) use config::Doing;
pub use config::{Chance, ChaosConfig};
pub use disturbed::Disturbed;

use crate::call::{Attempt, Call};
use crate::execution::has_runtime;
use crate::fault::{ConfigError, Fault};
use crate::outcome::{Error, Rejected, RejectedKind};
use crate::random::Random;
use crate::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use config::{Rule, What, not_a_rate};
use std::any::TypeId;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::sleep;

/// What may be injected, in the order in which it comes true.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Injection {
    /// Something of your own ran before the operation.
    Behaviour,
    /// The operation began later.
    Latency,
    /// The call hung.
    Hang,
    /// The call was rejected as a policy would have.
    Rejection,
    /// The call failed with an error of the operation's type.
    Fault,
    /// The call was answered with a value of the operation's type.
    Outcome,
}

impl Injection {
    /// All of them, in their order.
    pub const ALL: [Self; 6] = [Self::Behaviour, Self::Latency, Self::Hang, Self::Rejection, Self::Fault, Self::Outcome];

    /// A short, stable name in snake case.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Behaviour => "behaviour",
            Self::Latency => "latency",
            Self::Hang => "hang",
            Self::Rejection => "rejection",
            Self::Fault => "fault",
            Self::Outcome => "outcome",
        }
    }
}

/// How many calls were considered, and what was injected. A plain value.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ChaosCounts {
    calls: u64,
    injected: [u64; Injection::ALL.len()],
}

impl ChaosCounts {
    /// The calls that were drawn for: neither while it was disabled, nor those that [`only`](ChaosConfig::only) leaves alone.
    #[must_use]
    pub const fn calls(&self) -> u64 {
        self.calls
    }

    /// How many times this was injected. One call may be counted under several.
    #[must_use]
    pub const fn of(&self, injection: Injection) -> u64 {
        self.injected[injection as usize]
    }

    /// Everything that was injected.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.injected.iter().fold(0, |sum, count| sum.saturating_add(*count))
    }
}

/// Breaks calls on purpose. A cheap handle: clones share switch, rates and counts.
#[derive(Clone)]
pub struct Chaos {
    shared: Arc<Shared>,
}

struct Shared {
    /// The rules in the order of [`Injection`].
    config: ChaosConfig,
    seed: u64,
    enabled: AtomicBool,
    /// For each rule the bits of its rate; not a number where a function gives it.
    rates: Vec<AtomicU64>,
    calls: AtomicU64,
    injected: [AtomicU64; Injection::ALL.len()],
}

impl Chaos {
    /// Draws the same for the same seed.
    pub const fn seeded(seed: u64) -> ChaosConfig {
        ChaosConfig::new(Some(seed))
    }

    /// Draws anew in each run.
    pub const fn random() -> ChaosConfig {
        ChaosConfig::new(None)
    }

    fn from_config(mut config: ChaosConfig) -> Self {
        config.rules.sort_by_key(|rule| rule.kind);
        let rates = config.rules.iter().map(|rule| AtomicU64::new(rule.fixed.unwrap_or(f64::NAN).to_bits())).collect();
        let shared = Shared {
            seed: config.seed.or_else(crate::chance::simulated).unwrap_or_else(crate::random::bits),
            enabled: AtomicBool::new(config.enabled),
            rates,
            calls: AtomicU64::new(0),
            injected: Default::default(),
            config,
        };
        Self { shared: Arc::new(shared) }
    }

    /// Injects from now on.
    pub fn enable(&self) {
        self.shared.enabled.store(true, Ordering::Relaxed);
    }

    /// Injects nothing from now on. Calls that wait or hang already go on doing so.
    pub fn disable(&self) {
        self.shared.enabled.store(false, Ordering::Relaxed);
    }

    /// Whether it injects anything now.
    #[must_use]
    pub fn is_enabled(&self) -> bool {
        self.shared.enabled.load(Ordering::Relaxed)
    }

    /// Everything of this kind at this rate from now on, instead of whatever number or function it had. 0 is never, 1 always.
    ///
    /// # Errors
    /// When it is no rate, and when nothing of this kind was configured.
    pub fn set_rate(&self, injection: Injection, rate: f64) -> Result<(), ConfigError> {
        let mut faults: Vec<_> = not_a_rate(rate).map(|problem| Fault::new(injection.as_str(), problem)).into_iter().collect();
        let rules = || self.shared.config.rules.iter().zip(&self.shared.rates).filter(|(rule, _)| rule.kind == injection);
        if rules().next().is_none() {
            faults.push(Fault::new(injection.as_str(), "there is none to set a rate of; configure it, with a rate of 0 if need be"));
        }
        ConfigError::check("chaos", faults)?;
        rules().for_each(|(_, live)| live.store(rate.to_bits(), Ordering::Relaxed));
        Ok(())
    }

    /// What it was made from, at the rates of now.
    pub fn config(&self) -> ChaosConfig {
        let mut config = self.shared.config.clone();
        for (rule, live) in config.rules.iter_mut().zip(&self.shared.rates) {
            rule.fixed = Some(f64::from_bits(live.load(Ordering::Relaxed))).filter(|rate| !rate.is_nan());
            if let Some(rate) = rule.fixed {
                rule.chance = Arc::new(rate);
            }
        }
        ChaosConfig { seed: Some(self.shared.seed), enabled: self.is_enabled(), ..config }
    }

    /// Whether calls may hang.
    pub(crate) fn hangs(&self) -> bool {
        self.shared.config.rules.iter().any(|rule| rule.kind == Injection::Hang)
    }

    /// What was injected so far.
    #[must_use]
    pub fn counts(&self) -> ChaosCounts {
        let read = |count: &AtomicU64| count.load(Ordering::Relaxed);
        ChaosCounts { calls: read(&self.shared.calls), injected: self.shared.injected.each_ref().map(read) }
    }

    /// Makes of an operation one with injections: `pipeline.call(chaos.around(|| fetch()))`. It draws when it is first polled, each time
    /// anew, so every attempt of a retry has its own chances. The operation is not even asked for its future where something comes instead.
    ///
    /// It knows neither key nor priority nor the number of the attempt.
    pub fn around<T, E, F, Fut>(&self, operation: F) -> impl Fn() -> Disturbed<F, Fut> + Clone + use<T, E, F, Fut>
    where
        T: 'static,
        E: 'static,
        F: Fn() -> Fut + Clone,
        Fut: Future<Output = Result<T, E>>,
    {
        let chaos = self.clone();
        move || Disturbed::new(chaos.clone(), Call::now(), operation.clone(), |operation, _| operation())
    }

    /// The same for an operation that is told of its attempt: `pipeline.call_with(chaos.around_with(|attempt| fetch(attempt)))`.
    pub fn around_with<T, E, F, Fut>(&self, operation: F) -> impl Fn(Attempt) -> Disturbed<F, Fut> + Clone + use<T, E, F, Fut>
    where
        T: 'static,
        E: 'static,
        F: Fn(Attempt) -> Fut + Clone,
        Fut: Future<Output = Result<T, E>>,
    {
        let chaos = self.clone();
        move |attempt| {
            let call = Call { attempt, ..Call::at(attempt.started) };
            Disturbed::new(chaos.clone(), call, operation.clone(), |operation, attempt| operation(attempt))
        }
    }

    /// Runs the operation once, with injections and without a pipeline.
    ///
    /// # Errors
    /// The operation's own, an injected one, or an injected rejection.
    ///
    /// # Cancel safety
    /// As cancel safe as the operation.
    pub async fn call<T, E, F, Fut>(&self, call: &Call<'_>, operation: F) -> Result<T, Error<E>>
    where
        T: 'static,
        E: 'static,
        F: FnOnce() -> Fut,
        Fut: Future<Output = Result<T, E>>,
    {
        let known = Known { error: TypeId::of::<E>(), value: Some(TypeId::of::<T>()), rejections: true };
        if let Some(decision) = self.decide(call, known) {
            let (before, instead) = decision.into_parts();
            if let Some(before) = before {
                before.await;
            }
            if let Some(answer) = instead.and_then(|instead| instead.answer(call)) {
                return answer;
            }
        }
        operation().await.map_err(Error::Inner)
    }

    /// Draws for one call that begins now. `None`: nothing is injected.
    ///
    /// For a pipeline, too: right before the operation begins, within the timeout of the attempt and after all gates.
    pub(crate) fn decide(&self, call: &Call<'_>, known: Known) -> Option<Decision> {
        let shared = &self.shared;
        if !self.is_enabled() || !shared.config.only.iter().all(|filter| filter(call)) {
            return None;
        }
        let number = shared.calls.fetch_add(1, Ordering::Relaxed);
        // A generator for each call: no lock, and nothing that one call draws moves what another one does.
        // Its seed is drawn as well: seeds a constant apart would give sequences that overlap.
        let own = Random::new(Some(shared.seed ^ number.wrapping_mul(0xd1b5_4a32_d192_ed03))).bits();
        let random = Random::new(Some(own));
        let mut decision = None;
        for (index, (rule, rate)) in shared.config.rules.iter().zip(&shared.rates).enumerate() {
            // Two for each rule, needed or not: so the draws of one do not depend on another.
            let (drawn, part) = (random.unit(), random.unit());
            let rate = f64::from_bits(rate.load(Ordering::Relaxed));
            let rate = if rate.is_nan() { rule.chance.rate(call) } else { rate };
            if hits(drawn, rate) {
                let decision = decision.get_or_insert_with(|| Decision { chaos: self.clone(), before: Vec::new(), instead: None });
                decision.take(index, &rule.what, call, part, known);
            }
        }
        decision
    }

    #[cold]
    fn count(&self, injection: Injection) {
        self.shared.injected[injection as usize].fetch_add(1, Ordering::Relaxed);
        let kind = injection.as_str();
        tracing::event!(name: "steadfast.chaos_injected", target: "steadfast", tracing::Level::WARN, kind, "chaos injected on purpose");
    }
}

/// Not `<=`: a rate of 0 is never, also where 0 is drawn. And a rate that is no number is never.
fn hits(drawn: f64, rate: f64) -> bool {
    drawn < rate
}

impl fmt::Debug for Chaos {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Chaos").field("config", &self.config()).field("counts", &self.counts()).finish()
    }
}

/// What can be injected into a call: which types it has.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Known {
    pub(crate) error: TypeId,
    /// `None` where the type of the value is not known.
    pub(crate) value: Option<TypeId>,
    /// Whether a rejection can be told.
    pub(crate) rejections: bool,
}

enum Before {
    Do(Doing),
    Wait(Duration),
    Hang,
}

/// What comes instead of the operation.
#[derive(Clone, Copy)]
enum Comes {
    /// What the rule of this number says.
    Rule(usize),
    /// There was to be latency, and there is no runtime to wait in.
    NoRuntime,
}

/// What is injected into one call.
pub(crate) struct Decision {
    chaos: Chaos,
    before: Vec<Before>,
    instead: Option<Comes>,
}

impl Decision {
    fn take(&mut self, index: usize, what: &What, call: &Call<'_>, part: f64, known: Known) {
        let replaced = self.instead.is_some() || matches!(self.before.last(), Some(Before::Hang));
        match what {
            What::Behaviour(run) => self.before.push(Before::Do(run(call))),
            What::Latency(least, most) => {
                let spread = Duration::try_from_secs_f64(most.saturating_sub(*least).as_secs_f64() * part);
                self.wait(least.saturating_add(spread.unwrap_or(Duration::MAX)), known);
            }
            What::LatencyBy(delay) => self.wait(delay(call), known),
            _ if replaced => {}
            What::Hang => self.before.push(Before::Hang),
            What::Rejection(_) if known.rejections => self.instead = Some(Comes::Rule(index)),
            What::Value(id, _) => {
                let wanted = match self.chaos.shared.config.rules[index].kind {
                    Injection::Outcome => known.value,
                    _ => Some(known.error),
                };
                if wanted == Some(*id) {
                    self.instead = Some(Comes::Rule(index));
                }
            }
            What::Rejection(_) => {}
        }
    }

    /// Without a runtime tokio's timer would panic: who can be told is told, the others are left alone.
    fn wait(&mut self, delay: Duration, known: Known) {
        if delay.is_zero() {
            return;
        }
        if has_runtime() {
            self.before.push(Before::Wait(delay));
        } else if known.rejections {
            self.instead = Some(Comes::NoRuntime);
        }
    }

    /// What comes before the operation, and what comes instead of it.
    pub(crate) fn into_parts(self) -> (Option<Doing>, Option<Instead>) {
        let Self { chaos, before, instead } = self;
        let instead = instead.map(|comes| Instead { chaos: chaos.clone(), comes });
        if before.is_empty() {
            return (None, instead);
        }
        let before = Box::pin(async move {
            for step in before {
                match step {
                    Before::Do(doing) => {
                        chaos.count(Injection::Behaviour);
                        doing.await;
                    }
                    Before::Wait(delay) => {
                        chaos.count(Injection::Latency);
                        sleep(delay).await;
                    }
                    Before::Hang => {
                        chaos.count(Injection::Hang);
                        std::future::pending::<()>().await;
                    }
                }
            }
        });
        (Some(before), instead)
    }
}

/// What comes instead of the operation.
pub(crate) struct Instead {
    chaos: Chaos,
    comes: Comes,
}

impl Instead {
    /// The answer, and its entry in the counts; `None` where a function had none, and the operation is to run.
    pub(crate) fn answer<T: 'static, E: 'static>(&self, call: &Call<'_>) -> Option<Result<T, Error<E>>> {
        let answer = match self.rule() {
            Some(rule) if rule.kind == Injection::Outcome => rule.what.make::<T>(call).map(Ok),
            _ => self.error(call).map(Err),
        };
        if answer.is_some() {
            self.count();
        }
        answer
    }

    /// The error; `None` where a function had none, and the operation is to run.
    pub(crate) fn error<E: 'static>(&self, call: &Call<'_>) -> Option<Error<E>> {
        match self.rule().map(|rule| &rule.what) {
            None => Some(Error::Rejected(Rejected::new(RejectedKind::NoRuntime))),
            Some(What::Rejection(kind)) => Some(Error::Rejected(Rejected::new(*kind))),
            Some(what) => what.make::<E>(call).map(Error::Inner),
        }
    }

    fn rule(&self) -> Option<&Rule> {
        match self.comes {
            Comes::Rule(index) => self.chaos.shared.config.rules.get(index),
            Comes::NoRuntime => None,
        }
    }

    /// It was injected.
    pub(crate) fn count(&self) {
        if let Some(rule) = self.rule() {
            self.chaos.count(rule.kind);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn t8_the_comparison_is_strict() {
        assert!(hits(0.5, 0.6));
        assert!(!hits(0.6, 0.6));
        assert!(!hits(0.0, 0.0));
        assert!(hits(0.999_999, 1.0));
        assert!(!hits(0.5, f64::NAN));
        assert!(!hits(0.0, -1.0));
    }
}
