//! What all keys of a table go by, and what they went by before.

use super::circuit::Rules;
use super::config::PerKeyConfig;
use crate::admission::CircuitWindow;
use crate::admission::rate_limiter::Pace;
use crate::time;
use std::time::Duration;

/// So many earlier settings are remembered, for keys that were not seen since.
const ERAS: usize = 64;
/// The moment a key was last seen is kept in units of 2^27 ns, an eighth of a second: in 32 bits that lasts 18 years.
pub(super) const TURN_BITS: u32 = 27;

/// What the numbers of a key meant from a moment on.
#[derive(Clone, Debug)]
struct Era {
    began: u64,
    pace: Option<Pace>,
    window: Option<CircuitWindow>,
}

#[derive(Debug)]
pub(super) struct Settings {
    pub(super) config: PerKeyConfig,
    pub(super) version: u16,
    /// The last one is now.
    eras: Vec<Era>,
    pub(super) pace: Option<Pace>,
    pub(super) rules: Option<Rules>,
    /// The places of a key.
    pub(super) places: Option<u32>,
    /// In turns.
    pub(super) idle: u32,
    pub(super) limiter_waits: bool,
    pub(super) bulkhead_waits: bool,
    /// Whether somebody has to be told how a call ended.
    pub(super) settles: bool,
}

/// When a key was seen.
#[inline]
pub(super) const fn turn(nanos: u64) -> u32 {
    (nanos >> TURN_BITS) as u32
}

impl Settings {
    pub(super) fn new(config: PerKeyConfig, nanos: u64) -> Self {
        Self::follow(None, config, nanos)
    }

    pub(super) fn after(&self, config: PerKeyConfig, nanos: u64) -> Self {
        Self::follow(Some(self), config, nanos)
    }

    fn follow(before: Option<&Self>, config: PerKeyConfig, nanos: u64) -> Self {
        let mut pace = config.rate_limit.as_ref().map(|limiter| Pace::new(limiter.units, limiter.period, limiter.capacity()));
        if let Some(before) = before {
            pace = pace.map(|pace| before.eras.iter().filter_map(|era| era.pace.as_ref()).fold(pace, Pace::after));
        }
        let window = config.circuit_breaker.as_ref().map(|breaker| breaker.window);
        let mut eras = before.map_or_else(Vec::new, |before| before.eras.clone());
        if eras.len() >= ERAS {
            eras.remove(0);
        }
        eras.push(Era { began: nanos, pace, window });
        let idle = time::nanos(config.idle).div_ceil(1 << TURN_BITS).min(u64::from(u32::MAX));
        Self {
            version: before.map_or(0, |before| before.version.wrapping_add(1)),
            eras,
            pace,
            rules: config.circuit_breaker.clone().map(Rules::new),
            places: config.bulkhead.as_ref().map(|bulkhead| u32::try_from(bulkhead.limit).unwrap_or(u32::MAX)),
            idle: u32::try_from(idle).unwrap_or(u32::MAX),
            limiter_waits: config.rate_limit.as_ref().is_some_and(|limiter| !limiter.max_wait.is_zero()),
            bulkhead_waits: config.bulkhead.as_ref().is_some_and(|bulkhead| bulkhead.longest_wait() > Duration::ZERO),
            settles: config.circuit_breaker.is_some() || config.bulkhead.is_some() || config.statistics,
            config,
        }
    }

    /// Whether one policy more or less makes the entries others.
    pub(super) fn fits(&self, config: &PerKeyConfig) -> bool {
        let policies = |config: &PerKeyConfig| {
            (config.rate_limit.is_some(), config.circuit_breaker.is_some(), config.bulkhead.is_some(), config.statistics)
        };
        policies(&self.config) == policies(config)
    }

    /// The TAT of a key that was last looked at in an earlier era, and whether its window is still the same.
    #[cold]
    pub(super) fn carried(&self, version: u16, mut tat: u64) -> (u64, bool) {
        let behind = usize::from(self.version.wrapping_sub(version)).min(self.eras.len() - 1);
        let mut same_window = true;
        for eras in self.eras[self.eras.len() - 1 - behind..].windows(2) {
            let [old, new] = eras else { continue };
            same_window &= old.window == new.window;
            if let (Some(old), Some(pace)) = (&old.pace, &new.pace)
                && (old.interval(), old.full()) != (pace.interval(), pace.full())
            {
                tat = pace.tick(new.began).saturating_add(old.carried(pace, tat, new.began));
            }
        }
        (tat, same_window)
    }
}
