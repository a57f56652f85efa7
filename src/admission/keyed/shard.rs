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

mod index;
mod live;
mod room;

use super::circuit::{Circuit, Ticket};
use super::hash::Hash;
use super::settings::{Settings, turn};
use super::tally::{Tally, Top};
use crate::admission::{Bulkhead, RateLimiter};
use crate::outcome::{Outcome, Rejected, RejectedKind};
use index::Index;
use std::sync::Arc;
use std::time::Duration;

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
    /// What the part had handed back when these were made: from there the limiter goes on counting.
    returned: u64,
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
    index: Index,
    chunks: Vec<Chunk>,
    free: u32,
    hand: u32,
    asked: u32,
    overflow: Option<Box<Overflow>>,
    overflow_buckets: u32,
    /// By slot, in order.
    lives: Vec<(u32, Arc<Live>)>,
    /// Units handed back to keys of this part, in ticks, wrapping.
    returned: u64,
    random: u64,
    top: Top,
    pub(super) counts: Counts,
}

/// What was given. Two words, for it is handed from function to function on the way of every call.
#[derive(Clone, Copy, Debug)]
pub(super) struct Grant {
    /// The ticket's generation (32 bits), the version of the settings (16), and what else there is, a bit each.
    word: u64,
    /// The TAT after the grant, and what had been handed back before, added up.
    then: u64,
}

const TICKET: u64 = 1;
const PROBE: u64 = 2;
const PLACE: u64 = 4;
const UNITS: u64 = 8;
const SETTLES: u64 = 16;
const RESERVED: u64 = 32;

impl Grant {
    #[inline]
    fn new(settings: &Settings) -> Self {
        Self { word: u64::from(settings.version) << 16 | if settings.settles { SETTLES } else { 0 }, then: 0 }
    }

    /// With units of a live limiter. It is pinned until they are used or handed back.
    pub(super) const fn with_units(mut self, then: u64) -> Self {
        self.word |= UNITS | SETTLES;
        self.then = then;
        self
    }

    pub(super) const fn units(&self) -> bool {
        self.word & UNITS != 0
    }

    /// Whether somebody has to be told how the call ended.
    pub(super) const fn settles(&self) -> bool {
        self.word & SETTLES != 0
    }

    /// Whether it is not sure yet that the call will be made.
    pub(super) const fn is_reserved(&self) -> bool {
        self.word & RESERVED != 0
    }

    pub(super) const fn reserve(&mut self) {
        self.word |= RESERVED;
    }

    pub(super) const fn used(&mut self) {
        self.word &= !RESERVED;
    }

    #[inline]
    fn with_ticket(&mut self, ticket: Ticket) {
        self.word |= u64::from(ticket.generation) << 32 | TICKET | if ticket.probe { PROBE } else { 0 };
    }

    pub(super) fn ticket(&self) -> Option<Ticket> {
        (self.word & TICKET != 0).then_some(Ticket { generation: (self.word >> 32) as u32, probe: self.word & PROBE != 0 })
    }

    pub(super) const fn place(&self) -> bool {
        self.word & PLACE != 0
    }

    const fn version(&self) -> u16 {
        (self.word >> 16) as u16
    }
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
    /// Units and place are had already.
    pub(super) waited: bool,
}

impl Shard {
    pub(super) fn new(settings: Arc<Settings>, overflow_buckets: u32, top: usize) -> Self {
        let top = if settings.config.statistics { top } else { 0 };
        Self {
            settings,
            index: Index::default(),
            chunks: Vec::new(),
            free: NONE,
            hand: 0,
            asked: 0,
            overflow: None,
            overflow_buckets: overflow_buckets.next_multiple_of(CHUNK as u32),
            lives: Vec::new(),
            returned: 0,
            random: crate::chance::simulated().unwrap_or_else(crate::random::bits),
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
        self.index.find(hash, |at| self.slot(at).hash == hash)
    }

    // ---- in and out ----

    /// Whether every sixteenth call it is, and this is one.
    #[inline]
    pub(super) fn is_turn_to_sweep(&mut self) -> bool {
        self.asked = self.asked.wrapping_add(1);
        self.asked.is_multiple_of(16)
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
        let Ask { cost, nanos, waited } = ask;
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
        let mut grant = Grant::new(settings);
        let mut after = slot.tat;
        if let Some(pace) = &settings.pace
            && cost > 0
            && !waited
        {
            let now = pace.tick(nanos);
            match pace.take(slot.tat, now, cost) {
                Ok(tat) => {
                    grant.word |= UNITS;
                    (after, grant.then) = (tat, tat.wrapping_add(self.returned));
                }
                Err(earliest) => {
                    let wait = earliest.map_or(NEVER, |tick| pace.nanos(tick).saturating_sub(nanos));
                    return Err(No { kind: RejectedKind::RateLimited, wait });
                }
            }
        }
        if let Some(places) = settings.places {
            grant.word |= PLACE;
            if !waited {
                if slot.in_use >= places {
                    return Err(No { kind: RejectedKind::BulkheadFull, wait: NEVER });
                }
                slot.in_use += 1;
            }
        }
        slot.tat = after;
        if let Some((rules, circuit)) = circuit {
            grant.with_ticket(circuit.enter(rules, nanos));
        }
        if settings.settles && !waited {
            slot.held = slot.held.saturating_add(1);
        }
        Ok(Some(grant))
    }

    /// The first call of a stranger, which is not to pay for what those did with whom it shares a bucket: it takes nothing of theirs.
    pub(super) fn welcome(&mut self, at: u32) -> Grant {
        if self.settings.settles {
            self.pin(at);
        }
        Grant::new(&self.settings)
    }

    pub(super) fn refused(&mut self, at: u32, hash: Hash, key: Option<&str>) {
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
            return self.live(at).filter(|_| place);
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

    /// Units that were not used after all; returns the live policies whose waiters are to be told, which is not to be done here.
    pub(super) fn hand_back(&mut self, at: u32, tag: u32, grant: &Grant, cost: u32, nanos: u64) -> Option<Arc<Live>> {
        let pace = self.settings.pace.as_ref()?;
        // Not the same pace any more: the debt was carried over in other units, and keeping it is safe.
        if grant.version() != self.settings.version {
            return None;
        }
        // The TAT then, less what others have handed back since; which may be more than there was.
        let then = grant.then.wrapping_sub(self.returned).cast_signed().max(0).cast_unsigned();
        let slot = &mut self.chunks[at as usize / CHUNK].slots[at as usize % CHUNK];
        let shared = matches!(slot.kind, Kind::Overflow | Kind::OverflowLive);
        if matches!(slot.kind, Kind::Free) || !shared && slot.hash.low as u32 != tag {
            return None;
        }
        if matches!(slot.kind, Kind::Live | Kind::OverflowLive) {
            let live = self.live(at)?;
            live.limiter.as_ref()?.hand_back_quietly(cost, grant.then);
            return Some(live);
        }
        let (tat, back) = pace.returned(slot.tat, then, cost, pace.tick(nanos));
        slot.tat = tat;
        self.returned = self.returned.wrapping_add(back);
        None
    }
}
