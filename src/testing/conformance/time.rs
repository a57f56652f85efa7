//! List B: time.

use super::lab::{Case, Lab, Stop, ensure, ensure_eq, key, put, value};
use crate::store::{AnyStore, Glob, Key, SetOptions, Store, Ttl};
use bytes::Bytes;
use std::time::Duration;

const MS: Duration = Duration::from_millis(1);

async fn put_for(store: &AnyStore, key: &Key, ttl: impl Into<Ttl>) -> Case {
    ensure!(store.set(key, "v".into(), SetOptions::new().ttl(ttl)).await?, "a set with a ttl stored nothing");
    Ok(())
}

pub(super) async fn a3(lab: Lab) -> Case {
    let store = lab.store().await?;
    let k = key("k")?;
    put_for(&store, &k, lab.short()).await?;
    ensure!(value(&store, &k).await?.is_some(), "gone at once");
    lab.outlive(lab.short()).await;
    ensure_eq!(value(&store, &k).await?, None, "after its time");
    Ok(())
}

pub(super) async fn b25(lab: Lab) -> Case {
    let store = lab.store().await?;
    let k = key("k")?;
    put(&store, &k, "v").await?;
    let wait = if lab.is_virtual() { Duration::from_secs(60 * 60 * 24 * 365) } else { lab.short() };
    // Ten years, a year at a time: no timer goes further.
    for _ in 0..if lab.is_virtual() { 10 } else { 1 } {
        tokio::time::sleep(wait).await;
    }
    ensure_eq!(value(&store, &k).await?, Some(Bytes::from("v")), "what has no end");
    Ok(())
}

pub(super) async fn b26(lab: Lab) -> Case {
    let store = lab.store().await?;
    let k = key("k")?;
    let nothing = SetOptions::new().ttl(Duration::ZERO);
    ensure!(!store.set(&k, "v".into(), nothing.clone()).await?, "a ttl of zero says that it stored");
    ensure_eq!(value(&store, &k).await?, None, "a ttl of zero");
    put(&store, &k, "old").await?;
    ensure!(!store.set(&k, "v".into(), nothing).await?, "a ttl of zero says that it stored, over a value");
    ensure_eq!(value(&store, &k).await?, None, "the old value after a ttl of zero");
    Ok(())
}

pub(super) async fn b27(lab: Lab) -> Case {
    let store = lab.store().await?;
    for (number, ttl) in
        [Duration::MAX, Duration::from_secs(u64::MAX / 1_000), Duration::from_secs(u64::from(u32::MAX))].into_iter().enumerate()
    {
        let k = key(format!("k{number}"))?;
        put_for(&store, &k, ttl).await?;
        let entry = store.get(&k).await?.ok_or(Stop::Failed(format!("a ttl of {ttl:?} is gone at once")))?;
        ensure!(
            entry.ttl_remaining(entry.read_at).is_none_or(|left| left > Duration::from_secs(3_600)),
            "a ttl of {ttl:?} ends at {:?}",
            entry.expires_at
        );
    }
    Ok(())
}

pub(super) async fn b28(lab: Lab) -> Case {
    let store = lab.store().await?;
    let k = key("k")?;
    put_for(&store, &k, Duration::from_nanos(1)).await?;
    if lab.is_virtual() {
        ensure!(value(&store, &k).await?.is_some(), "a ttl of a nanosecond is gone at once, and not after a millisecond");
    }
    lab.outlive(MS).await;
    ensure_eq!(value(&store, &k).await?, None, "a ttl of a nanosecond, after a millisecond");
    Ok(())
}

/// What each method says of `key`, and what the entry says of the time left.
async fn seen(store: &AnyStore, key: &Key) -> Result<(Vec<bool>, Option<Duration>), Stop> {
    let entry = store.get(key).await?;
    let left = entry.as_ref().and_then(|entry| entry.ttl_remaining(entry.read_at));
    let mut live = vec![entry.is_some(), store.exists(key).await?, store.get_many(std::slice::from_ref(key)).await?.contains_key(key)];
    if store.capabilities().patterns {
        live.push(store.keys(&Glob::all()).await?.contains(key));
    }
    Ok((live, left))
}

pub(super) async fn b29(lab: Lab) -> Case {
    let store = lab.store().await?;
    let (k, ttl) = (key("k")?, lab.short());
    put_for(&store, &k, ttl).await?;
    let (live, left) = seen(&store, &k).await?;
    ensure!(live.iter().all(|live| *live), "get, exists, get_many, keys of a live one: {live:?}");
    ensure!(left.is_some_and(|left| left <= ttl && left > Duration::ZERO), "of {ttl:?}, {left:?} are left");
    if lab.is_virtual() {
        tokio::time::sleep(ttl - MS).await;
        let (live, left) = seen(&store, &k).await?;
        ensure!(live.iter().all(|live| *live), "a millisecond before its end, get, exists, get_many, keys: {live:?}");
        ensure!(left.is_some_and(|left| left <= 2 * MS && left > Duration::ZERO), "a millisecond before its end, {left:?} are left");
        tokio::time::sleep(MS).await;
    } else {
        lab.outlive(ttl).await;
    }
    let (live, _) = seen(&store, &k).await?;
    ensure!(live.iter().all(|live| !*live), "at its end, get, exists, get_many, keys: {live:?}");
    ensure!(!store.delete(&k).await?, "at its end, delete found something live");
    Ok(())
}

pub(super) async fn b33(lab: Lab) -> Case {
    let store = lab.store().await?;
    if store.stats().current_entries.is_none() {
        return Err(Stop::Skipped("it does not know how many entries it has"));
    }
    for number in 0..100 {
        put_for(&store, &key(format!("short{number}"))?, lab.short()).await?;
    }
    lab.outlive(lab.short()).await;
    // Nobody asks for them; others come and go, and somebody sweeps now and then, as is allowed.
    for number in 0..20 {
        put(&store, &key(format!("other{number}"))?, "v").await?;
    }
    store.purge_expired().await?;
    let stats = store.stats();
    ensure_eq!(stats.current_entries, Some(20), "entries after 100 were over");
    ensure!(stats.expired >= 100, "{} of 100 counted as expired", stats.expired);
    ensure_eq!(stats.evicted_size, 0, "evicted for room");
    Ok(())
}
