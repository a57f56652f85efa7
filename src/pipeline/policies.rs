//! The policies that a pipeline may have. A new one is a line in the list at the end and an `impl Policy`; everything that concerns
//! all of them alike (building, configuration, reconfiguration) is made of these two.

use crate::admission::{
    AdaptiveLimit, AdaptiveLimitConfig, Bulkhead, BulkheadConfig, CircuitBreaker, CircuitBreakerConfig, PerKey, PerKeyConfig, RateLimiter,
    RateLimiterConfig, Throttle, ThrottleConfig,
};
use crate::execution::{Hedge, HedgeConfig, Retry, RetryConfig};
use crate::fault::{ConfigError, Fault, gather};

/// A policy as the builder takes it: settings for a new one, or a live one to share with others.
///
/// ```
/// # fn main() -> Result<(), steadfast::ConfigError> {
/// use steadfast::{Bulkhead, Pipeline};
///
/// let connections = Bulkhead::new(20).build()?;
/// let reads = Pipeline::builder("reads").bulkhead(connections.clone()).build()?;
/// let writes = Pipeline::builder("writes").bulkhead(connections).build()?; // the same 20 places
/// # let _ = (reads, writes); Ok(()) }
/// ```
#[derive(Clone, Debug)]
pub enum PolicyOf<Config, Live> {
    /// Settings, of which the pipeline builds a policy of its own.
    New(Config),
    /// A live policy, whose state others share.
    Shared(Live),
}

/// A live policy, and the plain settings it runs with.
pub(crate) trait Policy: Clone {
    type Config: Clone + PartialEq;

    fn build(config: Self::Config) -> Result<Self, ConfigError>;

    /// Everything that cannot work, with fields relative to the policy.
    fn faults(config: &Self::Config) -> Vec<Fault>;

    fn config(&self) -> Self::Config;

    /// The policy that goes on with other settings, which were checked: this one, as far as its state fits them. What does not fit
    /// begins anew, and its name is put down. Wakes nobody and runs no code of the user's own.
    fn go_on(&self, config: &Self::Config, restarted: &mut Vec<&'static str>) -> Option<Self>;

    /// Lets waiters and listeners know of the new settings.
    #[inline]
    fn tell(&self) {}

    /// Whether a call would find the same in both.
    fn is_same(&self, other: &Self) -> bool;
}

fn build<P: Policy>(policy: PolicyOf<P::Config, P>, field: &str, faults: &mut Vec<Fault>) -> Option<P> {
    match policy {
        PolicyOf::Shared(live) => Some(live),
        PolicyOf::New(config) => match P::build(config) {
            Ok(live) => Some(live),
            Err(error) => {
                gather(faults, field, error.into_faults());
                None
            }
        },
    }
}

fn settings<P: Policy>(policy: &PolicyOf<P::Config, P>) -> P::Config {
    match policy {
        PolicyOf::New(config) => config.clone(),
        PolicyOf::Shared(live) => live.config(),
    }
}

fn under<P: Policy>(field: &str, config: Option<&P::Config>, faults: &mut Vec<Fault>) {
    if let Some(config) = config {
        gather(faults, field, P::faults(config));
    }
}

fn next<P: Policy>(live: Option<&P>, config: Option<&P::Config>, restarted: &mut Vec<&'static str>) -> Option<P> {
    match (live, config?) {
        (Some(live), config) => live.go_on(config, restarted),
        (None, config) => P::build(config.clone()).ok(),
    }
}

fn is_same<P: Policy>(one: Option<&P>, other: Option<&P>) -> bool {
    match (one, other) {
        (Some(one), Some(other)) => one.is_same(other),
        (None, None) => true,
        _ => false,
    }
}

macro_rules! policies {
    ($($field:ident: $config:ident => $live:ident),* $(,)?) => {
        /// The live ones.
        #[derive(Clone)]
        pub(crate) struct Policies {
            $(pub(crate) $field: Option<$live>,)*
        }

        /// Their settings.
        #[derive(Clone, Debug, Default, PartialEq)]
        pub(crate) struct Settings {
            $(pub(crate) $field: Option<$config>,)*
        }

        /// As the builder has them.
        #[derive(Debug, Default)]
        pub(super) struct Slots {
            $(pub(super) $field: Option<PolicyOf<$config, $live>>,)*
        }

        $(
            impl From<$config> for PolicyOf<$config, $live> {
                fn from(config: $config) -> Self {
                    Self::New(config)
                }
            }

            impl From<$live> for PolicyOf<$config, $live> {
                fn from(live: $live) -> Self {
                    Self::Shared(live)
                }
            }
        )*

        impl Slots {
            pub(super) fn build(self, faults: &mut Vec<Fault>) -> Policies {
                Policies { $($field: self.$field.and_then(|policy| build(policy, stringify!($field), faults)),)* }
            }

            pub(super) fn settings(&self) -> Settings {
                Settings { $($field: self.$field.as_ref().map(settings::<$live>),)* }
            }
        }

        impl From<Settings> for Slots {
            fn from(settings: Settings) -> Self {
                Self { $($field: settings.$field.map(PolicyOf::New),)* }
            }
        }

        impl Settings {
            pub(crate) fn faults(&self) -> Vec<Fault> {
                let mut faults = Vec::new();
                $(under::<$live>(stringify!($field), self.$field.as_ref(), &mut faults);)*
                faults
            }
        }

        impl Policies {
            #[inline]
            pub(crate) fn settings(&self) -> Settings {
                Settings { $($field: self.$field.as_ref().map(Policy::config),)* }
            }

            /// Those that go on with `settings`. Policies that stay are changed where they are, so whoever has a handle keeps the live one.
            #[inline]
            pub(crate) fn next(&self, settings: &Settings, restarted: &mut Vec<&'static str>) -> Self {
                Self { $($field: next(self.$field.as_ref(), settings.$field.as_ref(), restarted),)* }
            }

            #[inline]
            pub(crate) fn tell(&self) {
                $(if let Some(policy) = &self.$field {
                    policy.tell();
                })*
            }

            #[inline]
            pub(crate) fn is_same(&self, other: &Self) -> bool {
                $(is_same(self.$field.as_ref(), other.$field.as_ref()))&&*
            }
        }
    };
}

policies! {
    retry: RetryConfig => Retry,
    hedge: HedgeConfig => Hedge,
    circuit_breaker: CircuitBreakerConfig => CircuitBreaker,
    throttle: ThrottleConfig => Throttle,
    per_key: PerKeyConfig => PerKey,
    rate_limit: RateLimiterConfig => RateLimiter,
    bulkhead: BulkheadConfig => Bulkhead,
    adaptive_limit: AdaptiveLimitConfig => AdaptiveLimit,
}

impl Policies {
    /// Whether one of them measures how long attempts take.
    pub(crate) fn need_end_time(&self) -> bool {
        self.adaptive_limit.is_some()
            || self.per_key.as_ref().is_some_and(PerKey::needs_end_time)
            || self.circuit_breaker.as_ref().is_some_and(CircuitBreaker::needs_end_time)
    }
}

/// What is the same for each: the type's own methods of these names. Those whose waiters or listeners are to know of new settings have a `tell`.
macro_rules! as_its_own {
    ($config:ident $(, $tell:ident)?) => {
        type Config = $config;

        fn build(config: $config) -> Result<Self, ConfigError> {
            config.build()
        }

        fn faults(config: &$config) -> Vec<Fault> {
            config.faults()
        }

        fn config(&self) -> $config {
            self.config()
        }

        $(fn $tell(&self) {
            self.$tell();
        })?

        fn is_same(&self, other: &Self) -> bool {
            self.is_same(other)
        }
    };
}

impl Policy for Retry {
    as_its_own!(RetryConfig);

    #[inline]
    fn go_on(&self, config: &RetryConfig, _: &mut Vec<&'static str>) -> Option<Self> {
        if self.config() == *config { Some(self.clone()) } else { self.reconfigured(config.clone()).ok() }
    }
}

impl Policy for Hedge {
    as_its_own!(HedgeConfig);

    #[inline]
    fn go_on(&self, config: &HedgeConfig, _: &mut Vec<&'static str>) -> Option<Self> {
        self.reconfigure_quietly(config);
        Some(self.clone())
    }
}

impl Policy for CircuitBreaker {
    as_its_own!(CircuitBreakerConfig, tell);

    #[inline]
    fn go_on(&self, config: &CircuitBreakerConfig, restarted: &mut Vec<&'static str>) -> Option<Self> {
        if !self.reconfigure_quietly(config) {
            restarted.push("circuit_breaker.window");
        }
        Some(self.clone())
    }
}

impl Policy for Throttle {
    as_its_own!(ThrottleConfig);

    #[inline]
    fn go_on(&self, config: &ThrottleConfig, restarted: &mut Vec<&'static str>) -> Option<Self> {
        if !self.reconfigure_quietly(config) {
            restarted.push("throttle.window");
        }
        Some(self.clone())
    }
}

impl Policy for PerKey {
    as_its_own!(PerKeyConfig, tell);

    #[inline]
    fn go_on(&self, config: &PerKeyConfig, restarted: &mut Vec<&'static str>) -> Option<Self> {
        if self.reconfigure_quietly(config) {
            return Some(self.clone());
        }
        // A policy more or less makes every entry another.
        restarted.push("per_key");
        config.clone().build().ok()
    }
}

impl Policy for RateLimiter {
    as_its_own!(RateLimiterConfig, tell);

    #[inline]
    fn go_on(&self, config: &RateLimiterConfig, restarted: &mut Vec<&'static str>) -> Option<Self> {
        if self.reconfigure_quietly(config) {
            return Some(self.clone());
        }
        restarted.push("rate_limit");
        config.clone().build().ok()
    }
}

impl Policy for AdaptiveLimit {
    as_its_own!(AdaptiveLimitConfig, tell);

    #[inline]
    fn go_on(&self, config: &AdaptiveLimitConfig, _: &mut Vec<&'static str>) -> Option<Self> {
        self.reconfigure_quietly(config);
        Some(self.clone())
    }
}

impl Policy for Bulkhead {
    as_its_own!(BulkheadConfig, tell);

    #[inline]
    fn go_on(&self, config: &BulkheadConfig, _: &mut Vec<&'static str>) -> Option<Self> {
        self.reconfigure_quietly(config);
        Some(self.clone())
    }
}

#[cfg(feature = "cache")]
impl<K, T> From<crate::CacheConfig<K, T>> for PolicyOf<crate::CacheConfig<K, T>, crate::Cache<K, T>> {
    fn from(config: crate::CacheConfig<K, T>) -> Self {
        Self::New(config)
    }
}

#[cfg(feature = "cache")]
impl<K, T> From<crate::Cache<K, T>> for PolicyOf<crate::CacheConfig<K, T>, crate::Cache<K, T>> {
    fn from(live: crate::Cache<K, T>) -> Self {
        Self::Shared(live)
    }
}
