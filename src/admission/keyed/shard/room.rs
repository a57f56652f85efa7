//! Who comes and who goes, and those for whom there is no room.

use super::{CHUNK, Chunk, Hash, Kind, LOOKS, NONE, Overflow, RECENT, Shard, Slot, Tally};
use crate::admission::keyed::settings::{TURN_BITS, turn};
use crate::sync::atomic::{AtomicUsize, Ordering};

impl Shard {
    // ---- who comes and who goes ----

    /// An entry of its own for a newcomer. Who was served by an overflow bucket before keeps its debt.
    pub(in crate::admission::keyed) fn add(&mut self, hash: Hash, nanos: u64) -> u32 {
        let tat = self.bucket_of(hash).filter(|&(_, known)| known).map_or(0, |(bucket, _)| self.slot(bucket).tat);
        if self.free == NONE {
            self.grow();
        }
        let at = self.free;
        self.free = self.slot(at).seen;
        let version = self.settings.version;
        *self.slot_mut(at) = Slot { hash, tat, seen: turn(nanos), held: 0, in_use: 0, version, kind: Kind::Key };
        self.index.enter(hash, at);
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
        let hash = self.slot(at).hash;
        self.index.strike(hash, at);
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
    pub(in crate::admission::keyed) fn sweep(&mut self, steps: u32, nanos: u64, keys: &AtomicUsize) {
        for _ in 0..steps {
            let Some(at) = self.next() else { return };
            if self.is_idle(at, nanos) {
                self.counts.forgotten_idle += 1;
                self.let_go(at, keys);
            }
        }
    }

    /// Lets go one key that owes nothing: an idle one, or the one that was not seen for longest.
    pub(in crate::admission::keyed) fn make_room(&mut self, nanos: u64, keys: &AtomicUsize) -> bool {
        let (mut oldest, mut looks) = (None, 0);
        // Where room is short, few entries are free.
        for _ in 0..LOOKS + CHUNK as u32 {
            let Some(at) = self.next() else { return false };
            if looks == LOOKS {
                break;
            }
            if self.slot(at).kind == Kind::Free {
                continue;
            }
            looks += 1;
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
        self.hand += 1;
        if self.overflow.as_ref().is_some_and(|overflow| overflow.first == self.hand) {
            self.hand += self.overflow_buckets;
        }
        if self.hand >= len {
            self.hand = 0;
        }
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
        let age = u64::from(turn(nanos).wrapping_sub(self.slot(at).seen)) << TURN_BITS;
        circuit.has_evidence(rules, age, nanos)
    }

    fn is_idle(&mut self, at: u32, nanos: u64) -> bool {
        let age = turn(nanos).wrapping_sub(self.slot(at).seen);
        // Half of all turns ahead is behind: the clock went back.
        age >= self.settings.idle && age <= u32::MAX / 2 && !self.owes(at, nanos)
    }

    /// The key begins anew; what is under way settles as stale.
    pub(in crate::admission::keyed) fn forget(&mut self, at: u32, keys: &AtomicUsize) {
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
    pub(in crate::admission::keyed) fn shared_bucket(&mut self, hash: Hash) -> (u32, bool) {
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
}
