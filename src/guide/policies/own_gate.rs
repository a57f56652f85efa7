//! A gate of your own: whatever else must say yes before an attempt goes. Details: [`admission::gate`](mod@crate::admission::gate).
//!
//! A maintenance switch, a quota that lives in a database, a limit by tenant: implement [`Gate`], and the pipeline asks it after its own
//! bulkhead. What it gives out, a [`Pass`], is told how the attempt ended, and is dropped if the call is.
//!
//! **When not**: to judge results (that is [`classify`](PipelineBuilder::classify)); for work of its own (a gate should answer fast).
//!
//! ```
//! # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! use std::sync::Arc;
//! use std::sync::atomic::{AtomicBool, Ordering};
//! use steadfast::{Call, Gate, GateFuture, Outcome, Pass, Pipeline, Rejected, RejectedKind};
//!
//! /// Refuses while somebody works on the other side.
//! struct Maintenance(Arc<AtomicBool>);
//!
//! impl Gate for Maintenance {
//!     fn admit<'a>(&'a self, _call: Call<'a>) -> GateFuture<'a> {
//!         let on = self.0.load(Ordering::Relaxed);
//!         Box::pin(async move {
//!             if on { Err(Rejected::new(RejectedKind::Custom("maintenance"))) } else { Ok(Box::new(Go) as Box<dyn Pass>) }
//!         })
//!     }
//!     fn name(&self) -> &str {
//!         "maintenance"
//!     }
//! }
//!
//! struct Go;
//! impl Pass for Go {
//!     fn settle(self: Box<Self>, _outcome: Outcome) {} // what was taken is given back here, and in `Drop`
//! }
//!
//! let switch = Arc::new(AtomicBool::new(true));
//! let api = Pipeline::builder("api").gate(Maintenance(switch.clone())).build()?;
//! let error = api.call(|| async { Ok::<_, String>(1) }).await.unwrap_err();
//! assert_eq!(error.kind(), Some(RejectedKind::Custom("maintenance")));
//! # Ok(()) }
//! ```
//!
//! # Defaults
//!
//! | setting | default | because |
//! |---|---|---|
//! | `gate` | none | several are asked in the order you gave them |
//! | `name` | `gate` | what `Display` of the pipeline calls it |
//!
//! # What you will see
//!
//! `rejected` with your own kind. Like every refusal it is no failure to the breaker, and is not retried unless
//! [`retry_rejections`](RetryConfig::retry_rejections) says so. Asking a gate of your own costs an
//! allocation or two; the built-in gates allocate only when they queue.

#[cfg(doc)]
use crate::*;
