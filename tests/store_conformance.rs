//! The stores of this crate pass the suite that yours may run.
#![cfg(all(feature = "store", feature = "testing"))]
#![expect(clippy::unwrap_used, reason = "a test may panic")]

use bytes::Bytes;
use std::sync::Mutex;
use std::time::Duration;
use steadfast::Pipeline;
use steadfast::store::{CacheStats, Capabilities, Entry, Glob, Key, MemoryStore, SetOptions, Store, StoreError, StoreErrorKind, Ttl};
use steadfast::testing::conformance::{self, CaseEnd, Setup, Time};

fn memory(setup: Setup) -> MemoryStore {
    let mut builder = MemoryStore::builder();
    if let Some(entries) = setup.max_entries {
        builder = builder.max_entries(entries);
    }
    if let Some(bytes) = setup.max_size_bytes {
        builder = builder.max_size_bytes(bytes);
    }
    if let Some(bytes) = setup.max_value_bytes {
        builder = builder.max_value_bytes(bytes);
    }
    builder.build().unwrap()
}

#[tokio::test(start_paused = true)]
async fn the_memory_store_conforms() {
    let findings = conformance::stores(|setup| async move { Some(memory(setup)) }).time(Time::Virtual).run().await;
    findings.assert();
    assert_eq!(findings.skipped(), Vec::<&str>::new());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_memory_store_conforms_on_many_threads() {
    conformance::stores(|setup| async move { Some(memory(setup)) }).run().await.assert();
}

#[tokio::test(start_paused = true)]
async fn wrappers_conform() {
    let pipeline = Pipeline::builder("store").total_timeout(Duration::from_secs(5)).build().unwrap();
    let make = move |setup: Setup| {
        let pipeline = pipeline.clone();
        async move { Some(memory(setup).guarded(pipeline).observed(|_: &steadfast::store::StoreEvent| {}).namespace("ns")) }
    };
    // Closing and gauges pass through; a namespace clears by pattern.
    conformance::stores(make).time(Time::Virtual).run().await.assert();
}

/// Five methods and nothing else.
struct Five(MemoryStore);

impl Store for Five {
    async fn get(&self, key: &Key) -> Result<Option<Entry>, StoreError> {
        self.0.get(key).await
    }
    async fn set(&self, key: &Key, value: Bytes, options: SetOptions) -> Result<bool, StoreError> {
        self.0.set(key, value, options).await
    }
    async fn delete(&self, key: &Key) -> Result<bool, StoreError> {
        self.0.delete(key).await
    }
    async fn clear(&self) -> Result<u64, StoreError> {
        self.0.clear().await
    }
    fn stats(&self) -> CacheStats {
        self.0.stats()
    }
}

#[tokio::test(start_paused = true)]
async fn the_suite_says_what_five_methods_lack() {
    let findings = conformance::stores(|setup| async move { Some(Five(memory(setup))) }).time(Time::Virtual).run().await;
    // What the provided `exists`, `reset_stats` and `close` cannot do for a store that has none; the rest passes or is skipped.
    let failed: Vec<_> = findings.cases().filter(|(.., end)| matches!(end, CaseEnd::Failed(_))).map(|(number, ..)| number).collect();
    assert_eq!(failed, ["A8", "C46", "H90"], "{findings}");
    assert_eq!(findings.skipped(), ["A19", "A20", "A24", "F64", "F64a", "F65", "F65a", "H95"], "{findings}");
}

/// A store with one thing wrong, each of which the suite must find.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Wrong {
    EmptyIsMissing,
    ZeroIsForEver,
    AbsenceIsAnError,
    DeleteSaysYes,
    IgnoresCase,
    ForgetsMetadata,
    KeepsOldTtl,
    CutsKeys,
    CutsValues,
    EverybodyWins,
    ExistsCounts,
    AliveAtItsEnd,
    ClearTellsNothing,
    KeysOfTheDead,
    LiesAboutEntries,
    OpenForEver,
    PanicsOnLongTtl,
    ProbeStays,
}

struct Bad(MemoryStore, Wrong, Mutex<Vec<Key>>);

impl Bad {
    fn key(&self, key: &Key) -> Key {
        match self.1 {
            Wrong::IgnoresCase => Key::new(key.as_str().to_lowercase()).unwrap(),
            Wrong::CutsKeys => Key::new(key.as_str().chars().take(100).collect::<String>()).unwrap(),
            _ => key.clone(),
        }
    }
}

impl Store for Bad {
    async fn get(&self, key: &Key) -> Result<Option<Entry>, StoreError> {
        let found = self.0.get(&self.key(key)).await?;
        match self.1 {
            Wrong::EmptyIsMissing => Ok(found.filter(|entry| !entry.value.is_empty())),
            Wrong::AbsenceIsAnError if found.is_none() => Err(StoreError::new(StoreErrorKind::Other)),
            Wrong::ForgetsMetadata => Ok(found.map(|entry| entry.with_metadata(None))),
            _ => Ok(found),
        }
    }
    async fn set(&self, key: &Key, mut value: Bytes, mut options: SetOptions) -> Result<bool, StoreError> {
        match self.1 {
            Wrong::ZeroIsForEver if options.ttl.is_zero() => options.ttl = Ttl::Never,
            Wrong::CutsValues => value.truncate(10_000),
            Wrong::EverybodyWins => options.if_absent = false,
            Wrong::AliveAtItsEnd => {
                if let Ttl::After(ttl) = options.ttl {
                    options.ttl = Ttl::After(ttl.saturating_add(Duration::from_millis(1)));
                }
            }
            Wrong::PanicsOnLongTtl => {
                if let Ttl::After(ttl) = options.ttl {
                    let _ = std::time::SystemTime::now() + ttl;
                }
            }
            Wrong::KeepsOldTtl => {
                let old = self.0.get(key).await?.map(|entry| entry.ttl());
                if let (Some(old @ Ttl::After(_)), Ttl::Never) = (old, options.ttl) {
                    options.ttl = old;
                }
            }
            _ => {}
        }
        self.2.lock().unwrap().push(key.clone());
        self.0.set(&self.key(key), value, options).await
    }
    async fn delete(&self, key: &Key) -> Result<bool, StoreError> {
        Ok(self.0.delete(&self.key(key)).await? || self.1 == Wrong::DeleteSaysYes)
    }
    async fn clear(&self) -> Result<u64, StoreError> {
        let cleared = self.0.clear().await?;
        Ok(if self.1 == Wrong::ClearTellsNothing { 0 } else { cleared })
    }
    fn stats(&self) -> CacheStats {
        let mut stats = self.0.stats();
        if self.1 == Wrong::LiesAboutEntries {
            stats.current_entries = Some(self.2.lock().unwrap().len() as u64);
        }
        stats
    }
    fn reset_stats(&self) {
        self.0.reset_stats();
    }
    fn capabilities(&self) -> Capabilities {
        self.0.capabilities()
    }
    async fn exists(&self, key: &Key) -> Result<bool, StoreError> {
        if self.1 == Wrong::ExistsCounts {
            return Ok(self.0.get(key).await?.is_some());
        }
        self.0.exists(&self.key(key)).await
    }
    async fn keys(&self, glob: &Glob) -> Result<Vec<Key>, StoreError> {
        if self.1 == Wrong::KeysOfTheDead {
            return Ok(self.2.lock().unwrap().iter().filter(|key| glob.matches(key)).cloned().collect());
        }
        self.0.keys(glob).await
    }
    async fn delete_matching(&self, glob: &Glob) -> Result<u64, StoreError> {
        self.0.delete_matching(glob).await
    }
    async fn delete_tagged(&self, tag: &str) -> Result<u64, StoreError> {
        self.0.delete_tagged(tag).await
    }
    async fn probe(&self) -> Result<(), StoreError> {
        if self.1 == Wrong::ProbeStays {
            self.0.set(&Key::new("probe")?, "v".into(), SetOptions::new()).await?;
        }
        self.0.probe().await
    }
    async fn close(&self) -> Result<(), StoreError> {
        if self.1 == Wrong::OpenForEver { Ok(()) } else { self.0.close().await }
    }
}

#[tokio::test(start_paused = true)]
async fn the_suite_finds_what_is_wrong() {
    for (wrong, found_by) in [
        (Wrong::EmptyIsMissing, "A9"),
        (Wrong::ZeroIsForEver, "B26"),
        (Wrong::AbsenceIsAnError, "A1"),
        (Wrong::DeleteSaysYes, "A5"),
        (Wrong::IgnoresCase, "A15"),
        (Wrong::ForgetsMetadata, "A2"),
        (Wrong::KeepsOldTtl, "A7"),
        (Wrong::CutsKeys, "A12"),
        (Wrong::CutsValues, "A10"),
        (Wrong::EverybodyWins, "A24"),
        (Wrong::ExistsCounts, "A8"),
        (Wrong::AliveAtItsEnd, "B29"),
        (Wrong::ClearTellsNothing, "A20"),
        (Wrong::KeysOfTheDead, "B29"),
        (Wrong::LiesAboutEntries, "C36"),
        (Wrong::OpenForEver, "H90"),
        (Wrong::PanicsOnLongTtl, "B27"),
        (Wrong::ProbeStays, "H95"),
    ] {
        let suite = conformance::stores(move |setup| async move { Some(Bad(memory(setup), wrong, Mutex::default())) });
        let findings = suite.time(Time::Virtual).only(found_by).run().await;
        assert_eq!(findings.failed(), 1, "{wrong:?} was not found by {found_by}: {findings}");
        assert!(findings.to_string().contains(&format!("FAILED {found_by} ")), "{findings}");
    }
}
