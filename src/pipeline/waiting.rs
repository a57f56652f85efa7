//! The waits before an attempt: in a queue, or at a gate of the caller's own.

use super::Core;
use super::leg::{Admission, Gates, Passes};
use super::story::Story;
use crate::admission::{
    AdaptivePermit, AdaptiveWaiter, BulkheadPermit, BulkheadWaiter, KeyPermit, KeyWaiter, RateLimiterWaiter, Reservation,
};
use crate::call::Call;
use crate::execution::{Ended, Until};
use crate::outcome::{Outcome, Rejected, RejectedKind};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

/// A wait at one of the gates, and what the one before it has reserved.
pub(super) struct Waiting<'c> {
    pub(super) door: Door<'c>,
    pub(super) reservation: Option<Reservation<'c>>,
}

/// Where.
pub(super) enum Door<'c> {
    PerKey(Pin<Box<KeyWaiter<'c>>>),
    RateLimit(Pin<Box<RateLimiterWaiter<'c>>>),
    Bulkhead(Pin<Box<BulkheadWaiter<'c>>>),
    AdaptiveLimit(Pin<Box<AdaptiveWaiter<'c>>>),
    Own(Pin<Box<Until<OwnGates<'c>>>>),
}

pub(super) type OwnGates<'c> = Pin<Box<dyn Future<Output = Result<Passes<'c>, Rejected>> + Send + 'c>>;

/// What was waited for.
pub(super) enum Entered<'c> {
    Key(KeyPermit<'c>),
    Units(Reservation<'c>),
    Place(BulkheadPermit<'c>),
    Slot(AdaptivePermit<'c>),
    Passes(Passes<'c>),
}

impl<'c> Waiting<'c> {
    pub(super) fn at(door: Door<'c>, reservation: Option<Reservation<'c>>) -> Admission<'c> {
        Admission::Wait(Box::new(Self { door, reservation }))
    }

    /// Waits, and then has the story ask the gates after this one.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>, story: &mut Story<'c>) -> Poll<Admission<'c>> {
        let (gate, entered) = match &mut self.door {
            Door::PerKey(waiter) => (Gates::PerKey, ready!(waiter.as_mut().poll(cx)).map(Entered::Key)),
            Door::RateLimit(waiter) => (Gates::RateLimit, ready!(waiter.as_mut().poll(cx)).map(Entered::Units)),
            Door::Bulkhead(waiter) => (Gates::Bulkhead, ready!(waiter.as_mut().poll(cx)).map(Entered::Place)),
            Door::AdaptiveLimit(waiter) => (Gates::AdaptiveLimit, ready!(waiter.as_mut().poll(cx)).map(Entered::Slot)),
            Door::Own(asked) => {
                let deadline = story.surroundings.deadline();
                let entered = match ready!(asked.as_mut().poll(cx, &mut story.surroundings, deadline)) {
                    Ended::Finished(output) => output.map(Entered::Passes),
                    Ended::TimedOut => Err(Rejected::new(RejectedKind::DeadlineExceeded)),
                    Ended::NoRuntime => Err(Rejected::new(RejectedKind::NoRuntime)),
                };
                (Gates::Own, entered)
            }
        };
        Poll::Ready(story.waited(gate, entered, self.reservation.take()))
    }
}

/// Asks the gates of the caller's own, one after another.
pub(super) fn own_gates<'c>(core: &'c Core, call: Call<'c>) -> OwnGates<'c> {
    Box::pin(async move {
        let mut passes = Vec::with_capacity(core.gates.len());
        for gate in &core.gates {
            match gate.admit(call).await {
                Ok(pass) => passes.push(pass),
                Err(rejected) => {
                    // Whoever let it through learns that it was not made: what was taken for it may be given back.
                    passes.into_iter().for_each(|pass| pass.settle(Outcome::NotAttempted));
                    return Err(rejected);
                }
            }
        }
        Ok(passes)
    })
}
