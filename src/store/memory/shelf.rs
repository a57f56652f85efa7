//! What the store in memory keeps, and the books on it. No clock, no lock, no counters: time comes in, what goes comes out.

use super::super::{Key, Metadata, SetOptions};
use super::end_of;
use bytes::Bytes;
use lru::LruCache;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

/// How many ended entries one operation frees at most. More than one, so that a backlog shrinks while new entries come in.
pub(super) const DRAIN: usize = 16;

/// What it costs to keep an entry, beside its bytes: the slot and its node, two handles of the key, its place among those that end. Measured: 165
/// without a time to live, 225 with one.
const OVERHEAD: u64 = 192;

/// What only some entries have.
#[derive(Debug)]
pub(super) struct About {
    pub(super) metadata: Option<Metadata>,
    tags: Vec<String>,
}

#[derive(Clone, Debug)]
pub(super) struct Slot {
    pub(super) value: Bytes,
    pub(super) created: u64,
    pub(super) expires: Option<u64>,
    pub(super) about: Option<Arc<About>>,
    weight: u64,
    /// Tells entries apart that end together.
    number: u64,
}

impl Slot {
    pub(super) fn new(now: u64, key: &Key, value: Bytes, options: &SetOptions) -> Self {
        let SetOptions { ttl, metadata, tags, .. } = options;
        let words = metadata.iter().flatten().map(|(name, word)| name.len() + word.len()).sum::<usize>();
        let tagged = tags.iter().map(String::len).sum::<usize>();
        let weight = OVERHEAD + (key.as_str().len() + value.len() + words + tagged) as u64;
        let about = (metadata.is_some() || !tags.is_empty()).then(|| Arc::new(About { metadata: metadata.clone(), tags: tags.clone() }));
        Self { value, created: now, expires: end_of(now, *ttl), about, weight, number: 0 }
    }

    fn is_live(&self, now: u64) -> bool {
        self.expires.is_none_or(|end| now < end)
    }
}

/// What an operation removed, to be dropped when the lock is free.
#[derive(Debug, Default)]
pub(super) struct Gone {
    pub(super) expired: u64,
    pub(super) evicted: u64,
    slots: Vec<Slot>,
}

#[derive(Debug)]
pub(super) struct Shelf {
    slots: LruCache<Key, Slot>,
    ends: BTreeMap<(u64, u64), Key>,
    tagged: HashMap<String, HashSet<Key>>,
    bytes: u64,
    numbers: u64,
    max_bytes: u64,
    max_entries: u64,
}

impl Shelf {
    pub(super) fn new(max_bytes: u64, max_entries: u64) -> Self {
        Self { slots: LruCache::unbounded(), ends: BTreeMap::new(), tagged: HashMap::new(), bytes: 0, numbers: 0, max_bytes, max_entries }
    }

    pub(super) fn len(&self) -> u64 {
        self.slots.len() as u64
    }

    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// A live entry, which looks used now.
    pub(super) fn touch(&mut self, key: &Key, now: u64) -> Option<&Slot> {
        self.slots.get(key).filter(|slot| slot.is_live(now))
    }

    /// A live entry.
    pub(super) fn peek(&self, key: &Key, now: u64) -> Option<&Slot> {
        self.slots.peek(key).filter(|slot| slot.is_live(now))
    }

    /// Takes off those that ended first, at most so many.
    pub(super) fn drain(&mut self, now: u64, most: usize, gone: &mut Gone) {
        for _ in 0..most {
            let Some(first) = self.ends.first_entry().filter(|first| first.key().0 <= now) else { return };
            let key = first.get().clone();
            gone.expired += 1;
            self.take(&key, gone);
        }
    }

    /// Puts it on, and takes off what must make room. False when there is none, ever; the old one is gone in any case.
    pub(super) fn put(&mut self, now: u64, key: &Key, mut slot: Slot, gone: &mut Gone) -> bool {
        if let Some(old) = self.slots.peek(key)
            && !old.is_live(now)
        {
            gone.expired += 1;
        }
        self.take(key, gone);
        if slot.weight > self.max_bytes {
            gone.slots.push(slot);
            return false;
        }
        while self.bytes + slot.weight > self.max_bytes || self.len() >= self.max_entries {
            // What is over makes room before what is live.
            let expired = gone.expired;
            self.drain(now, 1, gone);
            if gone.expired == expired {
                let Some(oldest) = self.slots.peek_lru().map(|(key, _)| key.clone()) else { break };
                gone.evicted += 1;
                self.take(&oldest, gone);
            }
        }
        self.numbers += 1;
        slot.number = self.numbers;
        self.bytes += slot.weight;
        if let Some(end) = slot.expires {
            self.ends.insert((end, slot.number), key.clone());
        }
        for tag in slot.about.iter().flat_map(|about| &about.tags) {
            match self.tagged.get_mut(tag) {
                Some(keys) => drop(keys.insert(key.clone())),
                None => drop(self.tagged.insert(tag.clone(), HashSet::from([key.clone()]))),
            }
        }
        self.slots.put(key.clone(), slot);
        true
    }

    /// Takes it off the shelf and the books.
    pub(super) fn take(&mut self, key: &Key, gone: &mut Gone) {
        let Some(slot) = self.slots.pop(key) else { return };
        self.bytes -= slot.weight;
        if let Some(end) = slot.expires {
            self.ends.remove(&(end, slot.number));
        }
        for tag in slot.about.iter().flat_map(|about| &about.tags) {
            if let Some(keys) = self.tagged.get_mut(tag)
                && keys.remove(key)
                && keys.is_empty()
            {
                self.tagged.remove(tag);
            }
        }
        gone.slots.push(slot);
    }

    /// Takes it off; true if it was live.
    pub(super) fn delete(&mut self, key: &Key, now: u64, gone: &mut Gone) -> bool {
        let Some(live) = self.slots.peek(key).map(|slot| slot.is_live(now)) else { return false };
        gone.expired += u64::from(!live);
        self.take(key, gone);
        live
    }

    pub(super) fn delete_tagged(&mut self, tag: &str, now: u64, gone: &mut Gone) -> u64 {
        let keys = self.tagged.remove(tag).unwrap_or_default();
        keys.iter().filter(|key| self.delete(key, now, gone)).count() as u64
    }

    pub(super) fn keys(&self, now: u64) -> Vec<Key> {
        self.slots.iter().filter(|(_, slot)| slot.is_live(now)).map(|(key, _)| key.clone()).collect()
    }

    /// Everything, and begins anew.
    pub(super) fn take_all(&mut self) -> Self {
        let numbers = self.numbers;
        std::mem::replace(self, Self { numbers, ..Self::new(self.max_bytes, self.max_entries) })
    }

    /// How many are live, and how many over.
    pub(super) fn count(&self, now: u64) -> (u64, u64) {
        let live = self.slots.iter().filter(|(_, slot)| slot.is_live(now)).count() as u64;
        (live, self.len() - live)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::time::Duration;

    const MS: u64 = 1_000_000;

    fn key(number: u8) -> Key {
        Key::from_text(format!("k{number}"))
    }

    fn slot(now: u64, number: u8, size: usize, ttl: Option<u64>) -> Slot {
        let ttl: super::super::super::Ttl = ttl.map(Duration::from_millis).into();
        Slot::new(now, &key(number), Bytes::from(vec![0; size]), &SetOptions::new().ttl(ttl).tag(format!("t{}", number % 3)))
    }

    /// The books, added up anew.
    fn audit(shelf: &Shelf) {
        let all: Vec<_> = shelf.slots.iter().collect();
        assert_eq!(shelf.bytes, all.iter().map(|(_, slot)| slot.weight).sum::<u64>());
        assert!(shelf.bytes <= shelf.max_bytes && shelf.len() <= shelf.max_entries);
        assert_eq!(shelf.ends.len(), all.iter().filter(|(_, slot)| slot.expires.is_some()).count());
        assert!(shelf.ends.iter().all(|((end, _), key)| shelf.slots.peek(key).is_some_and(|slot| slot.expires == Some(*end))));
        assert_eq!(shelf.tagged.values().map(HashSet::len).sum::<usize>(), all.len(), "each has one tag here");
    }

    #[test]
    fn b32_the_work_of_one_operation_is_bounded() {
        let mut shelf = Shelf::new(u64::MAX, u64::MAX);
        for number in 0..200 {
            shelf.put(0, &key(number), slot(0, number, 1, Some(1)), &mut Gone::default());
        }
        let mut gone = Gone::default();
        shelf.drain(MS, DRAIN, &mut gone);
        assert_eq!((gone.expired, shelf.len()), (DRAIN as u64, 200 - DRAIN as u64));
        audit(&shelf);
    }

    proptest! {
        #[test]
        fn c36_entries_and_bytes_equal_a_model(steps in proptest::collection::vec((0..6_u8, 0..12_u8, 0..900_usize, 0..20_u64), 1..200)) {
            let (mut shelf, mut now) = (Shelf::new(3_000, 8), 0);
            let mut model: HashMap<Key, Option<u64>> = HashMap::new();
            for (what, number, size, ttl) in steps {
                let (id, mut gone) = (key(number), Gone::default());
                now += ttl % 4 * MS;
                shelf.drain(now, 2, &mut gone);
                match what {
                    0 | 1 => {
                        let ends = (ttl > 0).then_some(now + ttl * MS);
                        let fits = shelf.put(now, &id, slot(now, number, size, (ttl > 0).then_some(ttl)), &mut gone);
                        prop_assert!(fits);
                        model.insert(id.clone(), ends);
                        prop_assert!(shelf.peek(&id, now).is_some());
                    }
                    2 => {
                        let was = model.remove(&id).is_some_and(|end| end.is_none_or(|end| now < end));
                        let evicted_before = shelf.peek(&id, now).is_none();
                        prop_assert_eq!(shelf.delete(&id, now, &mut gone), was && !evicted_before);
                    }
                    3 => drop(shelf.touch(&id, now)),
                    4 => {
                        shelf.delete_tagged(&format!("t{}", number % 3), now, &mut gone);
                        model.retain(|key, _| key.as_str().trim_start_matches('k').parse::<u8>().is_ok_and(|n| n % 3 != number % 3));
                    }
                    _ => prop_assert!(!shelf.put(now, &id, slot(now, number, 5_000, None), &mut gone) && model.remove(&id).is_none_or(|_| true)),
                }
                // Nothing is there that the model does not have; what is missing was evicted or is over.
                prop_assert!(shelf.keys(now).iter().all(|key| model.get(key).is_some_and(|end| end.is_none_or(|end| now < end))));
                audit(&shelf);
            }
        }
    }
}
