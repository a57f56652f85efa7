//! How fast is a store?

use crate::outcome::Seconds;
use crate::store::{Key, SetOptions, Store, StoreError};
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
        let Self { operations, set, get } = self;
        write!(f, "{operations} sets at {:.0}/s ({} each), ", self.sets_per_second(), each(*set))?;
        write!(f, "{operations} gets at {:.0}/s ({} each)", self.gets_per_second(), each(*get))
    }
}

/// Sets and then gets so many values of 256 bytes, one after the other, on the real clock, and removes them. A first impression, from one caller;
/// build with `--release`.
///
/// # Errors
/// The first one the store has.
pub async fn bench_store(store: &impl Store, operations: u32) -> Result<StoreBench, StoreError> {
    let keys = (0..operations).map(|number| Key::new(format!("steadfast.bench:{number}"))).collect::<Result<Vec<_>, _>>()?;
    let value = Bytes::from(vec![0x5f; 256]);
    let begun = Instant::now();
    for key in &keys {
        store.set(key, value.clone(), SetOptions::new()).await?;
    }
    let set = begun.elapsed();
    let begun = Instant::now();
    for key in &keys {
        store.get(key).await?;
    }
    let get = begun.elapsed();
    store.delete_many(&keys).await?;
    Ok(StoreBench { operations, set, get })
}
