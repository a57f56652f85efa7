//! Stores: bytes that outlive a call, a process, or a machine's patience. Feature `store`, and one more for each backend.
//!
//! | I want to .. | use | feature |
//! |---|---|---|
//! | share values within one process, or test | `MemoryStore` | `store` |
//! | keep a few big values over restarts | `FileStore` | `file` |
//! | keep many small values over restarts, or share them between processes of one machine | `SqliteStore` | `sqlite` |
//! | use a cache that another service keeps | `HttpStore` | `http-store` |
//! | have the near ones in memory and the rest elsewhere | `Tiered` | `store` |
//! | the same for values of your own types, loaded once, with old ones for bad times | a `Cache` with a `second_tier` | `store`, `cache` |
//! | choose in a configuration file | `connect("sqlite:/var/cache/app.db?max_entries=50000")` | |
//!
//! All are one trait, `Store`, so what you write for one works with all. `AnyStore` is any of them as a value of one type.
//!
//! # What all of them promise
//!
//! * **One rule for time.** A value is live while `now < expires_at`, in `get`, `exists`, `get_many`, `keys` and `delete` alike. A time to live of zero
//!   stores nothing and removes what was there; none is for ever, and it has to be said.
//! * **Nothing is not an error.** A missing key is `Ok(None)`; an empty value is a value.
//! * **No key is special.** Spaces, line breaks, `../..`, emoji, a megabyte: `store::Key` makes text of it that every backend takes, and no two keys
//!   become one. Make keys of several parts with `Key::of_parts`, and no tenant's name can reach into another's.
//! * **No future is dangerous to drop.** What it was to do is done whole, or not at all.
//! * **Errors say what to do.** `error.kind()`, `error.is_retriable()`, `error.retry_after()`; never a key, a value or a token in the text.
//! * **Nothing runs behind your back** but SQLite's own thread and the ear of a backplane, which end with the store. What is over is freed bit by bit, by whoever comes by.
//!
//! # Around a store
//!
//! Each wrapper is a store again. From the inside out, this is the order that makes sense:
//!
//! ```
//! # #[cfg(feature = "store")] #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! use std::time::Duration;
//! use steadfast::store::{Key, MemoryStore, SetOptions, Store, StoreEvent};
//! use steadfast::{CircuitBreaker, Pipeline, Retry};
//!
//! let reads = Pipeline::builder("sessions, reads")
//!     .retry(Retry::constant(2, Duration::from_millis(20)))
//!     .circuit_breaker(CircuitBreaker::failure_rate(0.5))
//!     .total_timeout(Duration::from_millis(100))          // a cache that takes longer is none
//!     .build()?;
//! let writes = Pipeline::builder("sessions, writes").total_timeout(Duration::from_millis(250)).build()?;
//!
//! let sessions = MemoryStore::new()
//!     .guarded_rw(reads, writes)                          // 1. retried, timed, and left alone while it is down
//!     .observed(|event: &StoreEvent| println!("{event}")) // 2. what it cost, retries included
//!     .fail_soft()                                        // 3. down is the same as empty
//!     .namespace("sessions");                             // 4. a corner of its own: `clear` stays inside
//!
//! let key = Key::of_parts(["tenant-7", "ada"])?;
//! sessions.set(&key, "token".into(), SetOptions::new().ttl(Duration::from_secs(900)).tag("user:ada")).await?;
//! assert_eq!(sessions.delete_tagged("user:ada").await?, 1);
//! # Ok(()) }
//! # #[cfg(not(feature = "store"))] fn main() {}
//! ```
//!
//! `fail_soft` swallows what reads and writes fail with, and counts it in `stats().errors`. Deletes it does not swallow: an answer that should be gone and
//! is not is worse than an error.
//!
//! # Behind a cache
//!
//! ```
//! # #[cfg(all(feature = "store", feature = "cache"))] #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! use std::time::Duration;
//! use steadfast::Cache;
//! use steadfast::store::{MemoryStore, Raw, Store};
//!
//! # async fn fetch(id: u64) -> std::io::Result<String> { Ok(format!("user {id}")) }
//! let far = MemoryStore::new();                               // in truth SQLite, Redis, a directory
//! let users: Cache<u64, String> = Cache::new(10_000)
//!     .ttl(Duration::from_secs(600))
//!     .stale_if_error(Duration::from_secs(3600))
//!     .second_tier(far.namespace("users.v1"), Raw)            // or `Json`, or a codec of your own
//!     .near(0.5, Duration::from_secs(10))                     // how soon is seen what others change
//!     .build()?;
//! let user = users.get_or_load(&7, |_| fetch(7)).await?;      // here, else there, else loaded
//! users.both().remove(&7).await?;                             // there, then here
//! # let _ = user; Ok(()) }
//! # #[cfg(not(all(feature = "store", feature = "cache")))] fn main() {}
//! ```
//!
//! Such a cache needs none of the wrappers above: each question has 250 ms, five failures in a row give the store a rest, down is the same as empty, and what could not be
//! removed is not believed before it is. `remove`, `insert` and `clear` of the cache itself are for this process alone.
//!
//! # Near and far
//!
//! `Tiered` keeps near what it read far, for half the time it has left. Several processes with a near store each do not see what the others
//! change until their copies end, unless they tell each other:
//!
//! ```
//! # #[cfg(feature = "store")] #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! use steadfast::store::{Key, LocalBackplane, MemoryStore, SetOptions, Store, Tiered};
//!
//! let backplane = LocalBackplane::new();          // RedisBackplane::builder(url).channel("users").build()?
//! let far = MemoryStore::new();                   // RedisStore::connect(url).await?
//! let users = Tiered::new(MemoryStore::new(), far).backplane(backplane);
//! users.set(&Key::new("ada")?, "Ada".into(), SetOptions::new()).await?; // stored far, then near; then the others drop their copies
//! # Ok(()) }
//! # #[cfg(not(feature = "store"))] fn main() {}
//! ```
//!
//! A word says which keys have changed, and nothing else; one that comes twice, late or out of order does no harm. One that is lost would: so
//! whenever an ear was deaf (the connection broke, the server was restarted, more came than it could take in), everything near is dropped. While
//! it is deaf, near copies are read all the same: they would be anyway if the far store is down, and they end. `stats().extra("backplane_gaps")` tells
//! how often that was. Over something else than Redis, implement `Backplane`: two methods.
//!
//! # All keys
//!
//! `keys(&glob)` is a list; with a hundred thousand of them, and a backend elsewhere, walk:
//!
//! ```
//! # #[cfg(feature = "store")] #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # use steadfast::store::{Glob, MemoryStore, Store};
//! # let store = MemoryStore::new();
//! let mut sessions = store.walk_keys(Glob::new("session:*"));
//! while let Some(key) = sessions.next().await? {
//!     println!("{}", key.as_str());
//! }
//! # Ok(()) }
//! # #[cfg(not(feature = "store"))] fn main() {}
//! ```
//!
//! SQLite and Redis bring a thousand at a time, files a folder; writers are kept from nothing meanwhile. What is there all the time is found; what comes and
//! goes may be. Where you page through keys yourself, in an admin screen for one, `keys_page` gives a page and a cursor for the next.
//!
//! # Defaults, and why
//!
//! | store | default | because |
//! |---|---|---|
//! | memory | 100 MiB, least recently used goes first | a server has that to spare |
//! | file | 1 GiB, oldest goes first, down to 80 % when full | the next sweep should be a while away |
//! | file, SQLite | not `durable` | a cache may lose its last moments in a power cut; waiting for the disk costs milliseconds each time |
//! | SQLite | 10,000 entries; a write waits 50 ms for another process | a caller would rather miss than wait |
//! | HTTP | 5 s and 3 attempts, 100 requests at once, 16 MiB a value | a server must not make a client wait, or hold, without end |
//! | tiered, and behind a cache | near for half the time left, at least 60 s, never longer than far | fresh enough, and worth the copy |
//!
//! # One of your own
//!
//! Five methods: `get`, `set`, `delete`, `clear`, `stats`. Then run the suite that ours pass, in a test:
//!
//! ```
//! # #[cfg(all(feature = "store", feature = "testing"))] mod page {
//! # use steadfast::store::MemoryStore as MyStore;
//! use steadfast::testing::conformance;
//!
//! // #[tokio::test]
//! async fn my_store_keeps_the_rules() {
//!     conformance::stores(|_setup| async { Some(MyStore::new()) })
//!         .without("A10", "the server limits values, not we")
//! #       .without("A22", "").without("A23", "").without("C38", "").without("C40", "").without("C41", "").only("A1")
//!         .run()
//!         .await
//!         .assert();
//! }
//! # #[tokio::main(flavor = "current_thread")] pub async fn main() { my_store_keeps_the_rules().await }
//! # }
//! # #[cfg(all(feature = "store", feature = "testing"))] use page::main;
//! # #[cfg(not(all(feature = "store", feature = "testing")))] fn main() {}
//! ```
//!
//! Each failure names its case. `examples/custom_store.rs` has a whole one, with the SQL for PostgreSQL; `testing::bench_store` tells how fast it is.
