//! The one trait behind every store of limits.

use super::{AnyRateStore, Decision, Quota};
use crate::store::{Key, StoreError};

/// One of several requests that go together, or not at all: see [`RateStore::acquire_many`].
#[derive(Clone, Copy, Debug)]
pub struct Request<'a> {
    /// Whose units.
    pub key: &'a Key,
    /// By which quota.
    pub quota: &'a Quota,
    /// How many.
    pub cost: u32,
}

impl<'a> Request<'a> {
    /// So many units of this key.
    #[must_use]
    pub const fn new(key: &'a Key, quota: &'a Quota, cost: u32) -> Self {
        Self { key, quota, cost }
    }
}

/// Limits under keys: the interface of every backend.
///
/// Three methods make a store; the rest is provided, to be overridden where the backend does better. The rules that every store keeps, and that
/// `steadfast::testing::rate_conformance` checks on yours:
///
/// * each call is one atomic step on the backend's side: whoever else asks at the same time, in this process or another, never more than the quota
///   goes;
/// * time is the backend's own, and whole microseconds; the clock may go back, which neither drains nor fills;
/// * a refusal takes nothing;
/// * what is kept under a key is kept for each [`Algorithm`](super::Algorithm) by itself. Another limit, burst or period keeps what was spent;
/// * a key at which nothing is missing any more vanishes, and none lives for ever;
/// * every future may be dropped at any point: what it was to do is done whole or not at all. Whether units were taken, nobody knows then; and a
///   step of unknown outcome is an [`OutcomeUnknown`](crate::store::StoreErrorKind::OutcomeUnknown), never done again by the store;
/// * after [`close`](Self::close) everything answers [`Closed`](crate::store::StoreErrorKind::Closed).
///
/// To implement one on a backend without scripts, keep a [`State`](super::State) and let it decide, in a transaction. As an object, a store is an
/// [`AnyRateStore`].
///
/// ```
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use steadfast::store::Key;
/// use steadfast::store::rate::{MemoryRateStore, Quota, RateStore};
///
/// let store = MemoryRateStore::new();
/// let (tenant, quota) = (Key::new("tenant:7")?, Quota::per_minute(2));
/// assert!(store.acquire(&tenant, &quota, 1).await?.allowed);
/// assert!(store.acquire(&tenant, &quota, 1).await?.allowed);
/// let refused = store.acquire(&tenant, &quota, 1).await?;
/// assert!(!refused.allowed && refused.retry_after.is_some());
/// # Ok(()) }
/// ```
pub trait RateStore: Send + Sync + 'static {
    /// Takes `cost` units of `key`, if they are there. A cost of 0 takes nothing: a [`peek`](Self::peek).
    ///
    /// # Errors
    /// [`InvalidConfig`](crate::store::StoreErrorKind::InvalidConfig) for a quota that cannot work,
    /// [`TooLarge`](crate::store::StoreErrorKind::TooLarge) for a cost above the quota's [capacity](Quota::capacity), both before anybody is asked
    /// ([`Quota::terms`]); or whatever keeps the backend from answering.
    fn acquire(&self, key: &Key, quota: &Quota, cost: u32) -> impl Future<Output = Result<Decision, StoreError>> + Send;

    /// Gives units back that were taken and not used. There are never more than when nothing is missing.
    ///
    /// # Errors
    /// As [`acquire`](Self::acquire), but no number of units is too large.
    fn refund(&self, key: &Key, quota: &Quota, units: u32) -> impl Future<Output = Result<(), StoreError>> + Send;

    /// Forgets all that was spent at `key`, by every algorithm. `true` when there was anything.
    ///
    /// # Errors
    /// Whatever keeps the backend from answering.
    fn reset(&self, key: &Key) -> impl Future<Output = Result<bool, StoreError>> + Send;

    /// What it is, in one word, for errors and events. **Default**: `custom`.
    fn name(&self) -> &'static str {
        "custom"
    }

    /// How things stand, without taking anything: whether one unit could be had, and how many. **Default**: acquires 0.
    ///
    /// # Errors
    /// As [`acquire`](Self::acquire).
    fn peek(&self, key: &Key, quota: &Quota) -> impl Future<Output = Result<Decision, StoreError>> + Send {
        self.acquire(key, quota, 0)
    }

    /// Takes the units of all requests, or of none; a key may be asked for twice. They were taken if every decision is
    /// [`allowed`](Decision::allowed); otherwise nothing was, and each tells how it stands with that request: those refused why, the others whether
    /// they could have gone.
    ///
    /// **Default**: one by one, and what was taken is given back at the first refusal or error; others may be refused meanwhile, and what a crash
    /// in between leaves taken comes back with time. The stores of this crate do it in one step.
    ///
    /// # Errors
    /// As [`acquire`](Self::acquire), and nothing was taken, as far as the backend can still be told so.
    fn acquire_many(&self, requests: &[Request<'_>]) -> impl Future<Output = Result<Vec<Decision>, StoreError>> + Send {
        async move {
            // Before anybody is asked.
            requests.iter().try_for_each(|request| request.quota.terms(request.cost).map(drop))?;
            let mut decisions: Vec<Decision> = Vec::with_capacity(requests.len());
            for (at, request) in requests.iter().enumerate() {
                let decision = match self.acquire(request.key, request.quota, request.cost).await {
                    Ok(decision) => decision,
                    Err(error) => {
                        // What it says matters more than whether this works, too.
                        let _ = give_back(self, &requests[..at]).await;
                        return Err(error);
                    }
                };
                decisions.push(decision);
                if !decision.allowed {
                    give_back(self, &requests[..at]).await?;
                    for rest in &requests[at + 1..] {
                        decisions.push(would_go(self.peek(rest.key, rest.quota).await?, rest.cost));
                    }
                    break;
                }
            }
            Ok(decisions)
        }
    }

    /// Finds out whether the backend works, and leaves nothing behind. **Default**: peeks at a key of its own.
    ///
    /// # Errors
    /// Whatever went wrong.
    fn probe(&self) -> impl Future<Output = Result<(), StoreError>> + Send {
        async move { self.peek(&Key::of_parts(["steadfast", "probe"])?, &Quota::per_second(1)).await.map(drop) }
    }

    /// Ends it: connections, files and threads are given back when this is done. Again is fine. **Default**: nothing to end.
    ///
    /// # Errors
    /// When the backend cannot be left in order.
    fn close(&self) -> impl Future<Output = Result<(), StoreError>> + Send {
        async { Ok(()) }
    }

    /// This store as a value of one type for all.
    fn into_any(self) -> AnyRateStore
    where
        Self: Sized,
    {
        AnyRateStore::new(self)
    }
}

async fn give_back<S: RateStore + ?Sized>(store: &S, taken: &[Request<'_>]) -> Result<(), StoreError> {
    for request in taken.iter().filter(|request| request.cost > 0) {
        store.refund(request.key, request.quota, request.cost).await?;
    }
    Ok(())
}

/// What a peek says of a request that was not made, since another had been refused.
pub(crate) const fn would_go(mut peek: Decision, cost: u32) -> Decision {
    // A cost of 0 asks for one.
    peek.allowed = peek.remaining >= if cost == 0 { 1 } else { cost };
    peek
}
