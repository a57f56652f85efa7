//! How fast is a store?

use crate::outcome::Seconds;
use crate::store::{CacheStats, Key, SetOptions, Store, StoreError};
use bytes::Bytes;
use std::fmt;
use std::time::{Duration, Instant};

/// What [`bench_store`] measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct StoreBench {
    /// How many of each operation.
    pub operations: u32,
    /// How long the sets took together.
    pub set: Duration,
    /// How long the gets took together.
    pub get: Duration,
    /// How many bytes each value had.
    pub value_bytes: u32,
    /// How many bytes each entry takes, its key and all that belongs to it, as far as the store knows.
    pub entry_bytes: Option<u64>,
}

impl StoreBench {
    /// Sets a second, one after the other.
    #[must_use]
    pub fn sets_per_second(&self) -> f64 {
        f64::from(self.operations) / self.set.as_secs_f64().max(1e-9)
    }

    /// Gets a second, one after the other.
    #[must_use]
    pub fn gets_per_second(&self) -> f64 {
        f64::from(self.operations) / self.get.as_secs_f64().max(1e-9)
    }
}

impl fmt::Display for StoreBench {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let each = |total: Duration| Seconds(total.checked_div(self.operations).unwrap_or_default());
        let Self { operations, set, get, value_bytes, .. } = self;
        write!(f, "{operations} sets at {:.0}/s ({} each), ", self.sets_per_second(), each(*set))?;
        write!(f, "{operations} gets at {:.0}/s ({} each)", self.gets_per_second(), each(*get))?;
        self.entry_bytes.map_or(Ok(()), |entry| write!(f, ", {entry} bytes for each value of {value_bytes}"))
    }
}

const VALUE: u32 = 256;

/// How many bytes each new entry took.
fn grown(before: &CacheStats, after: &CacheStats) -> Option<u64> {
    let entries = after.current_entries?.checked_sub(before.current_entries?)?;
    after.current_size_bytes?.checked_sub(before.current_size_bytes?)?.checked_div(entries)
}

/// Sets and then gets so many values of 256 bytes, one after the other, on the real clock, and removes them. A first impression, from one caller;
/// build with `--release`.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), steadfast::store::StoreError> {
/// use steadfast::{store::MemoryStore, testing::bench_store};
/// let measured = bench_store(&MemoryStore::new(), 1_000).await?;
/// println!("{measured}"); // 1000 sets at 1102913/s (906 ns each), 1000 gets at ..
/// assert!(measured.entry_bytes.is_some_and(|bytes| bytes > 256));
/// # Ok(()) }
/// ```
///
/// # Errors
/// The first one the store has.
pub async fn bench_store(store: &impl Store, operations: u32) -> Result<StoreBench, StoreError> {
    let keys = (0..operations).map(|number| Key::new(format!("steadfast.bench:{number}"))).collect::<Result<Vec<_>, _>>()?;
    let value = Bytes::from(vec![0x5f; VALUE as usize]);
    let before = store.stats();
    let begun = Instant::now();
    for key in &keys {
        store.set(key, value.clone(), SetOptions::new()).await?;
    }
    let set = begun.elapsed();
    let entry_bytes = grown(&before, &store.stats());
    let begun = Instant::now();
    for key in &keys {
        store.get(key).await?;
    }
    let get = begun.elapsed();
    store.delete_many(&keys).await?;
    Ok(StoreBench { operations, set, get, value_bytes: VALUE, entry_bytes })
}
