//! A table in the order of its names, for the few names that people write: a B-tree's code would cost every build more than it saves
//! any program (three of them were a tenth of this crate's).

use std::sync::Arc;

#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Sorted<V>(Vec<(Arc<str>, V)>);

impl<V> Default for Sorted<V> {
    #[inline]
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<V> Sorted<V> {
    fn place(&self, name: &str) -> Result<usize, usize> {
        self.0.binary_search_by(|(known, _)| (**known).cmp(name))
    }

    pub(crate) fn get(&self, name: &str) -> Option<&V> {
        self.place(name).ok().map(|place| &self.0[place].1)
    }

    /// The later of two of one name counts.
    pub(crate) fn insert(&mut self, name: Arc<str>, value: V) {
        match self.place(&name) {
            Ok(place) => self.0[place].1 = value,
            Err(place) => self.0.insert(place, (name, value)),
        }
    }

    #[inline]
    pub(crate) fn remove(&mut self, name: &str) -> Option<V> {
        self.place(name).ok().map(|place| self.0.remove(place).1)
    }

    #[inline]
    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (&Arc<str>, &V)> {
        self.0.iter().map(|(name, value)| (name, value))
    }
}
