//! Keys in which somebody waits, and what can be read of any.

use super::{CHUNK, Kind, Live, Settings, Shard, Tally};
#[cfg(test)]
use super::{Chunk, Overflow};
use crate::admission::keyed::{KeySnapshot, RejectedKey};
use crate::admission::{Bulkhead, CircuitState, RateLimiter};
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

impl Shard {
    // ---- live policies ----

    pub(in crate::admission::keyed) fn live(&self, at: u32) -> Option<Arc<Live>> {
        self.live_place(at).ok().map(|place| Arc::clone(&self.lives[place].1))
    }

    fn live_place(&self, at: u32) -> Result<usize, usize> {
        self.lives.binary_search_by_key(&at, |(at, _)| *at)
    }

    /// From now on a live limiter and a live bulkhead count for this key, until nobody waits or runs any more.
    #[cold]
    pub(in crate::admission::keyed) fn wake_up(&mut self, at: u32, epoch: Instant) -> Option<Arc<Live>> {
        let config = &self.settings.config;
        let slot = self.slot(at);
        let limiter = config.rate_limit.clone().map(|limiter| RateLimiter::owing(limiter, epoch, slot.tat, self.returned));
        let bulkhead = config.bulkhead.clone().and_then(|bulkhead| bulkhead.build().ok());
        if let Some(bulkhead) = &bulkhead {
            bulkhead.take_unasked(slot.in_use as usize);
        }
        let live = Arc::new(Live { limiter, bulkhead, returned: self.returned });
        match self.live_place(at) {
            Ok(place) => self.lives[place].1 = Arc::clone(&live),
            Err(place) => self.lives.insert(place, (at, Arc::clone(&live))),
        }
        let slot = self.slot_mut(at);
        slot.kind = if slot.kind == Kind::Overflow { Kind::OverflowLive } else { Kind::Live };
        Some(live)
    }

    #[cold]
    pub(super) fn put_to_sleep(&mut self, at: u32) {
        let Ok(place) = self.live_place(at) else { return };
        let (_, live) = self.lives.remove(place);
        let slot = self.slot_mut(at);
        slot.in_use = 0;
        slot.kind = if slot.kind == Kind::OverflowLive { Kind::Overflow } else { Kind::Key };
        if let Some(limiter) = &live.limiter {
            let (tat, returned) = limiter.owed();
            slot.tat = tat;
            self.returned = self.returned.wrapping_add(returned.wrapping_sub(live.returned));
        }
    }

    /// Goes on under other settings. Nobody is woken.
    pub(in crate::admission::keyed) fn set(&mut self, settings: &Arc<Settings>) {
        self.settings = Arc::clone(settings);
        let chunks = &mut self.chunks;
        for (at, live) in &self.lives {
            if let (Some(limiter), Some(config)) = (&live.limiter, &settings.config.rate_limit) {
                limiter.reconfigure_quietly(config);
            }
            if let (Some(bulkhead), Some(config)) = (&live.bulkhead, &settings.config.bulkhead) {
                bulkhead.reconfigure_quietly(config);
            }
            // What they count is in the new units already.
            chunks[*at as usize / CHUNK].slots[*at as usize % CHUNK].version = settings.version;
        }
    }

    pub(in crate::admission::keyed) fn all_live(&self) -> Vec<Arc<Live>> {
        self.lives.iter().map(|(_, live)| Arc::clone(live)).collect()
    }

    // ---- to read ----

    pub(in crate::admission::keyed) fn read(&mut self, at: u32, nanos: u64) -> KeySnapshot {
        self.catch_up(at);
        let live = self.live(at);
        let (slot, settings) = (self.slot(at), &*self.settings);
        let limiter = live.as_ref().and_then(|live| live.limiter.as_ref());
        let bulkhead = live.as_ref().and_then(|live| live.bulkhead.as_ref());
        let circuit = settings.rules.as_ref().zip(self.circuit(at));
        let state = circuit.map(|(rules, circuit)| circuit.state(rules, nanos));
        let counted = circuit.map(|(rules, circuit)| circuit.counted(rules, nanos));
        KeySnapshot {
            available: settings
                .pace
                .as_ref()
                .map(|pace| limiter.map_or_else(|| pace.units(slot.tat, pace.tick(nanos)), RateLimiter::available)),
            in_use: settings.places.map(|_| bulkhead.map_or(slot.in_use as usize, Bulkhead::in_use)),
            waiting: limiter.map_or(0, RateLimiter::waiting) + bulkhead.map_or(0, Bulkhead::waiting),
            circuit: state.map(|(state, _)| state),
            next_probe_in: state.and_then(|(_, wait)| wait).map(Duration::from_nanos),
            window_calls: counted.map_or(0, |(calls, _)| calls),
            window_failures: counted.map_or(0, |(_, failures)| failures),
            counts: self.tally(at).map(Tally::read),
        }
    }

    pub(in crate::admission::keyed) fn is_open(&self, at: u32, nanos: u64) -> bool {
        let circuit = self.settings.rules.as_ref().zip(self.circuit(at));
        circuit.is_some_and(|(rules, circuit)| circuit.look(rules, nanos).is_err())
    }

    pub(in crate::admission::keyed) fn is_closed(&self, at: u32, nanos: u64) -> bool {
        let circuit = self.settings.rules.as_ref().zip(self.circuit(at));
        circuit.is_none_or(|(rules, circuit)| circuit.state(rules, nanos).0 == CircuitState::Closed)
    }

    #[inline]
    pub(in crate::admission::keyed) fn most_rejected(&self, into: &mut Vec<RejectedKey>) {
        self.top.read(into);
    }

    /// Bytes on the heap, for the promise of how many that are.
    #[cfg(all(test, not(steadfast_loom)))]
    pub(in crate::admission::keyed) fn bytes(&self) -> usize {
        let chunk = |chunk: &Chunk| size_of_val(&*chunk.slots) + size_of_val(&*chunk.circuits) + size_of_val(&*chunk.tallies);
        let recent = self.overflow.as_ref().map_or(0, |overflow| size_of_val(&*overflow.recent) + size_of::<Overflow>());
        self.index.bytes() + self.chunks.capacity() * size_of::<Chunk>() + self.chunks.iter().map(chunk).sum::<usize>() + recent
    }

    #[cfg(all(test, not(steadfast_loom)))]
    pub(in crate::admission::keyed) fn check(&self) -> usize {
        let mut keys = 0;
        for (at, slot) in self.chunks.iter().flat_map(|chunk| &chunk.slots).enumerate() {
            if matches!(slot.kind, Kind::Key | Kind::Live) {
                keys += 1;
                assert_eq!(self.find(slot.hash), Some(at as u32));
            }
        }
        self.index.check(keys);
        keys
    }
}
