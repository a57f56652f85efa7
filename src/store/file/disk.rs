//! What the store does on the disk; all of it blocks.

use super::path::{Identity, Layout, failed, open};
use super::record::{self, Bad, HEAD, Head, Lengths};
use super::room::Room;
use super::seam::Step;
use super::{FileStoreBuilder, NAME};
use crate::store::entry::is_over;
use crate::store::stats::Counters;
use crate::store::traits::probed;
use crate::store::{CacheStats, Entry, Glob, Key, SetOptions, StoreError, StoreErrorKind, Timestamp, Ttl};
use crate::sync::{Mutex, lock};
use bytes::Bytes;
use std::fmt;
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

pub(super) struct Disk {
    pub(super) layout: Layout,
    pub(super) settings: FileStoreBuilder,
    pub(super) counters: Counters,
    pub(super) room: Room,
    /// Held while a value takes the place of another, so that both are counted right. One for each first digit of a name.
    turns: [Mutex<()>; 16],
}

/// A record that was opened: its head, and what is needed for the rest.
pub(super) struct Found {
    file: File,
    pub(super) head: Head,
    pub(super) identity: Identity,
    pub(super) len: u64,
    lengths: Lengths,
    /// As read so far: the head.
    bytes: Vec<u8>,
}

impl Disk {
    pub(super) fn open(settings: FileStoreBuilder) -> Result<Self, StoreError> {
        let layout = Layout::open(&settings.dir, settings.durable, settings.seam.clone())?;
        let room = Room::new(settings.max_size_bytes, settings.max_entries.unwrap_or(u64::MAX));
        let disk = Self { layout, settings, counters: Counters::default(), room, turns: Default::default() };
        disk.recount()?;
        Ok(disk)
    }

    pub(super) fn now(&self) -> Timestamp {
        self.settings.clock.now()
    }

    pub(super) fn is_over(&self, head: &Head, now: Timestamp) -> bool {
        let aged = || self.settings.max_age.and_then(|age| head.created_at.after(age)).is_some_and(|end| now >= end);
        is_over(head.created_at, head.expires_at, now) || (head.expires_at.is_none() && aged())
    }

    /// Opens what is at `path` and reads its head. What is there but no record is `None` as well, after it was dealt with.
    pub(super) fn look(&self, path: &Path) -> Result<Option<Found>, StoreError> {
        let (mut file, metadata) = match self.layout.seam.step(Step::Open, || open(path)) {
            Ok(opened) => opened,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) if is_no_file(&error) => {
                self.note_corrupt(Bad::Foreign);
                return Ok(None);
            }
            Err(error) => return Err(failed(&error)),
        };
        let (identity, len) = (Identity::of(&metadata), metadata.len());
        let read = |file: &mut File| -> Result<(Vec<u8>, Lengths, Head), Trouble> {
            if !metadata.is_file() {
                return Err(Bad::Foreign.into());
            }
            let mut bytes = vec![0; HEAD.min(usize::try_from(len).unwrap_or(HEAD))];
            file.read_exact(&mut bytes)?;
            let lengths = record::lengths(&bytes, len)?;
            bytes.resize(HEAD + lengths.words(), 0);
            file.read_exact(&mut bytes[HEAD..])?;
            let head = record::head(&bytes, lengths)?;
            Ok((bytes, lengths, head))
        };
        match read(&mut file) {
            Ok((bytes, lengths, head)) => Ok(Some(Found { file, head, identity, len, lengths, bytes })),
            Err(trouble) => self.deal_with(trouble, path, identity).map(|()| None),
        }
    }

    /// What could not be read as a record: removed if it was one of ours. An error only where the disk has one.
    fn deal_with(&self, trouble: Trouble, path: &Path, identity: Identity) -> Result<(), StoreError> {
        match trouble {
            Trouble::Io(error) => Err(failed(&error)),
            Trouble::Bad(bad) => {
                self.note_corrupt(bad);
                if bad == Bad::Corrupt {
                    let _ = self.take_away(path, Some(identity)); // a miss as it is
                }
                Ok(())
            }
        }
    }

    fn note_corrupt(&self, bad: Bad) {
        self.counters.corrupt.add(1);
        let what = match bad {
            Bad::Foreign => "not a record of this store, left alone",
            Bad::Newer => "written by a newer version, left alone",
            Bad::Corrupt => "not as it was written, removed",
        };
        tracing::warn!(name: "steadfast.store_corrupt", target: "steadfast::store", store = NAME, what, "an entry cannot be read: a miss");
    }

    /// What is under a key, live or over; its folder, its name and its head say so.
    fn look_up(&self, key: &Key, path: &Path) -> Result<Option<Found>, StoreError> {
        // Another key in its place: a file that somebody copied there.
        Ok(self.look(path)?.filter(|found| found.head.key == *key))
    }

    /// The same; what is over is removed.
    fn look_up_live(&self, key: &Key, path: &Path, now: Timestamp) -> Result<Option<Found>, StoreError> {
        let Some(found) = self.look_up(key, path)? else { return Ok(None) };
        if self.is_over(&found.head, now) {
            self.expire(path, &found)?;
            return Ok(None);
        }
        Ok(Some(found))
    }

    pub(super) fn expire(&self, path: &Path, found: &Found) -> Result<bool, StoreError> {
        let removed = self.take_away(path, Some(found.identity))?;
        self.counters.expired.add(u64::from(removed));
        Ok(removed)
    }

    /// Removes what is there, if it is what was looked at, and strikes it off the books.
    pub(super) fn take_away(&self, path: &Path, identity: Option<Identity>) -> Result<bool, StoreError> {
        let _turn = lock(&self.turns[turn_of(path)]);
        let removed = self.layout.remove(path, identity).map_err(|error| failed(&error))?;
        removed.inspect(|len| self.room.removed(*len));
        Ok(removed.is_some())
    }

    pub(super) fn get(&self, key: &Key) -> Result<Option<Entry>, StoreError> {
        let (path, now) = (self.layout.path(key), self.now());
        let Some(mut found) = self.look_up_live(key, &path, now)? else { return Ok(None) };
        let begins = found.bytes.len();
        let Ok(size) = usize::try_from(found.lengths.value()) else { return Ok(None) };
        let mut bytes = found.bytes;
        bytes.resize(begins + size, 0);
        let read = found.file.read_exact(&mut bytes[begins..]).map_err(Trouble::from);
        match read.and_then(|()| Ok(record::value(&bytes, found.lengths)?)) {
            Ok(range) => {
                let Head { created_at, expires_at, metadata, .. } = found.head;
                let entry = Entry::new(Bytes::from(bytes).slice(range), Ttl::Never, now);
                Ok(Some(entry.with_created_at(created_at).with_expires_at(expires_at).with_metadata(metadata)))
            }
            Err(trouble) => self.deal_with(trouble, &path, found.identity).map(|()| None),
        }
    }

    pub(super) fn exists(&self, key: &Key) -> Result<bool, StoreError> {
        Ok(self.look_up_live(key, &self.layout.path(key), self.now())?.is_some())
    }

    pub(super) fn set(&self, key: &Key, value: &Bytes, options: SetOptions) -> Result<bool, StoreError> {
        if let Some(most) = self.settings.max_value_bytes
            && value.len() as u64 > most
        {
            return Err(StoreError::too_large(NAME, value.len(), most));
        }
        let (path, now) = (self.layout.path(key), self.now());
        let SetOptions { ttl, metadata, tags, if_absent } = options;
        if if_absent && self.look_up_live(key, &path, now)?.is_some() {
            return Ok(false);
        }
        let head = Head { key: key.clone(), created_at: now, expires_at: ttl.expires_at(now), metadata, tags };
        let before = record::encode(&head, value);
        let len = before.len() as u64 + value.len() as u64;
        if ttl.is_zero() || len > self.settings.max_size_bytes {
            if !if_absent {
                self.forget(&path)?;
            }
            return Ok(false);
        }
        let stored = self.write(&path, &before, value, if_absent, now)?;
        if stored {
            self.counters.sets.add(1);
            self.keep_room(&path)?;
        }
        Ok(stored)
    }

    /// Removes what is there, whatever it is.
    fn forget(&self, path: &Path) -> Result<(), StoreError> {
        if self.look(path)?.is_some() {
            self.take_away(path, None)?;
            self.settle(path)?;
        }
        Ok(())
    }

    /// What has become of this name is to stay so, if the store is durable.
    fn settle(&self, path: &Path) -> Result<(), StoreError> {
        self.layout.settle(path).map_err(|error| failed(&error))
    }

    fn write(&self, path: &Path, before: &[u8], value: &[u8], if_absent: bool, now: Timestamp) -> Result<bool, StoreError> {
        let work = || -> io::Result<super::path::Temporary> {
            let mut temp = self.layout.temporary()?;
            temp.write(before)?;
            temp.write(value)?;
            if self.settings.durable {
                temp.sync()?;
            }
            Ok(temp)
        };
        let temp = work().map_err(|error| failed(&error))?;
        let len = (before.len() + value.len()) as u64;
        if if_absent {
            if !self.link(&temp, path, len, now)? {
                return Ok(false);
            }
        } else {
            let _turn = lock(&self.turns[turn_of(path)]);
            let old = std::fs::symlink_metadata(path).ok().map(|old| old.len());
            self.layout.publish(&temp, path).map_err(|error| failed(&error))?;
            if let Some(old) = old {
                self.room.removed(old);
            }
            self.room.added(len);
        }
        self.settle(path)?;
        Ok(true)
    }

    /// Links it into place where nothing live is. Of many who try, in any process, one does it.
    fn link(&self, temp: &super::path::Temporary, path: &Path, len: u64, now: Timestamp) -> Result<bool, StoreError> {
        // Each time round somebody else has put something there that is over; that does not go on.
        for _ in 0..16 {
            let turn = lock(&self.turns[turn_of(path)]);
            match self.layout.publish_new(temp, path) {
                Ok(()) => {
                    self.room.added(len);
                    return Ok(true);
                }
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                Err(error) => return Err(failed(&error)),
            }
            drop(turn);
            match self.look(path)? {
                Some(found) if !self.is_over(&found.head, now) => return Ok(false),
                Some(found) => drop(self.expire(path, &found)?),
                // Gone by now, or a file of somebody else's that is in the way.
                None => drop(self.take_away(path, None)?),
            }
        }
        Err(StoreError::new(StoreErrorKind::Busy).in_store(NAME).with_detail("others kept storing under this key"))
    }

    pub(super) fn delete(&self, key: &Key) -> Result<bool, StoreError> {
        let (path, now) = (self.layout.path(key), self.now());
        // Until what was looked at is what was removed: somebody may be storing meanwhile.
        for _ in 0..16 {
            let Some(found) = self.look_up_live(key, &path, now)? else { return Ok(false) };
            if self.take_away(&path, Some(found.identity))? {
                self.counters.deletes.add(1);
                self.settle(&path)?;
                return Ok(true);
            }
        }
        Err(StoreError::new(StoreErrorKind::Busy).in_store(NAME).with_detail("others kept storing under this key"))
    }

    /// Every record, with its path.
    pub(super) fn each(&self, mut visit: impl FnMut(&Path, Found) -> Result<(), StoreError>) -> Result<(), StoreError> {
        for shard in self.layout.shards().map_err(|error| failed(&error))? {
            self.each_in(&shard, &mut visit)?;
        }
        Ok(())
    }

    pub(super) fn each_in(&self, shard: &Path, visit: &mut impl FnMut(&Path, Found) -> Result<(), StoreError>) -> Result<(), StoreError> {
        for path in self.layout.files(shard).map_err(|error| failed(&error))? {
            if let Some(found) = self.look(&path)? {
                visit(&path, found)?;
            }
        }
        Ok(())
    }

    pub(super) fn keys(&self, glob: &Glob) -> Result<Vec<Key>, StoreError> {
        let (now, mut keys) = (self.now(), Vec::new());
        self.each(|_, found| {
            if glob.matches(&found.head.key) && !self.is_over(&found.head, now) {
                keys.push(found.head.key);
            }
            Ok(())
        })?;
        Ok(keys)
    }

    /// The keys of the first folder after this one, and its name if more may come.
    pub(super) fn keys_page(&self, glob: &Glob, after: &str) -> Result<(Vec<Key>, Option<String>), StoreError> {
        let mut names = self.layout.shards().map_err(|error| failed(&error))?;
        names.retain(|shard| shard_name(shard) > after);
        let Some(shard) = names.iter().min() else { return Ok((Vec::new(), None)) };
        let (now, mut keys) = (self.now(), Vec::new());
        self.each_in(shard, &mut |_, found| {
            if glob.matches(&found.head.key) && !self.is_over(&found.head, now) {
                keys.push(found.head.key);
            }
            Ok(())
        })?;
        Ok((keys, (names.len() > 1).then(|| shard_name(shard).to_owned())))
    }

    pub(super) fn delete_where(&self, which: impl Fn(&Head) -> bool) -> Result<u64, StoreError> {
        let (now, mut deleted, mut unsettled) = (self.now(), 0, None);
        self.each(|path, found| {
            if !which(&found.head) {
                return Ok(());
            }
            if self.is_over(&found.head, now) {
                return self.expire(path, &found).map(drop);
            }
            deleted += u64::from(self.take_away(path, Some(found.identity))?);
            // One sync for all that were removed from a folder.
            if unsettled.as_ref().is_some_and(|last: &PathBuf| last.parent() != path.parent()) {
                unsettled.take().map_or(Ok(()), |last| self.settle(&last))?;
            }
            unsettled = Some(path.to_owned());
            Ok(())
        })?;
        unsettled.map_or(Ok(()), |last| self.settle(&last))?;
        self.counters.deletes.add(deleted);
        Ok(deleted)
    }

    pub(super) fn clear(&self) -> Result<u64, StoreError> {
        let deleted = self.delete_where(|_| true)?;
        self.recount()?;
        Ok(deleted)
    }

    /// Writes, reads and removes a file that is no entry.
    pub(super) fn probe(&self) -> Result<(), StoreError> {
        let wrote = Bytes::from(format!("{:016x}", rand::random::<u64>()));
        let round = || -> io::Result<Vec<u8>> {
            let mut temp = self.layout.temporary()?;
            temp.write(&wrote)?;
            let mut read = Vec::new();
            open(temp.path())?.0.read_to_end(&mut read)?;
            Ok(read)
        };
        let read = round().map_err(|error| failed(&error))?;
        probed(NAME, &wrote, Some(read.into()))
    }

    pub(super) fn stats(&self) -> CacheStats {
        let (entries, bytes) = self.room.now();
        CacheStats {
            current_entries: Some(entries),
            current_size_bytes: Some(bytes),
            max_entries: self.settings.max_entries,
            max_size_bytes: Some(self.settings.max_size_bytes),
            ..self.counters.snapshot()
        }
    }
}

impl fmt::Debug for Disk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Disk").field("dir", &self.settings.dir).field("room", &self.room).finish_non_exhaustive()
    }
}

enum Trouble {
    Io(io::Error),
    Bad(Bad),
}

impl From<io::Error> for Trouble {
    fn from(error: io::Error) -> Self {
        // Shorter than its own length said a moment ago: cut off meanwhile.
        if error.kind() == io::ErrorKind::UnexpectedEof { Self::Bad(Bad::Corrupt) } else { Self::Io(error) }
    }
}

impl From<Bad> for Trouble {
    fn from(bad: Bad) -> Self {
        Self::Bad(bad)
    }
}

/// Two digits.
fn shard_name(shard: &Path) -> &str {
    shard.file_name().and_then(|name| name.to_str()).unwrap_or_default()
}

/// Names are hashes, so any of their digits is as good as another.
fn turn_of(path: &Path) -> usize {
    let digit = path.file_name().and_then(|name| name.as_encoded_bytes().first().copied()).unwrap_or_default();
    char::from(digit).to_digit(16).unwrap_or(0) as usize
}

/// Whether a link was there, which is never followed, or a socket, which cannot be opened.
fn is_no_file(error: &io::Error) -> bool {
    #[cfg(unix)]
    return matches!(error.raw_os_error(), Some(libc::ELOOP | libc::EMLINK | libc::ENXIO));
    #[cfg(not(unix))]
    false
}
