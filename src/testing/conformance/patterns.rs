//! List F: patterns and tags.

use super::lab::{Case, Lab, ensure, ensure_eq, key, put, value};
use crate::store::{Glob, SetOptions, Store};
use bytes::Bytes;
use std::collections::HashSet;

pub(super) async fn f64(lab: Lab) -> Case {
    let store = lab.able(|can| can.patterns, "no patterns").await?;
    let all = [
        "user:1:profile",
        "user:2:profile",
        "user:12:settings",
        "users:1",
        "ax",
        "bx",
        "cx",
        "*",
        "[ab]",
        "a b",
        "é",
        "50%",
        "a\\b",
        "A_B",
        "A-B",
    ];
    for raw in all {
        put(&store, &key(raw)?, raw).await?;
    }
    for (pattern, expected) in [
        ("*", all.as_slice()),
        ("user:*", &["user:1:profile", "user:2:profile", "user:12:settings"]),
        ("*:profile", &["user:1:profile", "user:2:profile"]),
        ("user:1:*", &["user:1:profile"]),
        ("[ab]?", &["ax", "bx"]),
        ("[!ab]x", &["cx"]),
        (r"\*", &["*"]),
        (r"\[ab]", &["[ab]"]),
        ("[ab", &[]),
        ("?", &["*", "é"]),
        ("a b", &["a b"]),
        ("5?%", &["50%"]),
        (r"a\\b", &["a\\b"]),
        ("A_?", &["A_B"]),
        ("nothing*", &[]),
    ] {
        let expected = expected.iter().map(key).collect::<Result<HashSet<_>, _>>()?;
        let found = store.keys(&Glob::new(pattern)).await?;
        let count = found.len();
        ensure!(
            found.into_iter().collect::<HashSet<_>>() == expected && count == expected.len(),
            "`{pattern}` found {count} instead of {}",
            expected.len()
        );
    }
    ensure_eq!(store.delete_matching(&Glob::new("user:*")).await?, 3, "deleted by a pattern");
    ensure_eq!(store.keys(&Glob::all()).await?.len(), all.len() - 3, "keys left");
    ensure_eq!(store.delete_matching(&Glob::new("user:*")).await?, 0, "deleted by a pattern, again");
    Ok(())
}

pub(super) async fn f65(lab: Lab) -> Case {
    let store = lab.able(|can| can.patterns, "no patterns").await?;
    let keys = (0..20_000).map(|number| key(format!("k:{number}"))).collect::<Result<Vec<_>, _>>()?;
    for some in keys.chunks(1_000) {
        let items: Vec<_> = some.iter().map(|key| (key.clone(), Bytes::from_static(b"v"))).collect();
        store.set_many(&items, SetOptions::new()).await?;
    }
    let dead: Vec<_> = (0..100).map(|number| key(format!("dead:{number}"))).collect::<Result<Vec<_>, _>>()?;
    let items: Vec<_> = dead.iter().map(|key| (key.clone(), Bytes::from_static(b"v"))).collect();
    store.set_many(&items, SetOptions::new().ttl(lab.short())).await?;
    lab.outlive(lab.short()).await;
    let found: HashSet<_> = store.keys(&Glob::all()).await?.into_iter().collect();
    ensure!(found == keys.iter().cloned().collect(), "{} keys instead of 20,000", found.len());
    ensure_eq!(store.keys(&Glob::new("k:1999?")).await?.len(), 10, "keys that match");
    ensure_eq!(store.delete_matching(&Glob::new("k:1*")).await?, 11_111, "deleted by a pattern");
    ensure_eq!(store.clear().await?, 20_000 - 11_111, "what clear tells");
    Ok(())
}

/// While others write: what is there all the time is found, what was gone before is not.
pub(super) async fn walk(lab: Lab) -> Case {
    let store = lab.able(|can| can.patterns, "no patterns").await?;
    let steady = (0..3_000).map(|number| key(format!("steady:{number}"))).collect::<Result<Vec<_>, _>>()?;
    let gone = (0..500).map(|number| key(format!("gone:{number}"))).collect::<Result<Vec<_>, _>>()?;
    for keys in [&steady, &gone] {
        let items: Vec<_> = keys.iter().map(|key| (key.clone(), Bytes::from_static(b"v"))).collect();
        store.set_many(&items, SetOptions::new()).await?;
    }
    store.set_many(&[(key("over")?, Bytes::new())], SetOptions::new().ttl(lab.short())).await?;
    ensure_eq!(store.delete_many(&gone).await?, 500, "deleted");
    lab.outlive(lab.short()).await;
    let (mut found, mut passed, mut walk) = (HashSet::new(), 0_usize, store.walk_keys(Glob::all()));
    while let Some(next) = walk.next().await? {
        found.insert(next);
        passed += 1;
        if passed.is_multiple_of(200) {
            // Overwritten, removed, added meanwhile.
            put(&store, &steady[passed % 3_000], "w").await?;
            store.delete(&key(format!("fleeting:{}", passed / 200))?).await?;
            put(&store, &key(format!("fleeting:{passed}"))?, "v").await?;
        }
        ensure!(passed < 20_000, "the walk does not come to an end");
    }
    ensure_eq!(walk.next().await?, None, "after the end");
    let missing = steady.iter().filter(|key| !found.contains(key)).count();
    ensure!(missing == 0, "{missing} keys that were there all the time were not found");
    let odd = found.iter().find(|key| !key.as_str().starts_with("steady:") && !key.as_str().starts_with("fleeting:"));
    ensure!(odd.is_none(), "{odd:?} was gone before");
    let mut walk = store.walk_keys(Glob::new("steady:299?"));
    let mut some = HashSet::new();
    while let Some(next) = walk.next().await? {
        some.insert(next);
    }
    ensure_eq!(some.len(), 10, "keys that match");
    Ok(())
}

pub(super) async fn tags(lab: Lab) -> Case {
    let store = lab.able(|can| can.tags, "no tags").await?;
    let (a, b, c) = (key("a")?, key("b")?, key("c")?);
    let tagged = |tags: &[&str]| tags.iter().fold(SetOptions::new(), |options, tag| options.tag(*tag));
    store.set(&a, "a".into(), tagged(&["org:7", "red"])).await?;
    store.set(&b, "b".into(), tagged(&["org:7"])).await?;
    store.set(&c, "c".into(), tagged(&["org:77"])).await?;
    ensure_eq!(store.delete_tagged("org:*").await?, 0, "a tag is no pattern");
    ensure_eq!(store.delete_tagged("org:7").await?, 2, "deleted by tag");
    ensure_eq!(value(&store, &a).await?, None, "a deleted value");
    ensure_eq!(value(&store, &c).await?, Some(Bytes::from("c")), "the value of another tag");
    ensure_eq!(store.delete_tagged("red").await?, 0, "the tag of what is gone");
    // Set again without the tag, or deleted by name: the tag has forgotten it.
    store.set(&c, "c".into(), tagged(&["blue"])).await?;
    ensure_eq!(store.delete_tagged("org:77").await?, 0, "a tag it had before");
    store.delete(&c).await?;
    ensure_eq!(store.delete_tagged("blue").await?, 0, "the tag of what was deleted");
    Ok(())
}
