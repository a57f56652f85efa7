//! All keys, a page at a time.

use super::{Glob, Key, Store, StoreError};
use std::fmt;
use std::vec::IntoIter;

/// Where a walk through the keys goes on; what is in it is the store's own business.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Cursor(String);

impl Cursor {
    /// A place, as your store writes it: a number, the last key, the name of a folder.
    #[must_use]
    pub fn new(place: impl Into<String>) -> Self {
        Self(place.into())
    }

    /// As it was written.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Some keys, and where to go on; what [`Store::keys_page`] finds.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct KeysPage {
    /// The keys, in no order. There may be none although more come.
    pub keys: Vec<Key>,
    /// Where to go on; `None` at the end.
    pub next: Option<Cursor>,
}

impl KeysPage {
    /// A page with these keys.
    #[must_use]
    pub const fn new(keys: Vec<Key>, next: Option<Cursor>) -> Self {
        Self { keys, next }
    }
}

/// All keys that match, one after the other; made by [`Store::walk_keys`].
#[must_use = "nothing is looked for until `next`"]
pub struct Walk<'a, S: ?Sized> {
    store: &'a S,
    glob: Glob,
    page: IntoIter<Key>,
    next: Next,
}

enum Next {
    Begin,
    At(Cursor),
    End,
}

impl<'a, S: Store> Walk<'a, S> {
    pub(super) fn new(store: &'a S, glob: Glob) -> Self {
        Self { store, glob, page: Vec::new().into_iter(), next: Next::Begin }
    }

    /// The next key, or `None` at the end. After an error it may be called again, and goes on where it was.
    ///
    /// # Errors
    /// As [`Store::keys_page`].
    ///
    /// # Cancel safety
    /// Dropped half-way, nothing is lost: the same page is looked for again.
    pub async fn next(&mut self) -> Result<Option<Key>, StoreError> {
        loop {
            if let Some(key) = self.page.next() {
                return Ok(Some(key));
            }
            let from = match &self.next {
                Next::Begin => None,
                Next::At(cursor) => Some(cursor),
                Next::End => return Ok(None),
            };
            let KeysPage { keys, next } = self.store.keys_page(&self.glob, from).await?;
            self.page = keys.into_iter();
            self.next = next.map_or(Next::End, Next::At);
        }
    }
}

impl<S: Store> fmt::Debug for Walk<'_, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let at = match &self.next {
            Next::Begin => "the beginning",
            Next::At(cursor) => cursor.as_str(),
            Next::End => "the end",
        };
        f.debug_struct("Walk").field("store", &self.store.name()).field("next_page", &at).finish_non_exhaustive()
    }
}
