//! List A: keys.

use super::lab::{Case, Lab, Stop, ensure, ensure_eq, key, put, value};
use crate::store::{AnyStore, Glob, Key, Store, StoreErrorKind};
use bytes::Bytes;

/// Each of these keys keeps a value of its own.
async fn distinct(store: &AnyStore, keys: &[Key]) -> Case {
    for (number, key) in keys.iter().enumerate() {
        put(store, key, format!("{number}")).await?;
    }
    for (number, key) in keys.iter().enumerate() {
        ensure_eq!(value(store, key).await?, Some(Bytes::from(number.to_string())), "the value of key {number}, {:?}", key.as_str());
    }
    for (number, key) in keys.iter().enumerate() {
        ensure!(store.delete(key).await?, "key {number}, {:?}, went with another", key.as_str());
    }
    Ok(())
}

async fn all_distinct(lab: &Lab, raw: impl IntoIterator<Item = impl AsRef<[u8]>>) -> Case {
    let keys = raw.into_iter().map(key).collect::<Result<Vec<_>, _>>()?;
    distinct(&lab.store().await?, &keys).await
}

pub(super) async fn a11(lab: Lab) -> Case {
    lab.store().await?;
    ensure_eq!(Key::new("").map_err(|error| error.kind()), Err(StoreErrorKind::InvalidKey), "an empty key");
    Ok(())
}

pub(super) async fn a12(lab: Lab) -> Case {
    let head = "x".repeat(1 << 20);
    all_distinct(&lab, [head.clone() + "1", head.clone() + "2", head[..10 * 1024].to_owned() + "3", head]).await
}

pub(super) async fn a13(lab: Lab) -> Case {
    let long = "é".repeat(4_000);
    all_distinct(
        &lab,
        ["é", "e\u{301}", "👩‍👩‍👧", "👩👩👧", "שלום", "\u{202e}abc", "abc", "x\u{200d}y", "xy", &long, &("a".to_owned() + &long)],
    )
    .await
}

pub(super) async fn a14(lab: Lab) -> Case {
    let bytes = (0..=255_u8).map(|byte| vec![byte]);
    let more = ["a b", "a_b", "a%20b", "a%2520b", "a\r\nb", "a\0b", "a\tb", "\r\n", "a:b", "a%3Ab"].map(|text| text.as_bytes().to_vec());
    all_distinct(&lab, bytes.chain(more)).await
}

pub(super) async fn a15(lab: Lab) -> Case {
    all_distinct(&lab, ["key", "KEY", "Key", "straße", "STRASSE", "ı", "I", "i", "İ"]).await
}

pub(super) async fn a16(lab: Lab) -> Case {
    let long = "/..".repeat(1_365) + "x";
    let hostile = [
        "../../etc/passwd",
        "/abs",
        "..",
        ".",
        "./x",
        "x",
        "CON",
        "NUL",
        "con",
        "COM1",
        "a.",
        "a ",
        "a",
        "a/",
        "/",
        "//",
        "a\\b",
        "a/b",
        "~",
        "$(x)",
        "'; DROP TABLE x; --",
        "\"",
        "-rf",
        "*",
        "?",
        "&x=1",
        "#x",
        "a?b#c",
        "%2e%2e",
        "http://x/",
        "@",
        &long,
    ];
    all_distinct(&lab, hostile).await
}

pub(super) async fn a17(lab: Lab) -> Case {
    all_distinct(&lab, ["{x}", "}{", "{", "}", "{}", "a{x}b", "{x}{y}", "x", "{x}a"]).await
}

pub(super) async fn a19(lab: Lab) -> Case {
    let store = lab.able(|can| can.patterns, "no patterns, so no namespaces").await?;
    let k = key("k")?;
    // One that is the beginning of another, one that holds what patterns mean something by, one inside another by its name alone.
    let names = ["app", "app2", "a*[?\\", "app:k", "APP"];
    let spaces: Vec<_> = names.iter().map(|name| store.clone().namespace(name).into_any()).collect();
    put(&store, &k, "foreign").await?;
    for (space, name) in spaces.iter().zip(names) {
        put(space, &k, name).await?;
        put(space, &key("only")?, name).await?;
    }
    for (space, name) in spaces.iter().zip(names) {
        ensure_eq!(value(space, &k).await?, Some(Bytes::from(name)), "the value in {name:?}");
        let mut keys = space.keys(&Glob::all()).await?;
        keys.sort();
        ensure_eq!(keys, vec![k.clone(), key("only")?], "the keys in {name:?}");
    }
    ensure_eq!(spaces[0].stats().sets, 2, "the sets of one namespace");
    for (space, name) in spaces.iter().zip(names) {
        ensure_eq!(space.clear().await?, 2, "what clear tells in {name:?}");
        ensure_eq!(space.clear().await?, 0, "what clear tells in {name:?}, empty");
    }
    ensure_eq!(value(&store, &k).await?, Some(Bytes::from("foreign")), "a key outside all namespaces");
    let nested = store.clone().namespace("a").namespace("b");
    put(&nested.into_any(), &k, "nested").await?;
    let apart = store.clone().namespace("a:b").into_any();
    ensure_eq!(value(&apart, &k).await?, None, "a namespace named as one inside another");
    let names = store.keys(&Glob::all()).await?;
    if names.len() != 2 {
        return Err(Stop::Failed(format!("{} keys where 2 should be left", names.len())));
    }
    Ok(())
}
