//! The guide: how to use steadfast well, one short page a topic.
//!
//! The pages for each policy say what their module pages do not: when to leave it out, why the numbers are what they are, and what you
//! will see in the log. It is here in the documentation only; no build of yours contains it. Its snippets run as tests.
//!
//! | I want to .. | page |
//! |---|---|
//! | put my first call behind a pipeline | [`getting_started`] |
//! | know which policies I need, and what happens in which order | [`which_policy`] |
//! | understand one policy, its defaults and its events | [`policies`] |
//! | see the whole thing once, with the builder and with the attribute | [`same_task`] |
//! | carry rejections in my own error type | [`errors`] |
//! | put an attribute on a function | [`attribute`] |
//! | keep the numbers in a file, and change them while calls run | [`configuration`] |
//! | put it around reqwest, hyper, axum, or anything of tower | [`doors`] |
//! | keep a limit that several machines share (feature `store`) | `shared_limits` |
//! | see what overload does, and which policies end it | [`overload`] |
//! | keep bytes in memory, in files, in SQLite, behind HTTP; or write a store of my own | [`stores`] |
//! | share values and limits between machines | [`redis`] |
//! | test code that uses it | [`testing`] |
//! | copy something that works: sqlx, redis, tonic, AWS, uploads, shutdown | [`cookbook`] |
//! | know why I should trust it | [`how_it_is_tested`] |
//! | come from backoff, backon, tokio-retry, tower, resilience4j, Polly, tenacity | [`migration`] |
//!
//! # If you are on call right now
//!
//! ```
//! # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), steadfast::ConfigError> {
//! # let api = steadfast::Pipeline::http("api").build()?;
//! println!("{}", api.stats());    // what happened, and the state of every policy
//! println!("{}", api.explain());  // what one call can cost: attempts, worst-case time, load
//! for warning in api.warnings() {
//!     println!("{warning}");      // settings that work, but hardly as meant
//! }
//! if let Some(breaker) = api.circuit_breaker() {
//!     breaker.isolate();          // the dependency is on fire: send nothing there until force_close()
//!     breaker.force_close();      // it is well again
//! }
//! if let Some(bulkhead) = api.bulkhead() {
//!     bulkhead.resize(10);        // fewer at once, from now on; what runs is not thrown out
//! }
//! # Ok(()) }
//! ```

pub mod attribute;
pub mod configuration;
pub mod cookbook;
pub mod doors;
pub mod errors;
pub mod getting_started;
pub mod how_it_is_tested;
pub mod migration;
pub mod overload;
pub mod policies;
pub mod redis;
pub mod same_task;
#[cfg(feature = "store")]
pub mod shared_limits;
pub mod stores;
pub mod testing;
pub mod which_policy;
