//! The store in a directory: one file a value, whole or not at all, whatever is killed when.
//!
//! For values that should survive the process, or that several processes on one machine share, where no server is at hand. For many small
//! values that change often, [`SqliteStore`](super::SqliteStore) is kinder to the disk.
//!
//! * **Names.** A file is named by the SHA-256 of its key, in one of 256 folders: `ab/cdef….v1`. No key, however odd, reaches the file system.
//! * **Whole.** A value is written to a file of its own under `tmp/`, checksummed, and renamed into place. A reader sees the old one or the new
//!   one. What a killed writer left in `tmp/` is swept when the directory is opened next. With [`durable`](FileStoreBuilder::durable), a
//!   power cut keeps what was stored; without, it may turn the newest values into misses, never into other values.
//! * **Checked.** What is not as it was written is a miss, counted ([`CacheStats::corrupt`]) and traced; it is removed if it once was a record
//!   of this store, and left alone if it is somebody else's file, or of a newer version.
//! * **Private.** Folders are made with 0700, files with 0600. A directory of another user, or that others may write to, is refused. Links
//!   are never followed.
//! * **Bounded.** Above its limit it removes what is over, and then the oldest, down to 80 %. Several processes count together only roughly:
//!   each may be off by 5 % of the limit.
//! * **Never on your worker threads.** All I/O is on tokio's blocking threads, at most 32 of them at once, so a disk that stalls stalls
//!   nobody else.
//!
//! Time is the clock on the wall, as files outlive every other. An entry stamped more than a minute into the future was written by a clock
//! gone wrong, and is over.
//!
//! ```
//! # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! use std::time::Duration;
//! use steadfast::store::{FileStore, Key, SetOptions, Store};
//! # let dir = std::env::temp_dir().join(format!("steadfast-doc-{}", std::process::id()));
//!
//! let store = FileStore::builder(&dir).max_size_bytes(100 << 20).open().await?;
//! let key = Key::new("../../etc/passwd")?; // a key like any other
//! store.set(&key, "v".into(), SetOptions::new().ttl(Duration::from_secs(3_600))).await?;
//! assert_eq!(store.get(&key).await?.map(|entry| entry.value), Some("v".into()));
//! # store.close().await?; std::fs::remove_dir_all(dir)?; Ok(()) }
//! ```

mod disk;
#[cfg(all(test, unix))]
mod faults;
mod path;
#[cfg(all(test, unix))]
mod platter;
mod record;
mod room;
mod seam;
#[cfg(test)]
mod tests;

use super::entry::WallClock;
use super::{CacheStats, Capabilities, Cursor, Entry, Glob, Key, KeysPage, SetOptions, Store, StoreError, StoreErrorKind};
use crate::fault::{ConfigError, check};
use bytes::Bytes;
use disk::Disk;
use seam::Seam;
use std::collections::HashMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Semaphore;

#[cfg(fuzzing)]
#[doc(hidden)]
pub use record::fuzz as fuzz_record;

pub(super) const NAME: &str = "file";
/// Room for a cache of some use on any disk there is.
const DEFAULT_BYTES: u64 = 1 << 30;
/// As many as keep a disk busy; the rest of tokio's 512 blocking threads are for others.
const JOBS: u32 = 32;

/// Settings of a [`FileStore`].
#[derive(Clone, Debug)]
#[must_use = "settings do nothing until `open`"]
pub struct FileStoreBuilder {
    dir: PathBuf,
    max_size_bytes: u64,
    max_entries: Option<u64>,
    max_value_bytes: Option<u64>,
    max_age: Option<Duration>,
    durable: bool,
    clock: WallClock,
    seam: Seam,
}

impl FileStoreBuilder {
    /// How much it holds, in bytes of files. **Default**: 1 GiB.
    pub const fn max_size_bytes(mut self, bytes: u64) -> Self {
        self.max_size_bytes = bytes;
        self
    }

    /// How many files it holds at most. **Default**: as many as fit.
    pub const fn max_entries(mut self, entries: u64) -> Self {
        self.max_entries = Some(entries);
        self
    }

    /// How big one value may be, in bytes; bigger ones are an error. **Default**: as big as fits.
    pub const fn max_value_bytes(mut self, bytes: u64) -> Self {
        self.max_value_bytes = Some(bytes);
        self
    }

    /// How old a value without a time to live may become. Those that have one keep to it. **Default**: any age.
    pub const fn max_age(mut self, age: Duration) -> Self {
        self.max_age = Some(age);
        self
    }

    /// Whether a value that was stored survives a power cut, and one that was deleted stays deleted: the file and its folder are synced before
    /// `set` or `delete` answers, which takes milliseconds. **Default**: false. Without it, a crash of the *process* still loses nothing that `set` has answered for.
    pub const fn durable(mut self, durable: bool) -> Self {
        self.durable = durable;
        self
    }

    /// Makes the directory if need be, sweeps what killed writers left, and counts what is there.
    ///
    /// # Errors
    /// [`InvalidConfig`](StoreErrorKind::InvalidConfig) for a limit of zero, [`Denied`](StoreErrorKind::Denied) for a directory of another user
    /// or one that others may write to, or what the file system says.
    pub async fn open(self) -> Result<FileStore, StoreError> {
        let mut faults = Vec::new();
        check::at_least(&mut faults, "max_size_bytes", self.max_size_bytes, 1);
        check::at_least(&mut faults, "max_entries", self.max_entries.unwrap_or(1), 1);
        check::at_least(&mut faults, "max_value_bytes", self.max_value_bytes.unwrap_or(1), 1);
        check::nonzero(&mut faults, "max_age", self.max_age.unwrap_or(Duration::MAX), "to keep nothing, use no store");
        ConfigError::check("file store", faults)?;
        let disk = blocking(move || Disk::open(self)).await??;
        Ok(FileStore { shared: Arc::new(Shared { disk: Arc::new(disk), jobs: Arc::new(Semaphore::new(JOBS as usize)) }) })
    }
}

/// A store in a directory. Clones share it; so do other processes that open the same directory. See the [module](self) for what it promises.
#[derive(Clone)]
pub struct FileStore {
    shared: Arc<Shared>,
}

struct Shared {
    disk: Arc<Disk>,
    /// Closed with the store.
    jobs: Arc<Semaphore>,
}

/// Runs `work` where blocking is fine. Dropped, it is done all the same, or not begun.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, StoreError> {
    let failed = |detail| StoreError::new(StoreErrorKind::Other).in_store(NAME).with_detail(detail);
    let runtime = tokio::runtime::Handle::try_current().map_err(|_| failed("there is no tokio runtime here"))?;
    runtime.spawn_blocking(work).await.map_err(|error| failed(if error.is_panic() { "it panicked" } else { "the runtime shut down" }))
}

impl FileStore {
    /// A store in `dir`, which is made if it is not there; no temporary directory that everybody shares will do.
    pub fn builder(dir: impl AsRef<Path>) -> FileStoreBuilder {
        FileStoreBuilder {
            dir: dir.as_ref().to_owned(),
            max_size_bytes: DEFAULT_BYTES,
            max_entries: None,
            max_value_bytes: None,
            max_age: None,
            durable: false,
            clock: WallClock::System,
            seam: Seam::Real,
        }
    }

    async fn run<T: Send + 'static>(&self, work: impl FnOnce(&Disk) -> Result<T, StoreError> + Send + 'static) -> Result<T, StoreError> {
        let permit = Arc::clone(&self.shared.jobs).acquire_owned().await.map_err(|_| StoreError::closed(NAME))?;
        let disk = Arc::clone(&self.shared.disk);
        blocking(move || {
            let done = work(&disk);
            drop(permit);
            done
        })
        .await?
        .inspect_err(|_| self.shared.disk.counters.errors.add(1))
    }
}

impl Store for FileStore {
    async fn get(&self, key: &Key) -> Result<Option<Entry>, StoreError> {
        let key = key.clone();
        let found = self.run(move |disk| disk.get(&key)).await?;
        self.shared.disk.counters.got(found.is_some());
        Ok(found)
    }

    async fn set(&self, key: &Key, value: Bytes, options: SetOptions) -> Result<bool, StoreError> {
        let key = key.clone();
        self.run(move |disk| disk.set(&key, &value, options)).await
    }

    async fn delete(&self, key: &Key) -> Result<bool, StoreError> {
        let key = key.clone();
        self.run(move |disk| disk.delete(&key)).await
    }

    async fn clear(&self) -> Result<u64, StoreError> {
        self.run(Disk::clear).await
    }

    fn stats(&self) -> CacheStats {
        self.shared.disk.stats()
    }

    fn name(&self) -> &'static str {
        NAME
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities::ALL
    }

    fn reset_stats(&self) {
        self.shared.disk.counters.reset();
    }

    async fn exists(&self, key: &Key) -> Result<bool, StoreError> {
        let key = key.clone();
        self.run(move |disk| disk.exists(&key)).await
    }

    /// One job for all of them.
    async fn get_many(&self, keys: &[Key]) -> Result<HashMap<Key, Entry>, StoreError> {
        let keys: std::collections::HashSet<Key> = keys.iter().cloned().collect();
        let asked = keys.len();
        let found = self
            .run(move |disk| {
                let mut found = HashMap::new();
                for key in keys {
                    if let Some(entry) = disk.get(&key)? {
                        found.insert(key, entry);
                    }
                }
                Ok(found)
            })
            .await?;
        self.shared.disk.counters.hits.add(found.len() as u64);
        self.shared.disk.counters.misses.add((asked - found.len()) as u64);
        Ok(found)
    }

    async fn set_many(&self, items: &[(Key, Bytes)], options: SetOptions) -> Result<u64, StoreError> {
        let items = items.to_vec();
        self.run(move |disk| {
            let mut stored = 0;
            for (done, (key, value)) in items.iter().enumerate() {
                let set = disk.set(key, value, options.clone());
                stored += u64::from(set.map_err(|error| error.with_completed(done as u64))?);
            }
            Ok(stored)
        })
        .await
    }

    async fn delete_many(&self, keys: &[Key]) -> Result<u64, StoreError> {
        let keys = keys.to_vec();
        self.run(move |disk| {
            let mut deleted = 0;
            for (done, key) in keys.iter().enumerate() {
                deleted += u64::from(disk.delete(key).map_err(|error| error.with_completed(done as u64))?);
            }
            Ok(deleted)
        })
        .await
    }

    /// Reads the head of every file: for now and then.
    async fn keys(&self, glob: &Glob) -> Result<Vec<Key>, StoreError> {
        let glob = glob.clone();
        self.run(move |disk| disk.keys(&glob)).await
    }

    /// One folder of the 256 at a time: reads the head of every file in it.
    async fn keys_page(&self, glob: &Glob, from: Option<&Cursor>) -> Result<KeysPage, StoreError> {
        let (glob, after) = (glob.clone(), from.map_or_else(String::new, |from| from.as_str().to_owned()));
        let (keys, last) = self.run(move |disk| disk.keys_page(&glob, &after)).await?;
        Ok(KeysPage::new(keys, last.map(Cursor::new)))
    }

    /// Reads the head of every file: for now and then.
    async fn delete_matching(&self, glob: &Glob) -> Result<u64, StoreError> {
        let glob = glob.clone();
        self.run(move |disk| disk.delete_where(|head| glob.matches(&head.key))).await
    }

    /// Reads the head of every file: for now and then.
    async fn delete_tagged(&self, tag: &str) -> Result<u64, StoreError> {
        let tag = tag.to_owned();
        self.run(move |disk| disk.delete_where(|head| head.tags.contains(&tag))).await
    }

    async fn purge_expired(&self) -> Result<u64, StoreError> {
        self.run(Disk::purge).await
    }

    async fn probe(&self) -> Result<(), StoreError> {
        self.run(Disk::probe).await
    }

    /// Waits for what is being done.
    async fn close(&self) -> Result<(), StoreError> {
        // An error means that somebody else has closed it meanwhile.
        if let Ok(all) = self.shared.jobs.acquire_many(JOBS).await {
            self.shared.jobs.close();
            drop(all);
        }
        Ok(())
    }
}

impl fmt::Debug for FileStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FileStore").field("disk", &self.shared.disk).field("closed", &self.shared.jobs.is_closed()).finish()
    }
}
