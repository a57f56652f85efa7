//! Chaos in a pipeline: right before the operation begins, within the timeout of the attempt and after all gates.
//!
//! It is around the operation, so the story of a call knows nothing of it, and each leg of an attempt is drawn for. The operation is asked for
//! its future when the attempt begins, and the future is polled when what comes before it is over; where something comes instead, it is
//! not even asked.

use super::policies::PolicyOf;
use super::run::Run;
use super::{Core, Options};
use crate::call::{Attempt, Call};
use crate::chaos::{Chaos, ChaosConfig, Doing, Instead, Known};
use crate::classify::Judge;
use crate::fault::{Fault, gather};
use crate::outcome::Error;
use pin_project_lite::pin_project;
use std::any::TypeId;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

/// As [`run`](super::run::run), with the injections of the pipeline's chaos.
#[inline]
#[expect(clippy::type_complexity, reason = "closures have no names to shorten")]
pub(crate) fn run<'c, T, E, X, F, Fut, J, L>(
    core: &'c Core,
    options: &'c Options<'c>,
    judge: J,
    lift: L,
    operation: F,
) -> Run<'c, E, impl Fn(Attempt) -> Injected<E, Fut, L>, Injected<E, Fut, L>, J, impl Fn(Error<E>) -> Error<E>>
where
    E: 'static,
    F: Fn(Attempt) -> Fut,
    Fut: Future<Output = Result<T, X>>,
    J: Judge<T, E>,
    L: Fn(X) -> Error<E> + Copy,
{
    let injected = move |attempt| match disturb(core, options, attempt) {
        None => Injected::No { operation: operation(attempt), lift },
        Some((before, instead)) => {
            let operation = if instead.is_some() { None } else { Some(operation(attempt)) };
            Injected::Yes { disturbed: Box::pin(Disturbed { before, instead, operation }), lift }
        }
    };
    super::run::run(core, options, judge, std::convert::identity, injected)
}

type Disturbance<E> = (Option<Doing>, Option<(Instead, Error<E>)>);

#[inline]
fn disturb<E: 'static>(core: &Core, options: &Options<'_>, attempt: Attempt) -> Option<Disturbance<E>> {
    let chaos = core.chaos.as_ref()?;
    let call = Call { attempt, key: options.key, priority: options.priority, cost: options.cost };
    let known = Known { error: TypeId::of::<E>(), value: None, rejections: true };
    let (before, instead) = chaos.decide(&call, known)?.into_parts();
    Some((before, instead.and_then(|instead| instead.error(&call).map(|error| (instead, error)))))
}

pin_project! {
    /// An operation, with injections or without.
    #[project = InjectedProjection]
    pub(crate) enum Injected<E, Fut, L> {
        No {
            #[pin]
            operation: Fut,
            lift: L,
        },
        Yes { disturbed: Pin<Box<Disturbed<E, Fut>>>, lift: L },
    }
}

pin_project! {
    /// What comes before an operation, and then that or something else instead of it.
    pub(crate) struct Disturbed<E, Fut> {
        before: Option<Doing>,
        instead: Option<(Instead, Error<E>)>,
        #[pin]
        operation: Option<Fut>,
    }
}

impl<T, E, X, Fut, L> Future for Injected<E, Fut, L>
where
    Fut: Future<Output = Result<T, X>>,
    L: Fn(X) -> Error<E>,
{
    type Output = Result<T, Error<E>>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let (disturbed, lift) = match self.project() {
            InjectedProjection::No { operation, lift } => return operation.poll(cx).map_err(&*lift),
            InjectedProjection::Yes { disturbed, lift } => (disturbed.as_mut().project(), lift),
        };
        if let Some(before) = disturbed.before {
            ready!(before.as_mut().poll(cx));
            *disturbed.before = None;
        }
        if let Some((instead, error)) = disturbed.instead.take() {
            instead.count();
            return Poll::Ready(Err(error));
        }
        match disturbed.operation.as_pin_mut() {
            Some(operation) => operation.poll(cx).map_err(&*lift),
            None => Poll::Pending, // what came instead has been given
        }
    }
}

impl From<ChaosConfig> for PolicyOf<ChaosConfig, Chaos> {
    fn from(config: ChaosConfig) -> Self {
        Self::New(config)
    }
}

impl From<Chaos> for PolicyOf<ChaosConfig, Chaos> {
    fn from(live: Chaos) -> Self {
        Self::Shared(live)
    }
}

pub(super) fn build(chaos: PolicyOf<ChaosConfig, Chaos>, faults: &mut Vec<Fault>) -> Option<Chaos> {
    match chaos {
        PolicyOf::Shared(live) => Some(live),
        PolicyOf::New(config) => match config.build() {
            Ok(live) => Some(live),
            Err(error) => {
                gather(faults, "chaos", error.into_faults());
                None
            }
        },
    }
}
