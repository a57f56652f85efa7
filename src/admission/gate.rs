//! The door for gates of your own.
//!
//! ```
//! use std::sync::atomic::{AtomicU32, Ordering};
//! use steadfast::{Call, Gate, GateFuture, Outcome, Pass, Pipeline, Rejected, RejectedKind};
//!
//! /// Lets through so many attempts and no more.
//! #[derive(Debug)]
//! struct Tickets(AtomicU32);
//!
//! impl Gate for Tickets {
//!     fn admit<'a>(&'a self, _call: Call<'a>) -> GateFuture<'a> {
//!         let left = self.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |n| n.checked_sub(1));
//!         Box::pin(async move {
//!             left.map_err(|_| Rejected::new(RejectedKind::Custom("no tickets left")))?;
//!             Ok(Box::new(Ticket) as Box<dyn Pass>)
//!         })
//!     }
//! }
//!
//! struct Ticket;
//! impl Pass for Ticket {
//!     fn settle(self: Box<Self>, _outcome: Outcome) {}
//! }
//!
//! # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let pipeline = Pipeline::builder("box office").gate(Tickets(AtomicU32::new(1))).build()?;
//! assert!(pipeline.call(|| async { Ok::<_, String>(()) }).await.is_ok());
//! assert!(pipeline.call(|| async { Ok::<_, String>(()) }).await.is_err());
//! # Ok(()) }
//! ```

use crate::call::Call;
use crate::outcome::{Outcome, Rejected};
use std::pin::Pin;

/// The future of [`Gate::admit`].
pub type GateFuture<'a> = Pin<Box<dyn Future<Output = Result<Box<dyn Pass + 'a>, Rejected>> + Send + 'a>>;

/// Decides whether an attempt may go now.
///
/// A pipeline asks its own gates in the order they were given, after its bulkhead and before the breaker hands out its permit.
pub trait Gate: Send + Sync + 'static {
    /// Admits the attempt, now or after a wait, or refuses it.
    ///
    /// # Cancel safety
    /// The future is dropped when the call is dropped or its deadline passes: it must hold nothing that its drop does not give back.
    fn admit<'a>(&'a self, call: Call<'a>) -> GateFuture<'a>;

    /// What [`Display`](std::fmt::Display) of the pipeline calls it. **Default**: `"gate"`.
    fn name(&self) -> &str {
        "gate"
    }
}

/// Leave to make one attempt. Dropped unsettled, it says nothing about the dependency: give back in `Drop` what was taken.
pub trait Pass: Send {
    /// The attempt ended like this.
    fn settle(self: Box<Self>, outcome: Outcome);
}

/// What a built-in gate answers at once. `Wait` is the rare one: the pipeline boxes it, so that the common path stays small.
pub(crate) enum Entry<Permit, Waiter> {
    Granted(Permit),
    Refused(Rejected),
    Wait(Waiter),
}
