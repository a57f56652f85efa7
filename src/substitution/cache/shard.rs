//! One part of a cache: its entries, when they end, their tags, and who is loading. All of it is asked under the lock of the part, with the time
//! as an argument.
//!
//! # Implementation details
//!
//! **Ends.** A heap holds one moment per entry at which there may be something to remove. An entry that lives on by then (it was asked for, or
//! overwritten) goes back in with its new end, so asking for an entry never touches the heap. What was removed otherwise leaves its moment
//! behind; when such moments outnumber the entries, they are swept out, which costs each of them once.
//!
//! **Epochs.** A caller that has to load first leaves a *mark* at the key, with a number. Whatever makes a load outdated (an insert, a
//! removal, a clear, a tag of the key) changes the number, and a load is stored only if the number is still its own. Who comes after the change
//! reads the new number, and so does not wait for the outdated load either: a flight is known by key *and* number.
//!
//! What leaves goes to `gone`, to be dropped when the lock is free.

use super::config::Eviction;
use super::engine::Engine;
use super::name::Fold;
use super::removal::RemovalCause;
use super::slot::{Answer, Clockwork, Counts, Failed, Found, Gone, NEVER, New, Slot, Tags};
use crate::admission::keyed::Hash;
use std::cell::Cell;
use std::cmp::Reverse;
use std::collections::{BTreeSet, BinaryHeap, HashMap};

/// How many ends an operation looks at: enough to keep up, and never a long stop.
const SWEEP: usize = 16;

/// Left at a key by those who load, or wait for a load.
struct Mark {
    epoch: u64,
    callers: u32,
    /// One of them refreshes.
    refreshing: bool,
    /// Tags that were invalidated meanwhile.
    tags: Vec<Hash>,
}

/// More invalidated tags than this during one load, and the load is outdated as a whole.
const MOST_TAGS: usize = 32;

pub(super) struct Shard<T> {
    engine: Engine<Slot<T>>,
    pub(super) clockwork: Clockwork,
    ends: BinaryHeap<Reverse<(u64, Hash)>>,
    /// The first of them.
    due: u64,
    tagged: BTreeSet<(Hash, Hash)>,
    marks: HashMap<Hash, Mark, Fold>,
    epochs: u64,
    pub(super) counts: Counts,
}

impl<T> Shard<T> {
    pub(super) fn new(eviction: Eviction, capacity: u64, entries: usize, clockwork: Clockwork) -> Self {
        Self {
            engine: Engine::new(eviction, capacity, entries),
            clockwork,
            ends: BinaryHeap::new(),
            due: NEVER,
            tagged: BTreeSet::new(),
            marks: HashMap::default(),
            epochs: 0,
            counts: Counts::default(),
        }
    }

    // ---------------------------------------------------------------- asking

    /// The value, if it is fresh.
    #[inline]
    pub(super) fn get<R>(&mut self, key: Hash, now: u64, give: impl FnOnce(&T) -> R) -> Option<R> {
        if let Some(slot) = self.engine.get(key)
            && let Answer::Value(value) = &slot.answer
            && (now < slot.easy_until.get() || (now < slot.fresh_until && now < slot.end(self.clockwork.idle)))
        {
            slot.touch(now, self.clockwork.idle);
            self.counts.hits += 1;
            return Some(give(value));
        }
        self.counts.misses += 1;
        None
    }

    /// The value, if it is fresh. Leaves no trace.
    pub(super) fn fresh<R>(&self, key: Hash, now: u64, give: impl FnOnce(&T) -> R) -> Option<R> {
        let slot = self.engine.peek(key)?;
        match &slot.answer {
            Answer::Value(value) if now < slot.fresh_until && now < slot.end(self.clockwork.idle) => Some(give(value)),
            _ => None,
        }
    }

    /// Whether it is there, and fresh. Leaves no trace.
    pub(super) fn contains(&self, key: Hash, now: u64) -> bool {
        self.fresh(key, now, |_| ()).is_some()
    }

    /// For somebody who can load. With [`Found::Refresh`] and [`Found::Load`] a mark is left, for [`leave`](Self::leave).
    #[inline]
    pub(super) fn find<R>(&mut self, key: Hash, now: u64, give: impl FnOnce(&T) -> R) -> Found<R> {
        if let Some(slot) = self.engine.get(key)
            && let Answer::Value(value) = &slot.answer
            && now < slot.easy_until.get()
        {
            slot.touch(now, self.clockwork.idle);
            self.counts.hits += 1;
            return Found::Hit(give(value));
        }
        self.find_other(key, now, give)
    }

    #[cold]
    fn find_other<R>(&mut self, key: Hash, now: u64, give: impl FnOnce(&T) -> R) -> Found<R> {
        let Clockwork { idle, revalidate, if_error, .. } = self.clockwork;
        let refreshing = self.marks.get(&key).is_some_and(|mark| mark.refreshing);
        let Some(slot) = self.engine.peek(key).filter(|slot| now < slot.end(idle)) else {
            self.counts.misses += 1;
            return Found::Load(self.mark(key, false));
        };
        let value = match &slot.answer {
            Answer::Value(value) => value,
            Answer::Failure(text) => {
                self.counts.hits += 1;
                return Found::Failed(text.clone(), slot.fresh_until.saturating_sub(now));
            }
        };
        let (fresh, waits) = (now < slot.fresh_until, now < slot.retry_at.get());
        let given_anyway = now < slot.fresh_until.saturating_add(revalidate);
        if given_anyway || (waits && now < slot.fresh_until.saturating_add(if_error)) {
            slot.touch(now, idle);
            let value = give(value);
            self.counts.hits += 1;
            self.counts.stale += u64::from(!fresh);
            return match (waits || refreshing, fresh) {
                (true, true) => Found::Hit(value),
                (true, false) => Found::Stale(value),
                (false, _) => Found::Refresh(value, self.mark(key, true)),
            };
        }
        self.counts.misses += 1;
        Found::Load(self.mark(key, false))
    }

    /// The old value, for somebody whose load failed.
    pub(super) fn last_good<R>(&mut self, key: Hash, now: u64, give: impl FnOnce(&T) -> R) -> Option<R> {
        let Clockwork { idle, revalidate, if_error, .. } = self.clockwork;
        let slot = self.engine.peek(key).filter(|slot| now < slot.end(idle))?;
        let Answer::Value(value) = &slot.answer else { return None };
        if now >= slot.fresh_until.saturating_add(revalidate.max(if_error)) {
            return None;
        }
        slot.touch(now, idle);
        self.counts.stale += u64::from(now >= slot.fresh_until);
        Some(give(value))
    }

    /// Whether there is an old value to go on with, should the load fail.
    pub(super) fn has_last_good(&self, key: Hash, now: u64) -> bool {
        let Clockwork { idle, revalidate, if_error, .. } = self.clockwork;
        self.engine.peek(key).is_some_and(|slot| {
            matches!(slot.answer, Answer::Value(_))
                && now < slot.end(idle)
                && now < slot.fresh_until.saturating_add(revalidate.max(if_error))
        })
    }

    // ---------------------------------------------------------------- loading

    pub(super) fn mark(&mut self, key: Hash, refreshing: bool) -> u64 {
        let mark = self.marks.entry(key).or_insert_with(|| {
            self.epochs += 1;
            Mark { epoch: self.epochs, callers: 0, refreshing: false, tags: Vec::new() }
        });
        mark.callers += 1;
        mark.refreshing |= refreshing;
        mark.epoch
    }

    /// One of those who left the mark is done.
    pub(super) fn leave(&mut self, key: Hash, refreshing: bool) {
        if let Some(mark) = self.marks.get_mut(&key) {
            mark.callers -= 1;
            mark.refreshing &= !refreshing;
            if mark.callers == 0 {
                self.marks.remove(&key);
            }
        }
    }

    /// Loads of this key that are under way are outdated.
    fn outdate(&mut self, key: Hash) {
        if let Some(mark) = self.marks.get_mut(&key) {
            self.epochs += 1;
            mark.epoch = self.epochs;
            mark.tags.clear();
        }
    }

    /// What was loaded, unless it is outdated: then `None`, else the epoch that begins with it.
    pub(super) fn store(&mut self, key: Hash, epoch: u64, new: New<T>, now: u64, gone: &mut Gone<T>) -> Option<u64> {
        let current = self.marks.get(&key).is_some_and(|mark| mark.epoch == epoch && !new.tags.iter().any(|tag| mark.tags.contains(tag)));
        if !current {
            gone.push(Slot::unused(new));
            return None;
        }
        self.insert(key, new, now, gone);
        self.marks.get(&key).map(|mark| mark.epoch)
    }

    /// Whether nothing has happened to the key since that epoch began.
    #[cfg(feature = "store")]
    pub(super) fn is_current(&self, key: Hash, epoch: u64) -> bool {
        self.marks.get(&key).is_some_and(|mark| mark.epoch == epoch)
    }

    /// A load failed. The old value, if it may be given, is good for a while; a failure that stands for itself (`text`) is remembered, if it is to be.
    pub(super) fn failed(&mut self, key: Hash, epoch: u64, failure: Failed, now: u64, gone: &mut Gone<T>) {
        if failure.excused
            && let Some(slot) = self.engine.peek(key)
            && matches!(slot.answer, Answer::Value(_))
            && now < slot.end(self.clockwork.idle)
        {
            let failures = slot.failures.get().saturating_add(1);
            slot.failures.set(failures);
            slot.retry_at.set(now.saturating_add(self.clockwork.retry_every.saturating_mul(u64::from(failures.min(4)))));
            return;
        }
        if let Some(text) = failure.text
            && self.clockwork.negative_ttl > 0
        {
            let new = New { answer: Answer::Failure(text), weight: 1, ttl: self.clockwork.negative_ttl, tags: Vec::new() };
            self.store(key, epoch, new, now, gone);
        }
    }

    // ---------------------------------------------------------------- changing

    /// True if it was stored: what is heavier than the shard, or has no time to live, only removes what was there.
    pub(super) fn insert(&mut self, key: Hash, new: New<T>, now: u64, gone: &mut Gone<T>) -> bool {
        self.sweep(now, SWEEP, gone);
        self.outdate(key);
        let old_queued = self.engine.peek(key).map_or(NEVER, |old| {
            let over = old.end(self.clockwork.idle) <= now;
            old.cause.set(Some(if over { RemovalCause::Expired } else { RemovalCause::Replaced }));
            old.queued.get()
        });
        if new.weight > self.most() || new.ttl == 0 {
            gone.extend(self.engine.remove(key).map(|old| self.forget(old)));
            gone.push(Slot::unused(new));
            return false;
        }
        let New { answer, weight, ttl, tags } = new;
        let fresh_until = now.saturating_add(ttl);
        let Clockwork { refresh_ahead, revalidate, if_error, idle, .. } = self.clockwork;
        let is_value = matches!(answer, Answer::Value(_));
        let stale = if is_value { revalidate.max(if_error) } else { 0 };
        let slot = Slot {
            refresh_at: refresh_ahead.filter(|_| is_value && ttl != NEVER).map_or(NEVER, |share| now.saturating_add(part_of(ttl, share))),
            answer,
            weight,
            fresh_until,
            keep_until: fresh_until.saturating_add(stale),
            easy_until: Cell::new(0),
            touched: Cell::new(now),
            retry_at: Cell::new(0),
            failures: Cell::new(0),
            cause: Cell::new(Some(RemovalCause::Evicted)),
            queued: Cell::new(old_queued),
            tags: None,
        };
        slot.easy_until.set(slot.fresh_until.min(slot.refresh_at).min(now.saturating_add(idle)));
        // One that is overwritten has its moment in the heap already, and goes back in with its end then, unless it ends sooner.
        let end = slot.end(idle);
        if end < old_queued {
            slot.queued.set(end);
            self.ends.push(Reverse((end, key)));
            self.set_due();
        }
        let had = self.engine.peek(key).is_some();
        let from = gone.len();
        if let Some(old) = self.engine.peek(key).and_then(|old| old.tags.as_ref()) {
            for tag in &old.tags {
                self.tagged.remove(&(*tag, key));
            }
        }
        let mut slot = slot;
        if !tags.is_empty() {
            self.tagged.extend(tags.iter().map(|tag| (*tag, key)));
            slot.tags = Some(Box::new(Tags { key, tags }));
        }
        self.engine.insert(key, slot, gone);
        self.counts.sets += u64::from(is_value);
        let evicted = gone.len() - from - usize::from(had);
        self.counts.evicted += evicted as u64;
        // The first of them is the one that was overwritten, whose tags are forgotten already.
        let first = from + usize::from(had);
        let tagged = &mut self.tagged;
        gone[first.min(gone.len())..].iter().for_each(|slot| untag(tagged, slot));
        self.prune();
        true
    }

    /// The heaviest entry there is room for.
    fn most(&self) -> u64 {
        self.engine.heaviest()
    }

    fn forget(&mut self, slot: Slot<T>) -> Slot<T> {
        untag(&mut self.tagged, &slot);
        slot
    }

    /// True if a fresh value was removed. The old value for bad times goes with it.
    pub(super) fn remove(&mut self, key: Hash, now: u64, gone: &mut Gone<T>) -> bool {
        self.sweep(now, SWEEP, gone);
        self.outdate(key);
        self.delete(key, now, gone)
    }

    fn delete(&mut self, key: Hash, now: u64, gone: &mut Gone<T>) -> bool {
        let Some(slot) = self.engine.remove(key) else { return false };
        let live = matches!(slot.answer, Answer::Value(_)) && now < slot.fresh_until && now < slot.end(self.clockwork.idle);
        self.counts.deletes += u64::from(live);
        let over = slot.end(self.clockwork.idle) <= now;
        slot.cause.set(Some(if over { RemovalCause::Expired } else { RemovalCause::Removed }));
        gone.push(self.forget(slot));
        live
    }

    /// How many fresh values were removed.
    pub(super) fn remove_tagged(&mut self, tag: Hash, now: u64, gone: &mut Gone<T>) -> u64 {
        for mark in self.marks.values_mut() {
            if mark.tags.len() < MOST_TAGS {
                mark.tags.push(tag);
            } else {
                self.epochs += 1;
                mark.epoch = self.epochs;
                mark.tags.clear();
            }
        }
        let (first, last) = ((tag, Hash { high: 0, low: 0 }), (tag, Hash { high: u64::MAX, low: u64::MAX }));
        let keys: Vec<Hash> = self.tagged.range(first..=last).map(|(_, key)| *key).collect();
        keys.into_iter()
            .filter(|key| {
                self.outdate(*key);
                self.delete(*key, now, gone)
            })
            .count() as u64
    }

    /// Everything there is, to be dropped; what was over; and how many entries that were not.
    pub(super) fn clear(&mut self, now: u64, entries: usize) -> (Engine<Slot<T>>, Gone<T>, u64) {
        let mut gone = Vec::new();
        self.sweep(now, usize::MAX, &mut gone);
        for mark in self.marks.values_mut() {
            self.epochs += 1;
            mark.epoch = self.epochs;
            mark.tags.clear();
        }
        self.ends.clear();
        self.set_due();
        self.tagged.clear();
        let live = self.engine.len() as u64;
        self.counts.deletes += live;
        (self.engine.take(entries), gone, live)
    }

    pub(super) fn set_capacity(&mut self, capacity: u64, gone: &mut Gone<T>) {
        let from = gone.len();
        self.engine.set_capacity(capacity, gone);
        self.counts.evicted += (gone.len() - from) as u64;
        let tagged = &mut self.tagged;
        gone[from..].iter().for_each(|slot| untag(tagged, slot));
    }

    // ---------------------------------------------------------------- ends

    /// Whether something may have ended by now.
    #[inline]
    pub(super) const fn is_due(&self, now: u64) -> bool {
        self.due <= now
    }

    fn set_due(&mut self) {
        self.due = self.ends.peek().map_or(NEVER, |Reverse((end, _))| *end);
    }

    /// Removes what has ended, looking at no more than `most`.
    pub(super) fn sweep(&mut self, now: u64, most: usize, gone: &mut Gone<T>) {
        for _ in 0..most {
            if !self.is_due(now) {
                return;
            }
            let popped = self.ends.pop();
            self.set_due();
            let Some(Reverse((moment, key))) = popped else { return };
            let Some(slot) = self.engine.peek(key).filter(|slot| slot.queued.get() == moment) else { continue };
            let end = slot.end(self.clockwork.idle);
            if end > now {
                slot.queued.set(end);
                self.ends.push(Reverse((end, key)));
                self.set_due();
                continue;
            }
            self.counts.expired += 1;
            if let Some(slot) = self.engine.remove(key) {
                slot.cause.set(Some(RemovalCause::Expired));
                gone.push(self.forget(slot));
            }
        }
    }

    pub(super) fn sweep_some(&mut self, now: u64, gone: &mut Gone<T>) {
        self.sweep(now, SWEEP, gone);
    }

    /// Moments of entries that are gone.
    fn prune(&mut self) {
        if self.ends.len() > 2 * self.engine.len() + 64 {
            let engine = &self.engine;
            self.ends.retain(|Reverse((moment, key))| engine.peek(*key).is_some_and(|slot| slot.queued.get() == *moment));
            self.set_due();
        }
    }

    pub(super) fn len(&self) -> usize {
        self.engine.len()
    }

    pub(super) fn weight(&self) -> u64 {
        self.engine.weight()
    }
}

fn untag<T>(tagged: &mut BTreeSet<(Hash, Hash)>, slot: &Slot<T>) {
    if let Some(Tags { key, tags }) = slot.tags.as_deref() {
        for tag in tags {
            tagged.remove(&(*tag, *key));
        }
    }
}

/// A share of a time.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    clippy::cast_precision_loss,
    reason = "a share of a time is no longer than it"
)]
pub(super) fn part_of(time: u64, share: f64) -> u64 {
    (time as f64 * share) as u64
}
