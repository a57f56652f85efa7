//! List A: values.

use super::lab::{Case, Lab, Setup, Stop, ensure, ensure_eq, key, put, value};
use crate::store::{Metadata, SetOptions, Store, StoreErrorKind};
use bytes::Bytes;
use std::time::Duration;

pub(super) async fn a1(lab: Lab) -> Case {
    let store = lab.store().await?;
    let before = store.stats();
    ensure_eq!(value(&store, &key("missing")?).await?, None, "a missing key");
    let after = store.stats();
    ensure_eq!((after.hits, after.misses), (before.hits, before.misses + 1), "hits and misses after one miss");
    Ok(())
}

pub(super) async fn a2(lab: Lab) -> Case {
    let store = lab.store().await?;
    let (k, before) = (key("k")?, store.stats());
    let options = SetOptions::new().metadata("endpoint", "/users").metadata("größe", "ü\n");
    let expected: Option<Metadata> = options.metadata.clone();
    ensure!(store.set(&k, "value".into(), options).await?, "set answers false");
    let entry = store.get(&k).await?.ok_or(Stop::Failed("nothing is there after a set".into()))?;
    ensure_eq!(entry.value, Bytes::from("value"), "the value");
    ensure_eq!(entry.size, 5, "the size of 5 bytes");
    ensure_eq!(entry.expires_at, None, "the end of what has none");
    if store.capabilities().metadata {
        ensure_eq!(entry.metadata, expected, "the metadata");
    }
    let after = store.stats();
    ensure_eq!((after.sets, after.hits), (before.sets + 1, before.hits + 1), "sets and hits after one each");
    Ok(())
}

pub(super) async fn a4(lab: Lab) -> Case {
    let store = lab.store().await?;
    let k = key("k")?;
    put(&store, &k, "v").await?;
    let before = store.stats().deletes;
    ensure!(store.delete(&k).await?, "delete of a live key answers false");
    ensure_eq!(value(&store, &k).await?, None, "a deleted key");
    ensure_eq!(store.stats().deletes, before + 1, "deletes after one");
    Ok(())
}

pub(super) async fn a5(lab: Lab) -> Case {
    let store = lab.store().await?;
    let k = key("missing")?;
    for _ in 0..2 {
        ensure!(!store.delete(&k).await?, "delete of a missing key answers true");
    }
    ensure_eq!(store.stats().deletes, 0, "deletes of nothing");
    Ok(())
}

pub(super) async fn a6(lab: Lab) -> Case {
    let store = lab.store().await?;
    let k = key("k")?;
    for round in ["1", "2", "3"] {
        put(&store, &k, round).await?;
        ensure_eq!(value(&store, &k).await?, Some(Bytes::from(round)), "round {round}");
        ensure!(store.delete(&k).await?, "round {round}: delete answers false");
        ensure_eq!(value(&store, &k).await?, None, "round {round}, deleted");
    }
    Ok(())
}

pub(super) async fn a7(lab: Lab) -> Case {
    let store = lab.store().await?;
    let k = key("k")?;
    let short = lab.short();
    let first = SetOptions::new().ttl(short).metadata("version", "1").tag("old");
    let stored_first =
        store.set(&k, "first".into(), if store.capabilities().tags { first } else { SetOptions { tags: vec![], ..first } }).await?;
    ensure!(stored_first, "set answers false");
    let created = store.get(&k).await?.map(|entry| entry.created_at);
    lab.outlive(short / 4).await;
    put(&store, &k, "second").await?;
    if store.capabilities().tags {
        ensure_eq!(store.delete_tagged("old").await?, 0, "what the old tag deleted");
    }
    lab.outlive(short * 2).await;
    let entry = store.get(&k).await?.ok_or(Stop::Failed("the old ttl ended the new value".into()))?;
    ensure_eq!(entry.value, Bytes::from("second"), "the value");
    ensure_eq!((entry.metadata, entry.expires_at), (None, None), "metadata and end");
    ensure!(Some(entry.created_at) > created, "created_at did not move");
    Ok(())
}

pub(super) async fn a8(lab: Lab) -> Case {
    let store = lab.store().await?;
    let (live, dead) = (key("live")?, key("dead")?);
    put(&store, &live, "v").await?;
    store.set(&dead, "v".into(), SetOptions::new().ttl(lab.short())).await?;
    lab.outlive(lab.short()).await;
    let before = store.stats();
    ensure!(store.exists(&live).await?, "a live key does not exist");
    ensure!(!store.exists(&dead).await?, "an expired key exists");
    ensure!(!store.exists(&key("missing")?).await?, "a missing key exists");
    let after = store.stats();
    ensure_eq!((after.hits, after.misses), (before.hits, before.misses), "hits and misses after `exists`");
    Ok(())
}

pub(super) async fn a9(lab: Lab) -> Case {
    let store = lab.store().await?;
    for odd in ["", "0", "null", "false", "{}"] {
        let k = key(format!("k{odd}"))?;
        put(&store, &k, odd).await?;
        ensure_eq!(value(&store, &k).await?, Some(Bytes::from(odd)), "the value {odd:?}");
    }
    Ok(())
}

pub(super) async fn a10(lab: Lab) -> Case {
    let store = lab.store().await?;
    let (k, big) = (key("k")?, Bytes::from(vec![0xa5; 1 << 20]));
    put(&store, &k, big.clone()).await?;
    ensure!(value(&store, &k).await? == Some(big), "1 MiB came back as something else");
    let store = lab.store_with(Setup { max_value_bytes: Some(1_000), ..Setup::default() }).await?;
    put(&store, &k, vec![1; 1_000]).await?;
    let too_large = store.set(&k, vec![2; 1_001].into(), SetOptions::new()).await.map_err(|error| error.kind());
    ensure_eq!(too_large, Err(StoreErrorKind::TooLarge), "one byte more than the limit");
    ensure_eq!(value(&store, &k).await?, Some(Bytes::from(vec![1; 1_000])), "the value before");
    Ok(())
}

pub(super) async fn a18(lab: Lab) -> Case {
    let store = lab.store().await?;
    let all: Vec<u8> = (0..=255).collect();
    for (at, odd) in [all.as_slice(), b"\xff\xfe", b"\xc3", b"\0", b"a\r\nb", "\u{feff}x".as_bytes()].into_iter().enumerate() {
        let k = key(format!("k{at}"))?;
        put(&store, &k, odd.to_vec()).await?;
        ensure_eq!(value(&store, &k).await?, Some(Bytes::from(odd.to_vec())), "bytes {at}");
    }
    Ok(())
}

pub(super) async fn a20(lab: Lab) -> Case {
    let store = lab.store().await?;
    if !store.capabilities().patterns {
        return Err(Stop::Skipped("it cannot clear"));
    }
    ensure_eq!(store.clear().await?, 0, "clear of nothing");
    for number in 0..25 {
        put(&store, &key(format!("live{number}"))?, "v").await?;
    }
    store.set(&key("dead")?, "v".into(), SetOptions::new().ttl(lab.short())).await?;
    lab.outlive(lab.short()).await;
    ensure_eq!(store.clear().await?, 25, "what clear tells of 25 live and an expired one");
    ensure_eq!(value(&store, &key("live3")?).await?, None, "a cleared key");
    ensure_eq!(store.clear().await?, 0, "clear of nothing, again");
    let stats = store.stats();
    ensure!(stats.current_entries.is_none_or(|entries| entries == 0), "entries after clear: {:?}", stats.current_entries);
    Ok(())
}

pub(super) async fn a21(lab: Lab) -> Case {
    let store = lab.store().await?;
    let keys = (0..10_000).map(|number| key(format!("many:{number}"))).collect::<Result<Vec<_>, _>>()?;
    // A tenth where every item is a round trip.
    let keys = if lab.is_virtual() || store.capabilities().patterns { keys } else { keys.into_iter().take(1_000).collect() };
    let items: Vec<_> = keys.iter().map(|key| (key.clone(), Bytes::from(key.as_str().to_owned()))).collect();
    let count = items.len() as u64;
    ensure_eq!(store.set_many(&items, SetOptions::new()).await?, count, "what set_many stored");
    let found = store.get_many(&keys).await?;
    ensure_eq!(found.len() as u64, count, "what get_many found");
    let right = items.iter().all(|(key, value)| found.get(key).is_some_and(|entry| entry.value == value));
    ensure!(right, "get_many gave a key the value of another");
    let (one, missing) = (keys[0].clone(), key("missing")?);
    let few = store.get_many(&[one.clone(), missing.clone(), one.clone()]).await?;
    ensure_eq!((few.len(), few.contains_key(&one)), (1, true), "one twice and one missing");
    ensure_eq!(store.get_many(&[]).await?.len(), 0, "nothing asked for");
    ensure_eq!(store.set_many(&[], SetOptions::new()).await?, 0, "nothing to set");
    ensure_eq!(store.delete_many(&[]).await?, 0, "nothing to delete");
    let twice = [(one.clone(), Bytes::from("1")), (one.clone(), Bytes::from("2"))];
    store.set_many(&twice, SetOptions::new()).await?;
    ensure_eq!(value(&store, &one).await?, Some(Bytes::from("2")), "of one key twice, the last");
    ensure_eq!(store.delete_many(&[one.clone(), missing, one.clone()]).await?, 1, "one twice and one missing, deleted");
    ensure_eq!(store.delete_many(&keys).await?, count - 1, "what delete_many deleted");
    ensure_eq!(store.get_many(&keys).await?.len(), 0, "all deleted");
    Ok(())
}

pub(super) async fn a22(lab: Lab) -> Case {
    let store = lab.store_with(Setup { max_value_bytes: Some(100), ..Setup::default() }).await?;
    let keys = ["a", "b", "c"].map(key);
    let [a, b, c] = keys;
    let (a, b, c) = (a?, b?, c?);
    let items = [(a.clone(), Bytes::from("1")), (b.clone(), Bytes::from(vec![0; 101])), (c.clone(), Bytes::from("3"))];
    let Err(error) = store.set_many(&items, SetOptions::new()).await else {
        return Err(Stop::Failed("a batch with a value too large is no error".into()));
    };
    ensure_eq!(error.kind(), StoreErrorKind::TooLarge, "the kind of error");
    let there = [store.exists(&a).await?, store.exists(&b).await?, store.exists(&c).await?];
    let expected = [error.completed() > 0, false, false];
    ensure_eq!(there, expected, "what is stored after {} of 3 were completed", error.completed());
    Ok(())
}

pub(super) async fn a24(lab: Lab) -> Case {
    let store = lab.able(|can| can.if_absent, "no if_absent").await?;
    let k = key("once")?;
    let mut tasks = tokio::task::JoinSet::new();
    for number in 0..64 {
        let (store, k) = (store.clone(), k.clone());
        tasks.spawn(async move { (number, store.set(&k, format!("{number}").into(), SetOptions::new().if_absent()).await) });
    }
    let mut winners = Vec::new();
    while let Some(joined) = tasks.join_next().await {
        let (number, stored) = joined.map_err(|error| Stop::Failed(error.to_string()))?;
        winners.extend(stored?.then_some(number));
    }
    ensure!(winners.len() == 1, "{} of 64 stored", winners.len());
    ensure_eq!(value(&store, &k).await?, Some(Bytes::from(winners[0].to_string())), "the winner's value");
    // What is over is absent.
    let k = key("over")?;
    store.set(&k, "old".into(), SetOptions::new().ttl(lab.short())).await?;
    ensure!(!store.set(&k, "new".into(), SetOptions::new().if_absent()).await?, "stored over a live value");
    lab.outlive(lab.short()).await;
    ensure!(store.set(&k, "new".into(), SetOptions::new().if_absent()).await?, "an expired value counts as there");
    ensure_eq!(value(&store, &k).await?, Some(Bytes::from("new")), "the value after the expired one");
    Ok(())
}

pub(super) async fn b30(lab: Lab) -> Case {
    let store = lab.store().await?;
    let mut tasks = tokio::task::JoinSet::new();
    for number in 0..10 {
        let store = store.clone();
        tasks.spawn(async move {
            let k = key(format!("k{number}"))?;
            put(&store, &k, format!("v{number}")).await
        });
    }
    while let Some(joined) = tasks.join_next().await {
        joined.map_err(|error| Stop::Failed(error.to_string()))??;
    }
    for number in 0..10 {
        let store = store.clone();
        tasks.spawn(async move {
            ensure_eq!(value(&store, &key(format!("k{number}"))?).await?, Some(Bytes::from(format!("v{number}"))), "what {number} set");
            Ok(())
        });
    }
    while let Some(joined) = tokio::time::timeout(Duration::from_secs(3_600), tasks.join_next()).await.ok().flatten() {
        joined.map_err(|error| Stop::Failed(error.to_string()))??;
    }
    Ok(())
}
