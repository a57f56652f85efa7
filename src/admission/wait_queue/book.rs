//! A list of waiters in an order of its own. All lists of a line are of one type: each further kind of B-tree would cost every build more
//! code than the line itself.

use super::line::Index;
use std::collections::BTreeMap;

/// What a list is ordered by: what counts first, and what decides between equals.
pub(super) type Key = (u128, u64);

#[derive(Debug, Default)]
pub(super) struct Book(BTreeMap<Key, Index>);

impl Book {
    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn insert(&mut self, key: Key, index: Index) {
        self.0.insert(key, index);
    }

    pub(super) fn remove(&mut self, key: Key) -> Option<Index> {
        self.0.remove(&key)
    }

    pub(super) fn first(&self) -> Option<(Key, Index)> {
        self.0.first_key_value().map(|(key, index)| (*key, *index))
    }

    pub(super) fn last(&self) -> Option<(Key, Index)> {
        self.0.last_key_value().map(|(key, index)| (*key, *index))
    }

    pub(super) fn indices(&self) -> impl Iterator<Item = Index> {
        self.0.values().copied()
    }
}
