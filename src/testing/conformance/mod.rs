//! The suite that the stores of this crate pass, for yours. Feature `testing` with `store`.
//!
//! Give it a function that makes new, empty stores, and it runs every case of its list on one of its own: what is stored comes back, ends when
//! it should, is counted right, and nothing else happens. Each case has a number, which the report and its own failure name.
//!
//! ```
//! # #[tokio::main(flavor = "current_thread")] async fn main() {
//! use steadfast::store::MemoryStore;
//! use steadfast::testing::conformance::{self, Setup, Time};
//!
//! let report = conformance::stores(|setup: Setup| async move {
//!     let mut builder = MemoryStore::builder(); // yours
//!     if let Some(entries) = setup.max_entries {
//!         builder = builder.max_entries(entries);
//!     }
//!     if let Some(bytes) = setup.max_size_bytes {
//!         builder = builder.max_size_bytes(bytes);
//!     }
//!     if let Some(bytes) = setup.max_value_bytes {
//!         builder = builder.max_value_bytes(bytes);
//!     }
//!     Some(builder.build().unwrap()) // `None` where it cannot do what the case needs: that is skipped
//! })
//! .time(Time::Real)
//! # .only("A")
//! .run()
//! .await;
//! report.assert();
//! # }
//! ```
//!
//! # The list
//!
//! A store of the five methods alone meets all but three: A8 asks for an `exists` that counts nothing, C46 for `reset_stats`, H90 for a `close` after which
//! nothing is answered. Where one of these, or a limit, is none of your business, say so: [`without`](Stores::without).
//!
//! **A** values and keys, **B** time, **C** capacity and accounting, **F** patterns and tags, **H** faults. What a store cannot do according to
//! its [`capabilities`](crate::store::Store::capabilities) is skipped, and the report says so.

mod capacity;
mod keys;
mod lab;
mod patterns;
mod report;
mod robust;
mod time;
mod values;

pub use lab::{Setup, Stores, Time, stores};
pub use report::{CaseEnd, Findings};
