//! Chaos: breaks calls on purpose, behind the cargo feature `chaos`. Details: module `chaos`.
//!
//! Timeouts, retries and breakers are code that runs on bad days. Chaos makes such a day when you are watching: a share of the calls is
//! late, hangs, fails or is answered nonsense, always the same ones for the same seed.
//!
//! **When not**: in production, unless somebody watches and a switch is at hand. For a test of one case, a script (feature `testing`) says
//! exactly which call fails.
//!
//! ```
//! # #[cfg(feature = "chaos")] mod page {
//! # #[tokio::main(flavor = "current_thread", start_paused = true)] pub async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! use std::time::Duration;
//! use steadfast::chaos::{Chaos, Injection};
//! use steadfast::{Pipeline, Retry};
//!
//! let api = Pipeline::builder("api")
//!     .attempt_timeout(Duration::from_secs(1))
//!     .retry(Retry::exponential(3, Duration::from_millis(100)))
//!     .chaos(
//!         Chaos::seeded(42)
//!             .latency(0.1, Duration::from_millis(300))
//!             .hang(0.01)                                      // needs a timeout, or nobody ever ends it
//!             .fault(0.05, || std::io::Error::other("chaos"))  // for calls that fail with an `io::Error`
//!             .fault(0.05, || String::from("chaos"))           // and for those that fail with a `String`
//!             .only(|call| call.key() != Some("important")),
//!     )
//!     .build()?;
//!
//! for _ in 0..100 {
//!     api.call(|| async { Ok::<_, std::io::Error>(1) }).await?;
//! }
//! let chaos = api.chaos().expect("it was built with it");
//! chaos.set_rate(Injection::Fault, 0.5)?;                      // while calls run
//! chaos.disable();
//! println!("{:?}", chaos.counts());
//! # Ok(()) }
//! # }
//! # #[cfg(feature = "chaos")] use page::main;
//! # #[cfg(not(feature = "chaos"))] fn main() {}
//! ```
//!
//! # Defaults
//!
//! | setting | default | because |
//! |---|---|---|
//! | switch | on | who builds it wants it; `disabled()` begins without |
//! | injections | none | a configuration without any is refused |
//! | `only` | all calls | keep it to one tenant where others must not notice |
//!
//! # What comes when
//!
//! Each injection is drawn for by itself, with a rate or a function of the call, and they come true in one order, whatever that of the setters:
//! behaviour, latency, hang, rejection, fault, outcome. Behaviours and latencies add up, and the operation runs after them; of the others
//! the first counts, and the operation does not run. It happens within the timeout of the attempt and after all gates, so policies take it
//! for real. Values instead of the operation's own (`outcome`) need `chaos.around(operation)`, for a
//! pipeline does not know their types.
//!
//! # What you will see
//!
//! | event | when |
//! |---|---|
//! | `chaos_injected` (`tracing`, level warn) | always, with its kind, so that nobody looks for the cause of what was done on purpose |
//! | everything else | as if it were real: that is the point |

#[cfg(doc)]
use crate::*;
