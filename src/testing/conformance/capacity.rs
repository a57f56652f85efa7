//! List C: capacity and accounting.

use super::lab::{Case, Lab, Setup, Stop, ensure, ensure_eq, key, put, value};
use crate::store::{Glob, SetOptions, Store};
use bytes::Bytes;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use std::collections::HashMap;

pub(super) async fn a23(lab: Lab) -> Case {
    let store = lab.store_with(Setup { max_entries: Some(10), ..Setup::default() }).await?;
    let keys = (0..10).map(|number| key(format!("k{number}"))).collect::<Result<Vec<_>, _>>()?;
    for round in 0..3 {
        for k in &keys {
            put(&store, k, format!("{round}")).await?;
        }
    }
    for (number, k) in keys.iter().enumerate() {
        ensure_eq!(value(&store, k).await?, Some(Bytes::from("2")), "key {number} of 10 in a store of 10");
    }
    ensure_eq!(store.stats().evictions(), 0, "evictions");
    Ok(())
}

pub(super) async fn c36(lab: Lab) -> Case {
    let store = lab.store().await?;
    let mut model: HashMap<u32, Bytes> = HashMap::new();
    let mut rng = StdRng::seed_from_u64(36);
    for step in 0..if lab.is_virtual() { 2_000 } else { 400 } {
        let number = rng.random_range(0..20);
        let k = key(format!("k{number}"))?;
        match rng.random_range(0..10) {
            0..=3 => {
                let bytes = Bytes::from(vec![b'v'; rng.random_range(0..2_000)]);
                put(&store, &k, bytes.clone()).await?;
                model.insert(number, bytes);
            }
            4 => {
                let stored = store.set(&k, "first".into(), SetOptions::new().if_absent()).await?;
                if store.capabilities().if_absent {
                    ensure_eq!(stored, !model.contains_key(&number), "step {step}: stored where absent");
                }
                if stored {
                    model.insert(number, "first".into());
                }
            }
            5..=6 => ensure_eq!(store.delete(&k).await?, model.remove(&number).is_some(), "step {step}: deleted"),
            7 => ensure_eq!(store.exists(&k).await?, model.contains_key(&number), "step {step}: exists"),
            _ => ensure!(value(&store, &k).await? == model.get(&number).cloned(), "step {step}: another value than was set"),
        }
        let entries = store.stats().current_entries;
        ensure!(entries.is_none_or(|entries| entries == model.len() as u64), "step {step}: {entries:?} entries instead of {}", model.len());
    }
    if store.capabilities().patterns {
        ensure_eq!(store.keys(&Glob::all()).await?.len(), model.len(), "keys at the end");
        store.clear().await?;
    } else {
        for number in model.keys() {
            store.delete(&key(format!("k{number}"))?).await?;
        }
    }
    let stats = store.stats();
    ensure!(stats.current_entries.is_none_or(|entries| entries == 0), "{:?} entries in an empty store", stats.current_entries);
    if stats.extra("page_count").is_none() {
        ensure!(stats.current_size_bytes.is_none_or(|bytes| bytes == 0), "{:?} bytes in an empty store", stats.current_size_bytes);
    }
    Ok(())
}

pub(super) async fn c37(lab: Lab) -> Case {
    let store = lab.store().await?;
    let k = key("k")?;
    let mut sizes = Vec::new();
    for size in [100_usize, 10, 50_000, 0, 100] {
        put(&store, &k, vec![0; size]).await?;
        let Some(bytes) = store.stats().current_size_bytes else { return Err(Stop::Skipped("it does not know its bytes")) };
        sizes.push(bytes);
    }
    ensure_eq!(sizes[0], sizes[4], "bytes with the same value as at first");
    ensure!(sizes[2] >= sizes[1] + 49_990 && sizes[2] >= sizes[3] + 50_000, "bytes for 100, 10, 50,000, 0, 100: {sizes:?}");
    Ok(())
}

pub(super) async fn c38(lab: Lab) -> Case {
    let store = lab.store_with(Setup { max_size_bytes: Some(20_000), ..Setup::default() }).await?;
    let (k, other) = (key("k")?, key("other")?);
    put(&store, &k, "old").await?;
    put(&store, &other, "other").await?;
    ensure!(!store.set(&k, vec![0; 30_000].into(), SetOptions::new()).await?, "more than the store holds was stored");
    ensure_eq!(value(&store, &k).await?, None, "the old value");
    ensure_eq!(value(&store, &other).await?, Some(Bytes::from("other")), "the other value");
    Ok(())
}

pub(super) async fn c40(lab: Lab) -> Case {
    let store = lab.store_with(Setup { max_entries: Some(1), ..Setup::default() }).await?;
    for number in 0..5 {
        let k = key(format!("k{number}"))?;
        put(&store, &k, "v").await?;
        ensure!(value(&store, &k).await?.is_some(), "the only entry of a store of one is not there");
    }
    store.purge_expired().await?;
    ensure!(value(&store, &key("k3")?).await?.is_none(), "a store of one holds two");
    let stats = store.stats();
    ensure_eq!(stats.evicted_size, 4, "evicted for room");
    Ok(())
}

pub(super) async fn c41(lab: Lab) -> Case {
    let store = lab.store_with(Setup { max_entries: Some(100), ..Setup::default() }).await?;
    for number in 0..1_000 {
        put(&store, &key(format!("k{number}"))?, "v").await?;
        let entries = store.stats().current_entries;
        ensure!(entries.is_none_or(|entries| entries <= 101), "{entries:?} entries where 100 are allowed");
    }
    ensure!(value(&store, &key("k999")?).await?.is_some(), "the newest of 1,000 is not there");
    ensure!(value(&store, &key("k0")?).await?.is_none(), "the oldest of 1,000 is there, in a store of 100");
    Ok(())
}

pub(super) async fn c46(lab: Lab) -> Case {
    let store = lab.store().await?;
    let k = key("k")?;
    put(&store, &k, "v").await?;
    value(&store, &k).await?;
    value(&store, &key("missing")?).await?;
    let before = store.stats();
    ensure_eq!(before.hit_rate(), 0.5, "the hit rate of one hit and one miss");
    store.reset_stats();
    let after = store.stats();
    ensure_eq!((after.hits, after.misses, after.sets, after.deletes, after.evictions()), (0, 0, 0, 0, 0), "counters after a reset");
    ensure_eq!(after.current_entries, before.current_entries, "entries after a reset");
    ensure!(value(&store, &k).await?.is_some(), "the value went with the counters");
    Ok(())
}
