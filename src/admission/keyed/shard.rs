//! One part of the table: its index, its entries, and who is let go.
//!
//! ```text
//! index   [ tag | entry ]  open addressing, 8 bytes a cell, at most three quarters full
//!              │
//! chunks  32 entries each, never moved:  slots (40 bytes), circuits (80), tallies (32), each only where there is such a policy
//! ```
//!
//! A hand goes around the entries, two steps for each newcomer and two for every sixteenth call, and lets go whoever was not seen for the
//! idle time and owes nothing. So nobody ever waits for more than a few entries to be looked at; the longest step is to double the index
//! of one part, a walk over some ten thousand cells of 8 bytes.

use super::circuit::{Circuit, Ticket};
use super::hash::Hash;
use super::settings::{Settings, turn};
use super::tally::{Tally, Top};
use crate::admission::{Bulkhead, RateLimiter};
use crate::outcome::{Outcome, Rejected, RejectedKind};
use crate::sync::atomic::{AtomicUsize, Ordering};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

const CHUNK: usize = 32;
const NONE: u32 = u32::MAX;
const NEVER: u64 = u64::MAX;
/// So many entries are looked at when a newcomer needs room.
const LOOKS: u32 = 16;
/// A newcomer of an overflow bucket is known by a part of its hash, as long as there were not so many others after it.
const RECENT: usize = 8;

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Kind {
    #[default]
    Free,
    Key,
    /// As `Key`, and its waiters stand in the line of a live policy.
    Live,
    /// Shared by those for whom there was no room.
    Overflow,
    OverflowLive,
}

#[derive(Debug, Default)]
struct Slot {
    hash: Hash,
    /// When the bucket of units is full again, in ticks of the pace.
    tat: u64,
    /// The turn in which it was last seen; of a free one, the next free one.
    seen: u32,
    /// Permits and waiters that will come back to this entry.
    held: u32,
    in_use: u32,
    version: u16,
    kind: Kind,
}

#[derive(Debug)]
struct Chunk {
    slots: Box<[Slot]>,
    circuits: Box<[Circuit]>,
    tallies: Box<[Tally]>,
}

/// The policies of a key in which somebody waits.
#[derive(Debug)]
pub(super) struct Live {
    pub(super) limiter: Option<RateLimiter>,
    pub(super) bulkhead: Option<Bulkhead>,
}

#[derive(Debug)]
struct Overflow {
    first: u32,
    recent: Box<[[u32; RECENT]]>,
}

#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Counts {
    pub(super) forgotten_idle: u64,
    pub(super) forgotten_for_room: u64,
    pub(super) shared: u64,
    pub(super) rejected: u64,
}

#[derive(Debug)]
pub(super) struct Shard {
    pub(super) settings: Arc<Settings>,
    index: Box<[u64]>,
    indexed: usize,
    chunks: Vec<Chunk>,
    free: u32,
    hand: u32,
    asked: u32,
    overflow: Option<Box<Overflow>>,
    overflow_buckets: u32,
    lives: BTreeMap<u32, Arc<Live>>,
    /// Units handed back to keys of this part, in ticks, wrapping.
    returned: u64,
    random: u64,
    top: Top,
    pub(super) counts: Counts,
}

/// What was given.
#[derive(Clone, Copy, Debug)]
pub(super) struct Grant {
    pub(super) ticket: Option<Ticket>,
    pub(super) place: bool,
    /// The TAT after the grant.
    pub(super) tat: u64,
    pub(super) returned: u64,
    pub(super) version: u16,
}

/// Why not, and for how many nanoseconds.
#[derive(Clone, Copy, Debug)]
pub(super) struct No {
    pub(super) kind: RejectedKind,
    pub(super) wait: u64,
}

impl From<No> for Rejected {
    fn from(no: No) -> Self {
        let rejected = Self::new(no.kind);
        if no.wait == NEVER { rejected } else { rejected.with_retry_after(Duration::from_nanos(no.wait)) }
    }
}

/// What is asked of an entry.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ask {
    pub(super) cost: u32,
    pub(super) nanos: u64,
    /// Gets one call from an empty bucket that it did not empty.
    pub(super) newcomer: bool,
    /// Units and place are had already.
    pub(super) waited: bool,
}

impl Shard {
    pub(super) fn new(settings: Arc<Settings>, overflow_buckets: u32, top: usize) -> Self {
        let top = if settings.config.statistics { top } else { 0 };
        Self {
            settings,
            index: Box::default(),
            indexed: 0,
            chunks: Vec::new(),
            free: NONE,
            hand: 0,
            asked: 0,
            overflow: None,
            overflow_buckets: overflow_buckets.next_multiple_of(CHUNK as u32),
            lives: BTreeMap::new(),
            returned: 0,
            random: crate::chance::simulated().unwrap_or_else(rand::random),
            top: Top::new(top),
            counts: Counts::default(),
        }
    }

    // ---- where a key is ----

    #[inline]
    fn slot(&self, at: u32) -> &Slot {
        &self.chunks[at as usize / CHUNK].slots[at as usize % CHUNK]
    }

    #[inline]
    fn slot_mut(&mut self, at: u32) -> &mut Slot {
        &mut self.chunks[at as usize / CHUNK].slots[at as usize % CHUNK]
    }

    fn circuit(&self, at: u32) -> Option<&Circuit> {
        self.chunks[at as usize / CHUNK].circuits.get(at as usize % CHUNK)
    }

    fn circuit_mut(&mut self, at: u32) -> Option<&mut Circuit> {
        self.chunks[at as usize / CHUNK].circuits.get_mut(at as usize % CHUNK)
    }

    pub(super) fn tally(&self, at: u32) -> Option<&Tally> {
        self.chunks[at as usize / CHUNK].tallies.get(at as usize % CHUNK)
    }

    #[inline]
    pub(super) fn find(&self, hash: Hash) -> Option<u32> {
        if self.index.is_empty() {
            return None;
        }
        let mask = self.index.len() - 1;
        let tag = hash.low as u32;
        let mut at = tag as usize & mask;
        loop {
            let cell = self.index[at];
            if cell == 0 {
                return None;
            }
            let slot = cell as u32 - 1;
            if (cell >> 32) as u32 == tag && self.slot(slot).hash == hash {
                return Some(slot);
            }
            at = (at + 1) & mask;
        }
    }

    fn enter_in_index(&mut self, hash: Hash, slot: u32) {
        if (self.indexed + 1) * 4 > self.index.len() * 3 {
            let larger = vec![0; (self.index.len() * 2).max(16)].into_boxed_slice();
            let cells = std::mem::replace(&mut self.index, larger);
            cells.into_iter().filter(|&cell| cell != 0).for_each(|cell| self.put(cell));
        }
        self.indexed += 1;
        self.put(hash.low << 32 | u64::from(slot + 1));
    }

    fn put(&mut self, cell: u64) {
        let mask = self.index.len() - 1;
        let mut at = (cell >> 32) as usize & mask;
        while self.index[at] != 0 {
            at = (at + 1) & mask;
        }
        self.index[at] = cell;
    }

    /// Takes a cell out, and moves those back that stand behind it because it was there.
    fn strike(&mut self, hash: Hash, slot: u32) {
        if self.index.is_empty() {
            return;
        }
        let mask = self.index.len() - 1;
        let cell = hash.low << 32 | u64::from(slot + 1);
        let mut hole = hash.low as u32 as usize & mask;
        while self.index[hole] != cell {
            if self.index[hole] == 0 {
                return;
            }
            hole = (hole + 1) & mask;
        }
        self.indexed -= 1;
        let mut at = hole;
        loop {
            at = (at + 1) & mask;
            let next = self.index[at];
            if next == 0 {
                break;
            }
            let home = (next >> 32) as usize & mask;
            // How far it stands from home, and how far the hole does.
            if at.wrapping_sub(home) & mask >= at.wrapping_sub(hole) & mask {
                self.index[hole] = next;
                hole = at;
            }
        }
        self.index[hole] = 0;
    }

    // ---- who comes and who goes ----

    /// An entry of its own for a newcomer. Who was served by an overflow bucket before keeps its debt.
    pub(super) fn add(&mut self, hash: Hash, nanos: u64) -> u32 {
        let tat = self.bucket_of(hash).filter(|&(_, known)| known).map_or(0, |(bucket, _)| self.slot(bucket).tat);
        if self.free == NONE {
            self.grow();
        }
        let at = self.free;
        self.free = self.slot(at).seen;
        let version = self.settings.version;
        *self.slot_mut(at) = Slot { hash, tat, seen: turn(nanos), held: 0, in_use: 0, version, kind: Kind::Key };
        self.enter_in_index(hash, at);
        at
    }

    /// One chunk more, all free; returns its first entry.
    fn grow(&mut self) -> u32 {
        fn some<T: Default>(wanted: bool) -> Box<[T]> {
            (0..if wanted { CHUNK } else { 0 }).map(|_| T::default()).collect()
        }
        let first = (self.chunks.len() * CHUNK) as u32;
        let mut slots = some::<Slot>(true);
        for (slot, at) in slots.iter_mut().zip(first..) {
            slot.seen = if at + 1 == first + CHUNK as u32 { self.free } else { at + 1 };
        }
        self.free = first;
        let (circuits, tallies) = (some(self.settings.rules.is_some()), some(self.settings.config.statistics));
        self.chunks.push(Chunk { slots, circuits, tallies });
        first
    }

    fn let_go(&mut self, at: u32, keys: &AtomicUsize) {
        self.strike(self.slot(at).hash, at);
        let free = self.free;
        *self.slot_mut(at) = Slot { seen: free, ..Slot::default() };
        self.free = at;
        self.clear_books(at);
        keys.fetch_sub(1, Ordering::Relaxed);
    }

    fn clear_books(&mut self, at: u32) {
        if let Some(circuit) = self.circuit_mut(at) {
            circuit.reset();
        }
        if let Some(tally) = self.chunks[at as usize / CHUNK].tallies.get_mut(at as usize % CHUNK) {
            *tally = Tally::default();
        }
    }

    /// Looks at the next `steps` entries, and lets go who is idle and owes nothing.
    pub(super) fn sweep(&mut self, steps: u32, nanos: u64, keys: &AtomicUsize) {
        for _ in 0..steps {
            let Some(at) = self.next() else { return };
            if self.is_idle(at, nanos) {
                self.counts.forgotten_idle += 1;
                self.let_go(at, keys);
            }
        }
    }

    /// Lets go one key that owes nothing: an idle one, or the one that was not seen for longest.
    pub(super) fn make_room(&mut self, nanos: u64, keys: &AtomicUsize) -> bool {
        let mut oldest = None;
        for _ in 0..LOOKS {
            let Some(at) = self.next() else { return false };
            if self.is_idle(at, nanos) {
                self.counts.forgotten_idle += 1;
                self.let_go(at, keys);
                return true;
            }
            let age = turn(nanos).wrapping_sub(self.slot(at).seen);
            if oldest.is_none_or(|(_, oldest)| age > oldest) && !self.owes(at, nanos) && !self.has_evidence(at, nanos) {
                oldest = Some((at, age));
            }
        }
        let Some((at, _)) = oldest else { return false };
        self.counts.forgotten_for_room += 1;
        self.let_go(at, keys);
        true
    }

    fn next(&mut self) -> Option<u32> {
        let len = (self.chunks.len() * CHUNK) as u32;
        self.hand = if self.hand + 1 >= len { 0 } else { self.hand + 1 };
        (len > 0).then_some(self.hand)
    }

    /// Whether to forget it would let something through that would be refused.
    fn owes(&mut self, at: u32, nanos: u64) -> bool {
        let slot = self.slot(at);
        if slot.kind != Kind::Key || slot.held > 0 {
            return true;
        }
        self.catch_up(at);
        let indebted = self.settings.pace.as_ref().is_some_and(|pace| self.slot(at).tat > pace.tick(nanos));
        indebted || self.circuit(at).is_some_and(|circuit| circuit.holds_until() > nanos)
    }

    fn has_evidence(&self, at: u32, nanos: u64) -> bool {
        let (Some(circuit), Some(rules)) = (self.circuit(at), &self.settings.rules) else { return false };
        circuit.has_evidence(rules, nanos)
    }

    fn is_idle(&mut self, at: u32, nanos: u64) -> bool {
        let age = turn(nanos).wrapping_sub(self.slot(at).seen);
        // Half of all turns ahead is behind: the clock went back.
        age >= self.settings.idle && age <= u32::MAX / 2 && !self.owes(at, nanos)
    }

    /// The key begins anew; what is under way settles as stale.
    pub(super) fn forget(&mut self, at: u32, keys: &AtomicUsize) {
        self.top.forget(self.slot(at).hash);
        if self.slot(at).held == 0 {
            return self.let_go(at, keys);
        }
        self.slot_mut(at).tat = 0;
        self.clear_books(at);
    }

    // ---- those for whom there is no room ----

    fn bucket_of(&self, hash: Hash) -> Option<(u32, bool)> {
        let overflow = self.overflow.as_ref()?;
        let bucket = (hash.high >> 32) as u32 % self.overflow_buckets;
        let known = overflow.recent[bucket as usize].contains(&(hash.high as u32));
        Some((overflow.first + bucket, known))
    }

    /// The bucket that a key shares with others, and whether it has not been here lately.
    pub(super) fn shared_bucket(&mut self, hash: Hash) -> (u32, bool) {
        if self.overflow.is_none() {
            self.open_overflow();
        }
        self.counts.shared += 1;
        let Some((at, known)) = self.bucket_of(hash) else { return (0, false) };
        if !known && let Some(overflow) = &mut self.overflow {
            let recent = &mut overflow.recent[(at - overflow.first) as usize];
            recent.rotate_right(1);
            recent[0] = hash.high as u32;
        }
        (at, !known)
    }

    #[cold]
    fn open_overflow(&mut self) {
        let free = std::mem::replace(&mut self.free, NONE);
        let first = (self.chunks.len() * CHUNK) as u32;
        for _ in 0..self.overflow_buckets as usize / CHUNK {
            self.grow();
        }
        self.free = free;
        let version = self.settings.version;
        for at in first..first + self.overflow_buckets {
            *self.slot_mut(at) = Slot { kind: Kind::Overflow, version, ..Slot::default() };
        }
        let recent = vec![[0; RECENT]; self.overflow_buckets as usize].into_boxed_slice();
        self.overflow = Some(Box::new(Overflow { first, recent }));
    }

    // ---- in and out ----

    /// Whether every sixteenth call it is, and this is one.
    #[inline]
    pub(super) fn is_turn_to_sweep(&mut self) -> bool {
        self.asked = self.asked.wrapping_add(1);
        self.asked % 16 == 0
    }

    #[inline]
    fn catch_up(&mut self, at: u32) {
        let version = self.settings.version;
        if self.slot(at).version != version {
            self.catch_up_slowly(at);
        }
    }

    #[cold]
    fn catch_up_slowly(&mut self, at: u32) {
        let settings = Arc::clone(&self.settings);
        let slot = self.slot_mut(at);
        let (tat, same_window) = settings.carried(slot.version, slot.tat);
        (slot.tat, slot.version) = (tat, settings.version);
        if !same_window && let Some(circuit) = self.circuit_mut(at) {
            circuit.forget_counts();
        }
    }

    /// Look at the breaker > rate limit > bulkhead > breaker's permit; takes all or nothing. `Ok(None)`: ask the live policies.
    #[inline]
    pub(super) fn ask(&mut self, at: u32, ask: Ask) -> Result<Option<Grant>, No> {
        let Ask { cost, nanos, newcomer, waited } = ask;
        self.catch_up(at);
        let settings = &*self.settings;
        let Some(chunk) = self.chunks.get_mut(at as usize / CHUNK) else { return Ok(None) };
        let place = at as usize % CHUNK;
        let slot = &mut chunk.slots[place];
        slot.seen = turn(nanos);
        let circuit = settings.rules.as_ref().zip(chunk.circuits.get_mut(place));
        if let Some((rules, circuit)) = &circuit {
            circuit.look(rules, nanos).map_err(|wait| No { kind: RejectedKind::CircuitOpen, wait })?;
        }
        if matches!(slot.kind, Kind::Live | Kind::OverflowLive) && !waited {
            return Ok(None);
        }
        let mut grant = Grant { ticket: None, place: false, tat: 0, returned: self.returned, version: settings.version };
        if let Some(pace) = &settings.pace
            && cost > 0
            && !waited
        {
            let now = pace.tick(nanos);
            match pace.take(slot.tat, now, cost) {
                Ok(tat) => grant.tat = tat,
                Err(Some(_)) if newcomer => {}
                Err(earliest) => {
                    let wait = earliest.map_or(NEVER, |tick| pace.nanos(tick).saturating_sub(nanos));
                    return Err(No { kind: RejectedKind::RateLimited, wait });
                }
            }
        }
        if let Some(places) = settings.places {
            grant.place = true;
            if !waited {
                if slot.in_use >= places {
                    return Err(No { kind: RejectedKind::BulkheadFull, wait: NEVER });
                }
                slot.in_use += 1;
            }
        }
        if grant.tat > 0 {
            slot.tat = grant.tat;
        }
        grant.ticket = circuit.map(|(rules, circuit)| circuit.enter(rules, nanos));
        if settings.settles && !waited {
            slot.held = slot.held.saturating_add(1);
        }
        Ok(Some(grant))
    }

    pub(super) fn refused(&mut self, at: u32, hash: Hash, key: &str) {
        self.counts.rejected += 1;
        if let Some(tally) = self.chunks[at as usize / CHUNK].tallies.get_mut(at as usize % CHUNK) {
            tally.refused();
            self.top.add(hash, key);
        }
    }

    /// What came of a call that was let through; returns the live policies that want its place back, which is not to be done here.
    pub(super) fn settle(
        &mut self,
        at: u32,
        ticket: Option<Ticket>,
        place: bool,
        outcome: Outcome,
        age: u64,
        nanos: u64,
    ) -> Option<Arc<Live>> {
        let settings = &*self.settings;
        let chunk = &mut self.chunks[at as usize / CHUNK];
        let which = at as usize % CHUNK;
        if let (Some(ticket), Some(rules), Some(circuit)) = (ticket, &settings.rules, chunk.circuits.get_mut(which)) {
            circuit.settle(rules, ticket, outcome, age, nanos, &mut self.random);
        }
        if let Some(tally) = chunk.tallies.get_mut(which) {
            tally.settle(outcome, age);
        }
        self.unpin(at, place)
    }

    /// One permit or waiter less that will come back.
    pub(super) fn unpin(&mut self, at: u32, place: bool) -> Option<Arc<Live>> {
        let slot = self.slot_mut(at);
        slot.held = slot.held.saturating_sub(1);
        let live = matches!(slot.kind, Kind::Live | Kind::OverflowLive);
        if live && slot.held == 0 {
            self.put_to_sleep(at);
            return None;
        }
        if live {
            return self.lives.get(&at).filter(|_| place).cloned();
        }
        if place {
            slot.in_use = slot.in_use.saturating_sub(1);
        }
        None
    }

    pub(super) fn pin(&mut self, at: u32) {
        let slot = self.slot_mut(at);
        slot.held = slot.held.saturating_add(1);
    }

    /// Units that were not used after all.
    pub(super) fn hand_back(&mut self, at: u32, tag: u32, grant: &Grant, cost: u32, nanos: u64) {
        let Some(pace) = &self.settings.pace else { return };
        // Not the same pace any more: the debt was carried over in other units, and keeping it is safe.
        if grant.version != self.settings.version {
            return;
        }
        let others = self.returned.wrapping_sub(grant.returned);
        let slot = &mut self.chunks[at as usize / CHUNK].slots[at as usize % CHUNK];
        let still_it = !matches!(slot.kind, Kind::Free) && (slot.hash.low as u32 == tag || matches!(slot.kind, Kind::Overflow));
        if still_it {
            let (tat, back) = pace.returned(slot.tat, grant.tat, others, cost, pace.tick(nanos));
            slot.tat = tat;
            self.returned = self.returned.wrapping_add(back);
        }
    }

    // ---- live policies ----

    pub(super) fn live(&self, at: u32) -> Option<Arc<Live>> {
        self.lives.get(&at).cloned()
    }

    /// From now on a live limiter and a live bulkhead count for this key, until nobody waits or runs any more.
    #[cold]
    pub(super) fn wake_up(&mut self, at: u32, epoch: Instant) -> Option<Arc<Live>> {
        let config = &self.settings.config;
        let slot = self.slot(at);
        let limiter = config.rate_limit.clone().map(|limiter| RateLimiter::owing(limiter, epoch, slot.tat));
        let bulkhead = config.bulkhead.clone().and_then(|bulkhead| bulkhead.build().ok());
        if let Some(bulkhead) = &bulkhead {
            bulkhead.take_unasked(slot.in_use as usize);
        }
        let live = Arc::new(Live { limiter, bulkhead });
        self.lives.insert(at, Arc::clone(&live));
        let slot = self.slot_mut(at);
        slot.kind = if slot.kind == Kind::Overflow { Kind::OverflowLive } else { Kind::Live };
        Some(live)
    }

    #[cold]
    fn put_to_sleep(&mut self, at: u32) {
        let Some(live) = self.lives.remove(&at) else { return };
        let slot = self.slot_mut(at);
        slot.in_use = 0;
        if let Some(limiter) = &live.limiter {
            slot.tat = limiter.tat();
        }
        slot.kind = if slot.kind == Kind::OverflowLive { Kind::Overflow } else { Kind::Key };
    }

    /// Goes on under other settings. Nobody is woken.
    pub(super) fn set(&mut self, settings: &Arc<Settings>) {
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

    pub(super) fn all_live(&self) -> Vec<Arc<Live>> {
        self.lives.values().cloned().collect()
    }

    // ---- to read ----

    pub(super) fn read(&mut self, at: u32, nanos: u64) -> super::KeySnapshot {
        self.catch_up(at);
        let live = self.live(at);
        let (slot, settings) = (self.slot(at), &*self.settings);
        let limiter = live.as_ref().and_then(|live| live.limiter.as_ref());
        let bulkhead = live.as_ref().and_then(|live| live.bulkhead.as_ref());
        let circuit = settings.rules.as_ref().zip(self.circuit(at));
        let state = circuit.map(|(rules, circuit)| circuit.state(rules, nanos));
        let counted = circuit.map(|(rules, circuit)| circuit.counted(rules, nanos));
        super::KeySnapshot {
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

    pub(super) fn is_open(&self, at: u32, nanos: u64) -> bool {
        let circuit = self.settings.rules.as_ref().zip(self.circuit(at));
        circuit.is_some_and(|(rules, circuit)| circuit.look(rules, nanos).is_err())
    }

    pub(super) fn most_rejected(&self, into: &mut Vec<super::RejectedKey>) {
        self.top.read(into);
    }

    /// Bytes on the heap, for the promise of how many that are.
    #[cfg(test)]
    pub(super) fn bytes(&self) -> usize {
        let chunk = |chunk: &Chunk| size_of_val(&*chunk.slots) + size_of_val(&*chunk.circuits) + size_of_val(&*chunk.tallies);
        let recent = self.overflow.as_ref().map_or(0, |overflow| size_of_val(&*overflow.recent) + size_of::<Overflow>());
        size_of_val(&*self.index) + self.chunks.capacity() * size_of::<Chunk>() + self.chunks.iter().map(chunk).sum::<usize>() + recent
    }

    #[cfg(test)]
    pub(super) fn check(&self) -> usize {
        let mut keys = 0;
        for (at, slot) in self.chunks.iter().flat_map(|chunk| &chunk.slots).enumerate() {
            if matches!(slot.kind, Kind::Key | Kind::Live) {
                keys += 1;
                assert_eq!(self.find(slot.hash), Some(at as u32));
            }
        }
        assert_eq!(keys, self.indexed);
        assert_eq!(keys, self.index.iter().filter(|&&cell| cell != 0).count());
        keys
    }
}
