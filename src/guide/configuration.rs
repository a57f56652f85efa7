//! Configuration: the numbers in a file, and other numbers while calls run. Feature `serde` for files; the values are always there.
//!
//! ```toml
//! # pipelines.toml
//! [defaults]
//! preset = "http"
//! monitor = true
//!
//! [pipelines.github]
//! total_timeout = "5s"
//! retry = 5                      # short for retries = 5; the delays stay those of the preset
//! rate_limit = "100/s"
//!
//! [pipelines.github.cache]       # feature `cache`: for functions that are `#[resilient(pipeline = "github", cached, key = ..)]`
//! capacity = 10_000              # answers of each of them
//! ttl = "5m"
//! stale_if_error = "1h"
//!
//! [pipelines.ledger]
//! preset = "database"
//! retry = false                  # takes away what the preset has
//! ```
//!
//! What a file cannot say (judges, observers, gates) is added in code, once for all pipelines:
//!
//! ```
//! # #[cfg(feature = "serde")] fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let file = "[defaults]\npreset = \"http\"\n[pipelines.github]\nretry = 5\n[pipelines.ledger]\npreset = \"database\"\nretry = false";
//! use std::io;
//! use steadfast::{RegistryConfig, Verdict};
//!
//! let config: RegistryConfig = toml::from_str(file)?;
//! let registry = config.build_with(|_name, builder| {
//!     builder.classify(|error: &io::Error| match error.kind() {
//!         io::ErrorKind::NotFound => Verdict::Ignored,
//!         _ => Verdict::transient(),
//!     })
//! })?;
//! let github = registry.find("github")?; // ask once, and keep it
//! # assert_eq!(github.explain().attempts(), 6);
//! # assert_eq!(registry.find("ledger")?.explain().attempts(), 1);
//! # Ok(()) }
//! # #[cfg(not(feature = "serde"))] fn main() {}
//! ```
//!
//! JSON and YAML work as well: anything with a `Deserializer`. All fields: [`pipeline::config`](mod@crate::pipeline::config).
//!
//! # Units, always
//!
//! | what | write | not |
//! |---|---|---|
//! | duration | `"250ms"`, `"10s"`, `"1m30s"`, `"forever"` | `10` |
//! | rate | `"100/s"`, `"10/min"`, `"5/30s"` | `100` |
//! | share | `"50%"`, `0.5` | `50` |
//! | none of it | `false` | `0` |
//!
//! Unknown fields are refused, and all faults come at once, each with its path and the fix. So a test that loads the file you ship is worth its
//! three lines:
//!
//! ```
//! # #[cfg(feature = "serde")] fn main() {
//! use steadfast::RegistryConfig;
//!
//! let error = toml::from_str::<RegistryConfig>("[pipelines.github]\nattempt_timeout = 5\ncircut_breaker = \"50%\"").unwrap_err();
//! assert!(error.to_string().contains("pipelines.github.circut_breaker: unknown field; did you mean `circuit_breaker`?"), "{error}");
//! # for (good, bad) in [("attempt_timeout = \"1m30s\"", "attempt_timeout = 10"), ("total_timeout = \"forever\"", "total_timeout = \"10\""),
//! #     ("rate_limit = \"5/30s\"", "rate_limit = 100"), ("rate_limit = \"10/min\"", "rate_limit = \"100\""),
//! #     ("circuit_breaker = \"50%\"", "circuit_breaker = 50"), ("circuit_breaker = 0.5", "circuit_breaker = \"0\""), ("bulkhead = false", "bulkhead = 0")] {
//! #     assert!(toml::from_str::<steadfast::PipelineConfig>(good).is_ok(), "{good}");
//! #     assert!(toml::from_str::<steadfast::PipelineConfig>(bad).is_err(), "{bad}");
//! # }
//! # }
//! # #[cfg(not(feature = "serde"))] fn main() {}
//! ```
//!
//! # While calls run
//!
//! | to change | use | state |
//! |---|---|---|
//! | one number, by a control loop | `bulkhead.resize(..)`, `limiter.set_rate(..)` | stays |
//! | one pipeline | [`pipeline.reconfigure(&config)`](Pipeline::reconfigure) | stays, except what [`Changes::restarted`](crate::pipeline::config::Changes::restarted) names |
//! | all of a file | [`registry.reload(&config)`](Registry::reload) | the same; all or nothing |
//!
//! Answers that are kept stay when `cache` changes, with the ttl they came with and as far as the new capacity has room; without that section they are gone.
//!
//! A call that has begun goes on under the settings it began with; limits that calls share change for all of them at once. A file with a fault
//! changes nothing. `cargo run --example watched_config --features serde` watches a file and reloads it.
//!
//! Names: a pipeline that is gone from the file is no longer found, but whoever holds it can go on. Do not take names from strangers
//! (`registry.find(header)`): an unknown one is an error that lists the known.

#[cfg(doc)]
use crate::*;
