//! The same task twice: with the builder, and with the attribute.
//!
//! > At most 3 retries, exponential, with jitter, honouring `Retry-After`. A breaker that opens when 50 % of the calls of 10 s fail. 2 s for an
//! > attempt and 10 s in all. 50 at once, 100 per second. The last good answer, when all that was in vain.
//!
//! Both are complete: imports, error type, judge, call. `cargo run --example same_task --features cache` runs them against a server that is too busy at first. A
//! test counts their lines: at most 30, and at most 20.
//!
//! # With the builder
//!
//! For a dependency with several functions, for policies that are shared, and wherever you want to ask the pipeline how it is doing.
//!
#![cfg_attr(feature = "cache", doc = "```rust,standalone_crate")]
#![cfg_attr(not(feature = "cache"), doc = "```text")]
#![doc = include_str!("../../examples/same_task/builder.rs")]
#![cfg_attr(
    feature = "cache",
    doc = "# async fn fetch(_: &str) -> Result<u64, ApiError> { Err(ApiError::Status(429, Some(Duration::from_secs(1)))) }"
)]
#![cfg_attr(feature = "cache", doc = "# fn main() {}")]
#![doc = "```"]
//!
//! # With the attribute
//!
//! For a function that is the whole dependency. It keeps its signature, and its callers see nothing of it.
//!
#![cfg_attr(all(feature = "macros", feature = "cache"), doc = "```rust,standalone_crate")]
#![cfg_attr(not(all(feature = "macros", feature = "cache")), doc = "```text")]
#![doc = include_str!("../../examples/same_task/attribute.rs")]
#![cfg_attr(
    all(feature = "macros", feature = "cache"),
    doc = "# async fn fetch(_: &str) -> Result<u64, ApiError> { Err(ApiError::Status(429, None)) }"
)]
#![cfg_attr(all(feature = "macros", feature = "cache"), doc = "# fn main() {}")]
#![doc = "```"]
//!
//! The one line of either that is easy to forget is the judge. Without it everything is retried and counted, 404 too, and `Retry-After` is not known to
//! anybody: a policy sees no headers, only the verdict. With the feature `reqwest` it is [built in](super::doors).
