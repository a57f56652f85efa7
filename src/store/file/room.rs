//! How full the directory is, and who must go.

use super::disk::Disk;
use super::path::{Identity, failed};
use crate::store::{StoreError, Timestamp};
use crate::sync::{Mutex, lock};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::TryLockError;

/// How far it is emptied once it is full, in tenths: so that the next eviction is a while away.
const LOW_WATER_TENTHS: u64 = 8;
/// One store in so many writes sweeps a folder for what is over.
const SWEEP_EVERY: u64 = 16;

/// The books of this process: right about its own doings, and as of the last count about those of others.
#[derive(Debug)]
pub(super) struct Room {
    max_bytes: u64,
    max_entries: u64,
    books: Mutex<Books>,
    /// Held by whoever makes room.
    broom: Mutex<()>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Books {
    entries: u64,
    bytes: u64,
    /// Since the last count.
    added_entries: u64,
    added_bytes: u64,
    writes: u64,
    next_shard: usize,
}

/// What is to be done after a write.
enum Chore {
    Nothing,
    Sweep(usize),
    Count,
}

impl Room {
    pub(super) fn new(max_bytes: u64, max_entries: u64) -> Self {
        Self { max_bytes, max_entries, books: Mutex::default(), broom: Mutex::default() }
    }

    pub(super) fn now(&self) -> (u64, u64) {
        let books = lock(&self.books);
        (books.entries, books.bytes)
    }

    pub(super) fn added(&self, bytes: u64) {
        let mut books = lock(&self.books);
        books.entries += 1;
        books.bytes += bytes;
        books.added_entries += 1;
        books.added_bytes += bytes;
        books.writes += 1;
    }

    pub(super) fn removed(&self, bytes: u64) {
        let mut books = lock(&self.books);
        books.entries = books.entries.saturating_sub(1);
        books.bytes = books.bytes.saturating_sub(bytes);
    }

    fn counted(&self, entries: u64, bytes: u64) {
        let mut books = lock(&self.books);
        *books = Books { entries, bytes, added_entries: 0, added_bytes: 0, ..*books };
    }

    fn is_full(&self) -> bool {
        let (entries, bytes) = self.now();
        entries > self.max_entries || bytes > self.max_bytes
    }

    fn chore(&self) -> Chore {
        let mut books = lock(&self.books);
        // What others have written in the meantime is unknown; about as much as this process has, say.
        let due = books.added_bytes > (self.max_bytes / 20).max(1 << 20) || books.added_entries > (self.max_entries / 20).max(64);
        if due {
            return Chore::Count;
        }
        if books.writes.is_multiple_of(SWEEP_EVERY) {
            books.next_shard = (books.next_shard + 1) % 256;
            return Chore::Sweep(books.next_shard);
        }
        Chore::Nothing
    }
}

/// One that may have to go.
struct Candidate {
    created_at: Timestamp,
    path: PathBuf,
    identity: Identity,
    len: u64,
}

impl Disk {
    /// Adds up what is there, by the lengths of the files alone.
    pub(super) fn recount(&self) -> Result<(), StoreError> {
        let (mut entries, mut bytes) = (0, 0);
        for shard in self.layout.shards().map_err(|error| failed(&error))? {
            for path in self.layout.files(&shard).map_err(|error| failed(&error))? {
                if let Ok(metadata) = fs::symlink_metadata(&path) {
                    entries += 1;
                    bytes += metadata.len();
                }
            }
        }
        self.room.counted(entries, bytes);
        Ok(())
    }

    /// After a write: makes room if there is too much, and now and then does a little of what must be done some time. `newest` stays.
    pub(super) fn keep_room(&self, newest: &Path) -> Result<(), StoreError> {
        match self.room.chore() {
            Chore::Nothing => {}
            Chore::Sweep(number) => drop(self.sweep_shard(number)), // it was not asked for, so it does not fail
            Chore::Count => self.recount()?,
        }
        if !self.room.is_full() {
            return Ok(());
        }
        let _broom = match self.room.broom.try_lock() {
            Ok(broom) => broom,
            Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner(),
            Err(TryLockError::WouldBlock) => return Ok(()), // somebody is at it
        };
        self.make_room(newest)
    }

    fn make_room(&self, newest: &Path) -> Result<(), StoreError> {
        let (now, mut candidates) = (self.now(), Vec::new());
        let (mut entries, mut bytes) = (0_u64, 0_u64);
        self.each(|path, found| {
            if self.is_over(&found.head, now) {
                return self.expire(path, &found).map(drop);
            }
            entries += 1;
            bytes += found.len;
            if path != newest {
                let (created_at, identity, len) = (found.head.created_at, found.identity, found.len);
                candidates.push(Candidate { created_at, path: path.to_owned(), identity, len });
            }
            Ok(())
        })?;
        self.room.counted(entries, bytes);
        if !self.room.is_full() {
            return Ok(());
        }
        let low = |most: u64| most / 10 * LOW_WATER_TENTHS + most % 10 * LOW_WATER_TENTHS / 10;
        // Each limit only as far as it is one.
        let enough_entries = if entries > self.room.max_entries { low(self.room.max_entries) } else { self.room.max_entries };
        let enough_bytes = if bytes > self.room.max_bytes { low(self.room.max_bytes) } else { self.room.max_bytes };
        candidates.sort_unstable_by_key(|candidate| candidate.created_at);
        for candidate in candidates {
            if entries <= enough_entries && bytes <= enough_bytes {
                break;
            }
            self.counters.evicted.add(u64::from(self.take_away(&candidate.path, Some(candidate.identity))?));
            entries = entries.saturating_sub(1);
            bytes = bytes.saturating_sub(candidate.len);
        }
        Ok(())
    }

    /// Removes all that is over.
    pub(super) fn purge(&self) -> Result<u64, StoreError> {
        let (now, mut purged) = (self.now(), 0);
        self.each(|path, found| {
            if self.is_over(&found.head, now) {
                purged += u64::from(self.expire(path, &found)?);
            }
            Ok(())
        })?;
        Ok(purged)
    }

    fn sweep_shard(&self, number: usize) -> Result<(), StoreError> {
        let now = self.now();
        let shards = self.layout.shards().map_err(|error| failed(&error))?;
        let Some(shard) = shards.get(number % shards.len().max(1)) else { return Ok(()) };
        self.each_in(shard, &mut |path, found| {
            if self.is_over(&found.head, now) {
                self.expire(path, &found)?;
            }
            Ok(())
        })
    }
}
