//! What a shard keeps its entries in: the one place that knows which policy makes room for a new one.
//!
//! Keys are names of 128 bits here, and values know their weight. What leaves an engine is handed out, never dropped inside, for dropping a
//! value is somebody else's code, and an engine is asked under a lock.

use super::config::Eviction;
use super::name::Fold;
use crate::admission::keyed::Hash;
use crate::random::Random;
use lru::LruCache;
use quick_cache::{Lifecycle, OptionsBuilder, Weighter, unsync};
use std::collections::HashMap;

/// A value that knows what it takes up, at least 1, and always the same.
pub(super) trait Weighed {
    fn weight(&self) -> u64;
}

pub(super) enum Engine<V: Weighed> {
    S3Fifo(Box<unsync::Cache<Hash, V, ByWeight, Fold, HandOut>>),
    /// By order of use, or by order of coming.
    Listed(Listed<V>),
    Random(Scattered<V>),
}

impl<V: Weighed> Engine<V> {
    pub(super) fn new(eviction: Eviction, capacity: u64, entries: usize) -> Self {
        match eviction {
            Eviction::S3Fifo => Self::S3Fifo(Box::new(adaptive(capacity, entries))),
            Eviction::Lru => Self::Listed(Listed::new(capacity, true)),
            Eviction::Fifo => Self::Listed(Listed::new(capacity, false)),
            Eviction::Random => Self::Random(Scattered::new(capacity)),
        }
    }

    /// An empty one of the same kind, in the place of this one.
    pub(super) fn take(&mut self, entries: usize) -> Self {
        let capacity = self.capacity();
        let eviction = match self {
            Self::S3Fifo(_) => Eviction::S3Fifo,
            Self::Listed(listed) if listed.by_use => Eviction::Lru,
            Self::Listed(_) => Eviction::Fifo,
            Self::Random(_) => Eviction::Random,
        };
        std::mem::replace(self, Self::new(eviction, capacity, entries))
    }

    /// Everything there is.
    pub(super) fn into_values(self, gone: &mut Vec<V>) {
        match self {
            Self::S3Fifo(mut quick) => gone.extend(quick.drain().map(|(_, value)| value)),
            Self::Listed(mut listed) => gone.extend(std::iter::from_fn(|| listed.list.pop_lru()).map(|(_, value)| value)),
            Self::Random(scattered) => gone.extend(scattered.items.into_iter().map(|(_, value)| value)),
        }
    }

    /// Somebody asks for it.
    #[inline]
    pub(super) fn get(&mut self, key: Hash) -> Option<&V> {
        match self {
            Self::S3Fifo(quick) => quick.get(&key),
            Self::Listed(listed) => listed.get(key),
            Self::Random(scattered) => scattered.peek(key),
        }
    }

    /// Looks, and leaves no trace.
    #[inline]
    pub(super) fn peek(&self, key: Hash) -> Option<&V> {
        match self {
            Self::S3Fifo(quick) => quick.peek(&key),
            Self::Listed(listed) => listed.list.peek(&key),
            Self::Random(scattered) => scattered.peek(key),
        }
    }

    /// Puts it in, in the place of what was there, and hands out that and everything that had to make room.
    /// It must not be heavier than the capacity.
    pub(super) fn insert(&mut self, key: Hash, value: V, gone: &mut Vec<V>) {
        match self {
            Self::S3Fifo(quick) => {
                let mut out = Out(Vec::new());
                quick.insert_with_lifecycle(key, value, &mut out);
                gone.append(&mut out.0);
            }
            Self::Listed(listed) => listed.insert(key, value, gone),
            Self::Random(scattered) => scattered.insert(key, value, gone),
        }
    }

    pub(super) fn remove(&mut self, key: Hash) -> Option<V> {
        match self {
            Self::S3Fifo(quick) => quick.remove(&key).map(|(_, value)| value),
            Self::Listed(listed) => listed.remove(key),
            Self::Random(scattered) => scattered.remove(key),
        }
    }

    pub(super) fn set_capacity(&mut self, capacity: u64, gone: &mut Vec<V>) {
        match self {
            Self::S3Fifo(quick) => {
                // Its own method would drop what has to go, under our lock.
                let mut new = adaptive(capacity, quick.len());
                let mut out = Out(Vec::new());
                for (key, value) in quick.drain() {
                    if value.weight() <= capacity {
                        new.insert_with_lifecycle(key, value, &mut out);
                    } else {
                        out.0.push(value);
                    }
                }
                gone.append(&mut out.0);
                **quick = new;
            }
            Self::Listed(listed) => {
                listed.capacity = capacity;
                listed.shrink(gone);
            }
            Self::Random(scattered) => {
                scattered.capacity = capacity;
                scattered.shrink(None, gone);
            }
        }
    }

    pub(super) fn len(&self) -> usize {
        match self {
            Self::S3Fifo(quick) => quick.len(),
            Self::Listed(listed) => listed.list.len(),
            Self::Random(scattered) => scattered.items.len(),
        }
    }

    pub(super) fn weight(&self) -> u64 {
        match self {
            Self::S3Fifo(quick) => quick.weight(),
            Self::Listed(listed) => listed.weight,
            Self::Random(scattered) => scattered.weight,
        }
    }

    /// The heaviest value that it takes.
    pub(super) fn heaviest(&self) -> u64 {
        match self {
            // It keeps 3 % for what is new, and takes nothing that would not fit in the rest.
            Self::S3Fifo(_) => (self.capacity() - self.capacity() / 32 - 1).max(1),
            _ => self.capacity(),
        }
    }

    pub(super) fn capacity(&self) -> u64 {
        match self {
            Self::S3Fifo(quick) => quick.capacity(),
            Self::Listed(listed) => listed.capacity,
            Self::Random(scattered) => scattered.capacity,
        }
    }
}

// -------------------------------------------------------------------- quick_cache

type Quick<V> = unsync::Cache<Hash, V, ByWeight, Fold, HandOut>;

fn adaptive<V: Weighed>(capacity: u64, entries: usize) -> Quick<V> {
    let mut options = OptionsBuilder::new();
    options.estimated_items_capacity(entries).weight_capacity(capacity);
    match options.build() {
        Ok(options) => Quick::with_options(options, ByWeight, Fold::default(), HandOut),
        // Both of what it needs were given.
        Err(_) => Quick::with(entries, capacity, ByWeight, Fold::default(), HandOut),
    }
}

#[derive(Clone)]
pub(super) struct ByWeight;

impl<V: Weighed> Weighter<Hash, V> for ByWeight {
    #[inline]
    fn weight(&self, _: &Hash, value: &V) -> u64 {
        value.weight()
    }
}

/// Hands out what would be dropped.
#[derive(Clone)]
pub(super) struct HandOut;

pub(super) struct Out<V>(Vec<V>);

impl<V> Default for Out<V> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<V> Lifecycle<Hash, V> for HandOut {
    type RequestState = Out<V>;
    fn on_evict(&self, out: &mut Out<V>, _: Hash, value: V) {
        out.0.push(value);
    }
}

// -------------------------------------------------------------------- LRU and FIFO

pub(super) struct Listed<V> {
    list: LruCache<Hash, V, Fold>,
    by_use: bool,
    weight: u64,
    capacity: u64,
}

impl<V: Weighed> Listed<V> {
    fn new(capacity: u64, by_use: bool) -> Self {
        Self { list: LruCache::unbounded_with_hasher(Fold::default()), by_use, weight: 0, capacity }
    }

    #[inline]
    fn get(&mut self, key: Hash) -> Option<&V> {
        if self.by_use { self.list.get(&key) } else { self.list.peek(&key) }
    }

    fn insert(&mut self, key: Hash, value: V, gone: &mut Vec<V>) {
        let weight = value.weight();
        // First in stays first in, unless it needs more room: then it would have to make room for itself.
        let keeps_place = !self.by_use && self.list.peek(&key).is_some_and(|old| weight <= old.weight());
        let old = match self.list.peek_mut(&key).filter(|_| keeps_place) {
            Some(old) => Some(std::mem::replace(old, value)),
            None => self.list.push(key, value).map(|(_, old)| old),
        };
        self.weight = self.weight - old.as_ref().map_or(0, V::weight) + weight;
        gone.extend(old);
        self.shrink(gone);
    }

    fn shrink(&mut self, gone: &mut Vec<V>) {
        while self.weight > self.capacity {
            let Some((_, value)) = self.list.pop_lru() else { return };
            self.weight -= value.weight();
            gone.push(value);
        }
    }

    fn remove(&mut self, key: Hash) -> Option<V> {
        let value = self.list.pop(&key)?;
        self.weight -= value.weight();
        Some(value)
    }
}

// -------------------------------------------------------------------- random

pub(super) struct Scattered<V> {
    items: Vec<(Hash, V)>,
    places: HashMap<Hash, usize, Fold>,
    weight: u64,
    capacity: u64,
    random: Random,
}

impl<V: Weighed> Scattered<V> {
    fn new(capacity: u64) -> Self {
        Self { items: Vec::new(), places: HashMap::default(), weight: 0, capacity, random: Random::new(None) }
    }

    fn peek(&self, key: Hash) -> Option<&V> {
        self.places.get(&key).and_then(|&at| self.items.get(at)).map(|(_, value)| value)
    }

    fn insert(&mut self, key: Hash, value: V, gone: &mut Vec<V>) {
        self.weight += value.weight();
        if let Some(&at) = self.places.get(&key) {
            let old = std::mem::replace(&mut self.items[at].1, value);
            self.weight -= old.weight();
            gone.push(old);
        } else {
            self.places.insert(key, self.items.len());
            self.items.push((key, value));
        }
        self.shrink(Some(key), gone);
    }

    fn shrink(&mut self, spare: Option<Hash>, gone: &mut Vec<V>) {
        while self.weight > self.capacity && !self.items.is_empty() {
            let len = self.items.len();
            let mut at = usize::try_from(self.random.bits() % len as u64).unwrap_or(0);
            if Some(self.items[at].0) == spare {
                at = (at + 1) % len;
            }
            gone.extend(self.remove(self.items[at].0));
        }
    }

    fn remove(&mut self, key: Hash) -> Option<V> {
        let at = self.places.remove(&key)?;
        let (_, value) = self.items.swap_remove(at);
        if let Some((moved, _)) = self.items.get(at) {
            self.places.insert(*moved, at);
        }
        self.weight -= value.weight();
        Some(value)
    }
}
