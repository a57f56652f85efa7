//! The near store, and who may read and write in it when.

use crate::store::backplane::{Changed, Ears, Heard, Peers};
use crate::store::{Glob, Key, SetOptions, Store, StoreError};
use crate::sync::{Mutex, lock};
use bytes::Bytes;
use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::pin::Pin;
use tokio::sync::{Mutex as AsyncMutex, MutexGuard};

/// As many keys as are likely to be written at once never wait for each other.
const STRIPES: usize = 64;

#[derive(Debug)]
pub(super) struct Near<N> {
    pub(super) store: N,
    hasher: RandomState,
    /// The epoch of each stripe, which whoever changes the near store holds.
    stripes: Vec<AsyncMutex<u64>>,
    marks: Mutex<Marks>,
}

/// What is being changed, or whose change was dropped half-way.
#[derive(Debug, Default)]
struct Marks {
    keys: HashMap<Key, Mark>,
    all: Mark,
}

/// How many changes are under way, whether something else has happened meanwhile, and whether one was given up.
#[derive(Clone, Copy, Debug, Default)]
struct Mark {
    under_way: u32,
    crowded: bool,
    given_up: bool,
}

impl Mark {
    fn begin(&mut self) {
        self.crowded |= self.under_way > 0;
        self.under_way += 1;
    }

    /// True if nothing is left to be known of it.
    fn end(&mut self, done: bool) -> bool {
        self.under_way = self.under_way.saturating_sub(1);
        self.given_up |= !done;
        if self.under_way == 0 {
            self.crowded = false;
        }
        self.under_way == 0 && !self.given_up
    }
}

/// A change under way. Dropped before its end, it leaves the mark, and the others are told.
pub(super) struct Change<'a, N> {
    near: &'a Near<N>,
    /// `None`: all of them.
    keys: Option<&'a [Key]>,
    peers: Option<&'a Peers>,
    /// Neither near nor far is it certain what is there.
    dropped: bool,
    done: bool,
}

impl<N> Change<'_, N> {
    /// Far it is done, or not; near it is, if this is no error.
    pub(super) fn done(&mut self, near: &Result<(), StoreError>) {
        self.done = near.is_ok();
        self.dropped = false;
    }
}

impl<N> Drop for Change<'_, N> {
    fn drop(&mut self) {
        {
            let mut marks = lock(&self.near.marks);
            match self.keys {
                None => drop(marks.all.end(self.done)),
                Some(keys) => {
                    for key in keys {
                        if marks.keys.get_mut(key).is_some_and(|mark| mark.end(self.done)) {
                            marks.keys.remove(key);
                        }
                    }
                }
            }
        }
        if let Some(peers) = self.peers.filter(|_| self.dropped) {
            peers.tell_later(self.keys.map_or(Changed::All, |keys| Changed::Keys(keys.to_vec())));
        }
    }
}

impl<N: Store> Near<N> {
    pub(super) fn new(store: N) -> Self {
        let stripes = (0..STRIPES).map(|_| AsyncMutex::new(0)).collect();
        Self { store, hasher: RandomState::new(), stripes, marks: Mutex::default() }
    }

    fn stripe(&self, key: &Key) -> &AsyncMutex<u64> {
        #[expect(clippy::cast_possible_truncation, reason = "any part of a hash is one")]
        let number = self.hasher.hash_one(key) as usize % STRIPES;
        &self.stripes[number]
    }

    /// Every stripe, each in a new epoch. In order, so that two who want all do not wait for each other.
    async fn all_stripes(&self) -> Vec<MutexGuard<'_, u64>> {
        let mut held = Vec::with_capacity(STRIPES);
        for stripe in &self.stripes {
            let mut epoch = stripe.lock().await;
            *epoch += 1;
            held.push(epoch);
        }
        held
    }

    /// To be read before the far store is asked, for [`promote`](Self::promote).
    pub(super) async fn epoch(&self, key: &Key) -> u64 {
        *self.stripe(key).lock().await
    }

    pub(super) fn begin<'a>(&'a self, keys: &'a [Key], peers: Option<&'a Peers>) -> Change<'a, N> {
        let mut marks = lock(&self.marks);
        for key in keys {
            marks.keys.entry(key.clone()).or_default().begin();
        }
        Change { near: self, keys: Some(keys), peers, dropped: true, done: false }
    }

    pub(super) fn begin_all<'a>(&'a self, peers: Option<&'a Peers>) -> Change<'a, N> {
        lock(&self.marks).all.begin();
        Change { near: self, keys: None, peers, dropped: true, done: false }
    }

    /// Whether the near store may be asked for this key. A mark that somebody left is cleaned up first.
    pub(super) async fn may_read(&self, key: &Key) -> bool {
        let (all, one) = {
            let marks = lock(&self.marks);
            (marks.all, marks.keys.get(key).copied().unwrap_or_default())
        };
        if all.under_way > 0 || one.under_way > 0 {
            return false;
        }
        if all.given_up && self.clear().await.is_err() {
            return false;
        }
        if one.given_up && self.forget(key).await.is_err() {
            return false;
        }
        if !all.given_up && !one.given_up {
            return true;
        }
        let mut marks = lock(&self.marks);
        let is_quiet = marks.all.under_way == 0 && marks.keys.get(key).is_none_or(|mark| mark.under_way == 0);
        if is_quiet {
            marks.all.given_up &= !all.given_up;
            if one.given_up {
                marks.keys.remove(key);
            }
        }
        is_quiet
    }

    /// Keeps near what was just stored far.
    pub(super) async fn keep(&self, key: &Key, value: Bytes, options: SetOptions) -> Result<(), StoreError> {
        let mut epoch = self.stripe(key).lock().await;
        *epoch += 1;
        // Of several changes at once, nobody knows which one was the last to reach the far store.
        if lock(&self.marks).keys.get(key).is_some_and(|mark| mark.crowded) {
            self.store.delete(key).await.map(drop)
        } else {
            self.store.set(key, value, options).await.map(drop)
        }
    }

    /// Keeps near what was read far, unless the key has changed since.
    pub(super) async fn promote(&self, key: &Key, value: Bytes, options: SetOptions, epoch: u64) -> Result<(), StoreError> {
        let now = self.stripe(key).lock().await;
        if *now == epoch { self.store.set(key, value, options).await.map(drop) } else { Ok(()) }
    }

    /// Drops what is near, and what is about to be.
    pub(super) async fn forget(&self, key: &Key) -> Result<(), StoreError> {
        let mut epoch = self.stripe(key).lock().await;
        *epoch += 1;
        if let Some(mark) = lock(&self.marks).keys.get_mut(key) {
            mark.crowded |= mark.under_way > 0;
        }
        self.store.delete(key).await.map(drop)
    }

    pub(super) async fn forget_all(&self, keys: &[Key]) -> Result<(), StoreError> {
        for key in keys {
            self.forget(key).await?;
        }
        Ok(())
    }

    pub(super) async fn clear(&self) -> Result<(), StoreError> {
        let _held = self.all_stripes().await;
        self.crowd_all();
        self.store.clear().await.map(drop)
    }

    pub(super) async fn forget_matching(&self, glob: &Glob) -> Result<(), StoreError> {
        let _held = self.all_stripes().await;
        self.crowd_all();
        match self.store.delete_matching(glob).await {
            Ok(_) => Ok(()),
            Err(_) => self.store.clear().await.map(drop),
        }
    }

    /// Whoever is storing far keeps nothing near.
    fn crowd_all(&self) {
        lock(&self.marks).keys.values_mut().for_each(|mark| mark.crowded |= mark.under_way > 0);
    }
}

impl<N: Store> Ears for Near<N> {
    fn hear(&self, heard: Heard) -> Pin<Box<dyn Future<Output = ()> + Send + '_>> {
        Box::pin(async move {
            // What cannot be dropped now is dropped before it is read next: the mark of a change that nobody has finished says so.
            match heard {
                Heard::Notice(notice) => match notice.changed {
                    Changed::Keys(keys) => {
                        let mut change = self.begin(&keys, None);
                        let forgotten = self.forget_all(&keys).await;
                        change.done(&forgotten);
                    }
                    Changed::All => self.drop_all().await,
                },
                Heard::Gap => self.drop_all().await,
            }
        })
    }
}

impl<N: Store> Near<N> {
    async fn drop_all(&self) {
        let mut change = self.begin_all(None);
        let cleared = self.clear().await;
        change.done(&cleared);
    }
}
