//! List H: what any store must stand.

use super::lab::{Case, Lab, Stop, ensure, ensure_eq, key, put, value};
use crate::store::{AnyStore, Glob, SetOptions, Store, StoreErrorKind};
use bytes::Bytes;
use std::pin::Pin;
use std::task::{Context, Waker};
use std::time::Duration;

pub(super) async fn h90(lab: Lab) -> Case {
    let store = lab.store().await?;
    let k = key("k")?;
    put(&store, &k, "v").await?;
    let (one, other) = tokio::join!(store.close(), store.close());
    one?;
    other?;
    store.close().await?;
    let closed = Err(StoreErrorKind::Closed);
    ensure_eq!(store.get(&k).await.map(|_| ()).map_err(|error| error.kind()), closed, "get after close");
    ensure_eq!(store.set(&k, "v".into(), SetOptions::new()).await.map(|_| ()).map_err(|error| error.kind()), closed, "set after close");
    ensure_eq!(store.delete(&k).await.map(|_| ()).map_err(|error| error.kind()), closed, "delete after close");
    ensure_eq!(store.exists(&k).await.map(|_| ()).map_err(|error| error.kind()), closed, "exists after close");
    ensure_eq!(store.get_many(std::slice::from_ref(&k)).await.map(|_| ()).map_err(|error| error.kind()), closed, "get_many after close");
    ensure_eq!(store.probe().await.map_err(|error| error.kind()), closed, "probe after close");
    store.stats(); // does not panic
    Ok(())
}

/// Polls a future so often, and drops it.
async fn poll_and_drop<T>(mut future: Pin<Box<dyn Future<Output = T> + Send + '_>>, times: usize) {
    for _ in 0..times {
        if future.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_ready() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

async fn check(store: &AnyStore, what: &str, times: usize) -> Case {
    let steady = key("steady")?;
    let now = value(store, &steady).await?;
    ensure!(now == Some("old".into()) || now == Some("new".into()), "{what} dropped after {times} polls: a value neither old nor new");
    put(store, &steady, "old").await?;
    let fresh = key(format!("{what}:{times}"))?;
    put(store, &fresh, "v").await?;
    ensure!(store.delete(&fresh).await?, "{what} dropped after {times} polls: a new key cannot be deleted");
    Ok(())
}

pub(super) async fn h92(lab: Lab) -> Case {
    let store = lab.store().await?;
    let (steady, other) = (key("steady")?, key("other")?);
    put(&store, &steady, "old").await?;
    let many = [(steady.clone(), Bytes::from("new")), (other.clone(), Bytes::from("new"))];
    let glob = Glob::new("oth*");
    for times in 0..4 {
        poll_and_drop(Box::pin(store.get(&steady)), times).await;
        check(&store, "get", times).await?;
        poll_and_drop(Box::pin(store.set(&steady, "new".into(), SetOptions::new())), times).await;
        check(&store, "set", times).await?;
        poll_and_drop(Box::pin(store.set(&other, "new".into(), SetOptions::new().if_absent())), times).await;
        check(&store, "set if absent", times).await?;
        poll_and_drop(Box::pin(store.delete(&other)), times).await;
        check(&store, "delete", times).await?;
        poll_and_drop(Box::pin(store.set_many(&many, SetOptions::new())), times).await;
        check(&store, "set_many", times).await?;
        poll_and_drop(Box::pin(store.delete_matching(&glob)), times).await;
        check(&store, "delete_matching", times).await?;
        poll_and_drop(Box::pin(store.purge_expired()), times).await;
        check(&store, "purge_expired", times).await?;
        poll_and_drop(Box::pin(store.probe()), times).await;
        check(&store, "probe", times).await?;
    }
    Ok(())
}

pub(super) async fn h95(lab: Lab) -> Case {
    let store = lab.store().await?;
    put(&store, &key("k")?, "v").await?;
    let before = store.stats();
    store.probe().await?;
    let after = store.stats();
    if store.capabilities().patterns {
        ensure_eq!(store.keys(&Glob::all()).await?.len(), 1, "keys after a probe");
    }
    let provided = (before.hits + 1, before.misses, before.sets + 1, before.deletes + 1);
    if (after.hits, after.misses, after.sets, after.deletes) == provided && before.current_entries == after.current_entries {
        return Err(Stop::Skipped("the provided probe counts what it does"));
    }
    ensure_eq!(
        (before.hits, before.misses, before.sets, before.deletes),
        (after.hits, after.misses, after.sets, after.deletes),
        "the counters"
    );
    ensure_eq!(before.current_entries, after.current_entries, "the entries");
    Ok(())
}
