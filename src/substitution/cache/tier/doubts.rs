//! What should be gone from the second tier, and may not be: nothing is read there before it is.

use crate::store::{Key, StoreError};
use crate::sync::atomic::{AtomicBool, Ordering};
use crate::sync::{Mutex, lock};
use std::collections::HashMap;

/// More of them than this at a time, and some are believed after all.
const MOST: usize = 4096;

/// What is to be gone.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum What {
    Key(Key),
    Tag(String),
    All,
}

/// A doubt has a number, so that whoever settles it settles no later one.
#[derive(Default)]
pub(super) struct Doubts {
    any: AtomicBool,
    list: Mutex<List>,
}

#[derive(Default)]
struct List {
    turn: u64,
    doubts: HashMap<What, u64>,
}

impl Doubts {
    pub(super) fn add(&self, what: What) {
        let mut list = lock(&self.list);
        list.turn += 1;
        let turn = list.turn;
        if list.doubts.len() >= MOST && !list.doubts.contains_key(&what) {
            let oldest = list.doubts.iter().filter(|(what, _)| **what != What::All).min_by_key(|(_, turn)| **turn);
            let oldest = oldest.map(|(what, _)| what.clone());
            oldest.and_then(|what| list.doubts.remove(&what));
        }
        list.doubts.insert(what, turn);
        self.any.store(true, Ordering::Release);
    }

    /// The number of a doubt, if there is one.
    pub(super) fn turn(&self, what: &What) -> Option<u64> {
        if self.any.load(Ordering::Acquire) { lock(&self.list).doubts.get(what).copied() } else { None }
    }

    /// Of that number there is none any more.
    pub(super) fn settle(&self, what: &What, turn: Option<u64>) {
        let Some(turn) = turn else { return };
        let mut list = lock(&self.list);
        if list.doubts.get(what) == Some(&turn) {
            list.doubts.remove(what);
        }
        self.any.store(!list.doubts.is_empty(), Ordering::Release);
    }

    /// Those that concern a key.
    pub(super) fn about(&self, key: &Key) -> Vec<(What, u64)> {
        if !self.any.load(Ordering::Acquire) {
            return Vec::new();
        }
        let list = lock(&self.list);
        let concerns = |what: &What| !matches!(what, What::Key(other) if other != key);
        list.doubts.iter().filter(|(what, _)| concerns(what)).map(|(what, turn)| (what.clone(), *turn)).collect()
    }
}

impl What {
    /// Makes it gone.
    pub(super) async fn remove(&self, store: &crate::store::AnyStore) -> Result<u64, StoreError> {
        use crate::store::Store;
        match self {
            Self::Key(key) => store.delete(key).await.map(u64::from),
            Self::Tag(tag) => store.delete_tagged(tag).await,
            Self::All => store.clear().await,
        }
    }
}
