//! What is injected, how often, and into which calls.

use super::{Chaos, Injection};
use crate::call::Call;
use crate::fault::{ConfigError, Fault};
use crate::outcome::{RejectedKind, Seconds};
use std::any::{Any, TypeId};
use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

/// How often something is injected: a rate (0.1 is one call in ten), or a function of the call that gives one.
///
/// Closures `Fn(&Call<'_>) -> f64` are chances. What a function gives below 0, or that is no number, is never; 1 and more is always.
pub trait Chance: Send + Sync + 'static {
    /// The rate for this call.
    fn rate(&self, call: &Call<'_>) -> f64;

    /// The rate for every call, where it is one number. **Default**: it is not.
    fn fixed(&self) -> Option<f64> {
        None
    }
}

impl Chance for f64 {
    fn rate(&self, _: &Call<'_>) -> f64 {
        *self
    }

    fn fixed(&self) -> Option<f64> {
        Some(*self)
    }
}

impl<F: Fn(&Call<'_>) -> f64 + Send + Sync + 'static> Chance for F {
    fn rate(&self, call: &Call<'_>) -> f64 {
        self(call)
    }
}

type Made<T> = Box<dyn Fn(&Call<'_>) -> Option<T> + Send + Sync>;
/// The future of a behaviour.
pub(crate) type Doing = Pin<Box<dyn Future<Output = ()> + Send>>;

#[derive(Clone)]
pub(super) enum What {
    Behaviour(Arc<dyn Fn(&Call<'_>) -> Doing + Send + Sync>),
    Latency(Duration, Duration),
    LatencyBy(Arc<dyn Fn(&Call<'_>) -> Duration + Send + Sync>),
    Hang,
    Rejection(RejectedKind),
    /// Makes a value of one type, the error or the answer: a `Made` of it.
    Value(TypeId, Arc<dyn Any + Send + Sync>),
}

impl What {
    fn value<T: 'static>(make: impl Fn(&Call<'_>) -> Option<T> + Send + Sync + 'static) -> Self {
        let make: Made<T> = Box::new(make);
        Self::Value(TypeId::of::<T>(), Arc::new(make))
    }

    /// The value to be given instead of an operation's own, where it is of this type.
    pub(super) fn make<T: 'static>(&self, call: &Call<'_>) -> Option<T> {
        match self {
            Self::Value(_, make) => make.downcast_ref::<Made<T>>().and_then(|make| make(call)),
            _ => None,
        }
    }
}

#[derive(Clone)]
pub(super) struct Rule {
    pub(super) kind: Injection,
    pub(super) chance: Arc<dyn Chance>,
    /// The rate, where it is one number.
    pub(super) fixed: Option<f64>,
    pub(super) what: What,
}

type Only = Arc<dyn Fn(&Call<'_>) -> bool + Send + Sync>;

/// What a [`Chaos`] injects. Made by its constructors.
///
/// Each injection has its own rate, and each is drawn for by itself, for every call: two of 0.1 meet in one call of a hundred. The order
/// in which they come true is not that of the setters but always [`Injection`]'s.
#[derive(Clone)]
#[must_use = "a configuration does nothing until it is built"]
pub struct ChaosConfig {
    pub(super) seed: Option<u64>,
    pub(super) enabled: bool,
    pub(super) rules: Vec<Rule>,
    pub(super) only: Vec<Only>,
}

impl ChaosConfig {
    pub(super) const fn new(seed: Option<u64>) -> Self {
        Self { seed, enabled: true, rules: Vec::new(), only: Vec::new() }
    }

    fn with(mut self, kind: Injection, chance: impl Chance, what: What) -> Self {
        self.rules.push(Rule { kind, fixed: chance.fixed(), chance: Arc::new(chance), what });
        self
    }

    /// Makes calls wait so long before their operation begins. Several latencies in one call add up; zero is none. Outside a tokio runtime
    /// nobody can wait: a call that can be told is rejected with `NoRuntime`, and one of [`around`](super::Chaos::around) is left alone.
    pub fn latency(self, rate: impl Chance, delay: Duration) -> Self {
        self.with(Injection::Latency, rate, What::Latency(delay, delay))
    }

    /// The same, for a time drawn evenly from `least` to `most`.
    pub fn latency_between(self, rate: impl Chance, least: Duration, most: Duration) -> Self {
        self.with(Injection::Latency, rate, What::Latency(least, most))
    }

    /// The same, for as long as a function of the call says.
    pub fn latency_by(self, rate: impl Chance, delay: impl Fn(&Call<'_>) -> Duration + Send + Sync + 'static) -> Self {
        self.with(Injection::Latency, rate, What::LatencyBy(Arc::new(delay)))
    }

    /// Makes calls hang for ever: until a timeout ends them, or their caller gives up. Without a timeout nobody does.
    pub fn hang(self, rate: impl Chance) -> Self {
        self.with(Injection::Hang, rate, What::Hang)
    }

    /// Rejects calls as a policy would have. [`RejectedKind::Timeout`] looks like an attempt that timed out; most others like one that
    /// was never made, so that a breaker or a retry does not care: they are for the code that handles them.
    ///
    /// [`Chaos::around`] knows no errors but the operation's own and lets these calls pass; a pipeline and [`Chaos::call`] reject them.
    pub fn reject(self, rate: impl Chance, kind: RejectedKind) -> Self {
        self.with(Injection::Rejection, rate, What::Rejection(kind))
    }

    /// Fails calls with this error, without running their operation; calls whose error is of another type are let be. As many as there are
    /// types, and more: the first that is drawn counts.
    pub fn fault<E: 'static>(self, rate: impl Chance, error: impl Fn() -> E + Send + Sync + 'static) -> Self {
        self.fault_by(rate, move |_| Some(error()))
    }

    /// The same, with a function of the call; where it has no error, the operation runs.
    pub fn fault_by<E: 'static>(self, rate: impl Chance, error: impl Fn(&Call<'_>) -> Option<E> + Send + Sync + 'static) -> Self {
        self.with(Injection::Fault, rate, What::value(error))
    }

    /// Answers calls with this value, without running their operation; calls whose value is of another type are let be. Only
    /// [`Chaos::around`] and [`Chaos::call`] do it: a pipeline does not know the types of values.
    pub fn outcome<T: 'static>(self, rate: impl Chance, value: impl Fn() -> T + Send + Sync + 'static) -> Self {
        self.with(Injection::Outcome, rate, What::value(move |_: &Call<'_>| Some(value())))
    }

    /// Runs something before the operation begins: drops a cache, closes a connection, counts. A panic in it is the call's.
    pub fn behaviour<Fut>(self, rate: impl Chance, run: impl Fn() -> Fut + Send + Sync + 'static) -> Self
    where
        Fut: Future<Output = ()> + Send + 'static,
    {
        self.with(Injection::Behaviour, rate, What::Behaviour(Arc::new(move |_| Box::pin(run()))))
    }

    /// Leaves alone every call for which this is false: by key, priority, cost or attempt. Several must all be true. **Default**: all calls.
    pub fn only(mut self, filter: impl Fn(&Call<'_>) -> bool + Send + Sync + 'static) -> Self {
        self.only.push(Arc::new(filter));
        self
    }

    /// Injects nothing until it is [enabled](Chaos::enable). **Default**: it is on from the start.
    pub const fn disabled(mut self) -> Self {
        self.enabled = false;
        self
    }

    /// Makes the live policy.
    ///
    /// # Errors
    /// Every setting that cannot work, all at once.
    pub fn build(self) -> Result<Chaos, ConfigError> {
        ConfigError::check("chaos", self.faults())?;
        Ok(Chaos::from_config(self))
    }

    pub(crate) fn faults(&self) -> Vec<Fault> {
        let mut faults = Vec::new();
        for rule in &self.rules {
            if let Some(problem) = rule.fixed.and_then(not_a_rate) {
                faults.push(Fault::new(rule.kind.as_str(), problem));
            }
            if let What::Latency(least, most) = rule.what
                && least > most
            {
                faults.push(Fault::new("latency", format!("from {} to {}; swap the two", Seconds(least), Seconds(most))));
            }
        }
        if self.rules.is_empty() {
            faults.push(Fault::new("injection", "there is none; add a fault or a latency, or leave chaos out"));
        }
        faults
    }
}

/// What is wrong with a rate. Zero is right: it may be raised while calls run.
pub(super) fn not_a_rate(rate: f64) -> Option<String> {
    if (0.0..=1.0).contains(&rate) {
        return None;
    }
    let fix = if rate > 1.0 && rate <= 100.0 { format!("for {rate} % write {}", rate / 100.0) } else { String::from("0.5 is 50 %") };
    Some(format!("{rate} is not a rate between 0 and 1; {fix}"))
}

impl fmt::Debug for ChaosConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let rules: Vec<_> = self.rules.iter().map(|rule| (rule.kind.as_str(), rule.fixed)).collect();
        f.debug_struct("ChaosConfig")
            .field("seed", &self.seed)
            .field("enabled", &self.enabled)
            .field("rules", &rules)
            .field("only", &self.only.len())
            .finish()
    }
}
