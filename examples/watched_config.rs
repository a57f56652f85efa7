//! Pipelines from a file that is watched: edit it while calls run, and they go on under the new settings.
//!
//! ```sh
//! cargo run --example watched_config --features serde                     # edits a file of its own, for show
//! cargo run --example watched_config --features serde -- pipelines.toml   # watches yours until Ctrl-C
//! ```
//!
//! The watcher looks at the file's time every 200 ms: that works everywhere, over network drives and Kubernetes mounts too, and needs no further crate. A
//! file that cannot be read, or has faults, is told about and changes nothing.

use std::error::Error;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};
use steadfast::{Pipeline, Registry, RegistryConfig, Verdict};
use tokio::time::{MissedTickBehavior, interval, sleep};

const FIRST: &str = r#"
[defaults]
preset = "http"

[pipelines.quotes]
attempt_timeout = "100ms"
retry = { retries = 2, delay = "20ms" }
"#;

const WRONG: &str = r#"
[pipelines.quotes]
attempt_timeout = "5"
bulkhed = 10
"#;

const BETTER: &str = r#"
[defaults]
preset = "http"

[pipelines.quotes]
attempt_timeout = "300ms"
retry = { retries = 1, delay = "20ms" }
bulkhead = 10

[pipelines.ledger]
preset = "database"
"#;

fn load(path: &Path) -> Result<RegistryConfig, Box<dyn Error>> {
    Ok(RegistryConfig::from_source(std::fs::read_to_string(path)?.parse::<toml::Table>()?)?)
}

/// What tells one state of a file from the next. Two writes within the clock's grain mostly differ in length.
fn stamp(path: &Path) -> Option<(SystemTime, u64)> {
    let file = std::fs::metadata(path).ok()?;
    Some((file.modified().ok()?, file.len()))
}

/// Reloads the registry whenever the file is another.
async fn watch(path: PathBuf, mut seen: Option<(SystemTime, u64)>, registry: Registry) {
    let mut ticks = interval(Duration::from_millis(200));
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let now = stamp(&path);
        if now == seen || now.is_none() {
            continue; // unchanged, or between being removed and written
        }
        seen = now;
        match load(&path).and_then(|config| Ok(registry.reload(&config)?)) {
            Ok(changes) => println!("--- reloaded\n{changes}"),
            Err(error) => println!("--- the file has faults, all stays as it was\n{error}"),
        }
    }
}

/// A dependency that takes 200 ms.
async fn quote() -> Result<u32, std::io::Error> {
    sleep(Duration::from_millis(200)).await;
    Ok(42)
}

async fn calls(quotes: Pipeline) {
    loop {
        match quotes.call(quote).await {
            Ok(price) => println!("{price}"),
            Err(error) => println!("{error}"),
        }
        sleep(Duration::from_millis(150)).await;
    }
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let given = std::env::args_os().nth(1).map(PathBuf::from);
    let path = given.clone().unwrap_or_else(|| std::env::temp_dir().join(format!("steadfast-{}.toml", std::process::id())));
    if given.is_none() {
        std::fs::write(&path, FIRST)?;
    }

    let seen = stamp(&path); // before it is read: a change in between is seen later, not never
    let registry = load(&path)?.build_with(|_, builder| builder.classify(|_: &std::io::Error| Verdict::transient()))?;
    for pipeline in registry.pipelines() {
        println!("{pipeline}");
    }
    let watching = tokio::spawn(watch(path.clone(), seen, registry.clone()));
    // A handle from before the changes: they reach it where it is.
    let name = registry.names().into_iter().next().ok_or("the file has no pipeline")?;
    let calling = tokio::spawn(calls(registry.find(&name)?));

    if given.is_some() {
        tokio::signal::ctrl_c().await?;
    } else {
        for text in [WRONG, BETTER] {
            sleep(Duration::from_millis(1_000)).await;
            std::fs::write(&path, text)?;
        }
        sleep(Duration::from_millis(1_500)).await;
        std::fs::remove_file(&path)?;
    }
    calling.abort();
    watching.abort();
    Ok(())
}
