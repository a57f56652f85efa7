//! Places in this process.

use super::{Holder, SemaphoreStore, Taken};
use crate::store::{Key, StoreError};
use crate::sync::{Mutex, lock};
use crate::time::after;
use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

const NAME: &str = "memory";
/// So many keys more than twice those last seen in use, and it is time to look again.
const SPARE: usize = 64;

/// Places of one process, by `tokio::time`: for tests, and where there is but one. Clones share them.
#[derive(Clone, Default)]
pub struct MemorySemaphoreStore {
    /// The places.
    shared: Arc<Mutex<Books>>,
}

#[derive(Default)]
struct Books {
    places: HashMap<Key, Vec<Place>>,
    fence: u64,
    sweep_at: usize,
    closed: bool,
}

#[derive(Clone, Copy)]
struct Place {
    holder: Holder,
    /// `None` for ever.
    until: Option<Instant>,
}

impl MemorySemaphoreStore {
    /// With all places free.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Does something with those who hold a place at `key` now.
    fn with<T>(&self, key: &Key, work: impl FnOnce(&mut Vec<Place>, &mut u64, Instant) -> T) -> Result<T, StoreError> {
        let mut books = lock(&self.shared);
        let books = &mut *books;
        if books.closed {
            return Err(StoreError::closed(NAME));
        }
        let now = Instant::now();
        let live = |place: &Place| place.until.is_none_or(|until| now < until);
        if books.places.len() > books.sweep_at {
            books.places.retain(|_, places| places.iter().any(live));
            books.sweep_at = 2 * books.places.len() + SPARE;
        }
        let mut places = books.places.remove(key).unwrap_or_default();
        places.retain(live);
        let done = work(&mut places, &mut books.fence, now);
        if !places.is_empty() {
            books.places.insert(key.clone(), places);
        }
        Ok(done)
    }
}

impl SemaphoreStore for MemorySemaphoreStore {
    async fn take(&self, key: &Key, holder: Holder, max: u32, ttl: Duration) -> Result<Taken, StoreError> {
        self.with(key, |places, fence, now| {
            places.retain(|place| place.holder != holder);
            if places.len() >= max as usize {
                let first = places.iter().map(|place| place.until).min_by_key(|until| (until.is_none(), *until)).flatten();
                return Taken::Full { retry_after: first.map(|until| until - now) };
            }
            *fence += 1;
            places.push(Place { holder, until: after(now, ttl) });
            Taken::Held { fence: *fence }
        })
    }

    async fn renew(&self, key: &Key, holder: Holder, ttl: Duration) -> Result<bool, StoreError> {
        self.with(key, |places, _, now| {
            let mine = places.iter_mut().find(|place| place.holder == holder);
            mine.map(|place| place.until = after(now, ttl)).is_some()
        })
    }

    async fn release(&self, key: &Key, holder: Holder) -> Result<bool, StoreError> {
        self.with(key, |places, _, _| {
            let before = places.len();
            places.retain(|place| place.holder != holder);
            places.len() < before
        })
    }

    async fn holders(&self, key: &Key) -> Result<u32, StoreError> {
        self.with(key, |places, _, _| u32::try_from(places.len()).unwrap_or(u32::MAX))
    }

    fn name(&self) -> &'static str {
        NAME
    }

    async fn close(&self) -> Result<(), StoreError> {
        let mut books = lock(&self.shared);
        books.closed = true;
        books.places = HashMap::new();
        Ok(())
    }
}

impl fmt::Debug for MemorySemaphoreStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MemorySemaphoreStore").field("keys", &lock(&self.shared).places.len()).finish_non_exhaustive()
    }
}
