//! An operation with injections.

use super::{Chaos, Instead, Known};
use crate::call::{Attempt, Call};
use crate::outcome::Error;
use pin_project_lite::pin_project;
use std::any::TypeId;
use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

pin_project! {
    /// The future of an operation with injections. Made by [`Chaos::around`].
    #[must_use = "futures do nothing unless polled"]
    pub struct Disturbed<F, Fut> {
        #[pin]
        stage: Stage<Fut>,
        chaos: Chaos,
        call: Call<'static>,
        // Until it has begun.
        operation: Option<F>,
        begin: fn(F, Attempt) -> Fut,
    }
}

pin_project! {
    #[project = StageProjection]
    enum Stage<Fut> {
        New,
        Before { before: super::Doing, instead: Option<Instead> },
        Running {
            #[pin]
            operation: Fut,
        },
    }
}

impl<F, Fut> Disturbed<F, Fut> {
    pub(super) const fn new(chaos: Chaos, call: Call<'static>, operation: F, begin: fn(F, Attempt) -> Fut) -> Self {
        Self { stage: Stage::New, chaos, call, operation: Some(operation), begin }
    }
}

impl<T: 'static, E: 'static, F, Fut: Future<Output = Result<T, E>>> Future for Disturbed<F, Fut> {
    type Output = Result<T, E>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut this = self.project();
        loop {
            let instead = match this.stage.as_mut().project() {
                StageProjection::Running { operation } => return operation.poll(cx),
                StageProjection::Before { before, instead } => {
                    ready!(before.as_mut().poll(cx));
                    instead.take()
                }
                StageProjection::New => {
                    let known = Known { error: TypeId::of::<E>(), value: Some(TypeId::of::<T>()), rejections: false };
                    match this.chaos.decide(this.call, known).map(super::Decision::into_parts) {
                        Some((Some(before), instead)) => {
                            this.stage.set(Stage::Before { before, instead });
                            continue;
                        }
                        Some((None, instead)) => instead,
                        None => None,
                    }
                }
            };
            let Some(operation) = this.operation.take() else { polled_again() };
            match instead.and_then(|instead| instead.answer::<T, E>(this.call)) {
                Some(Ok(value)) => return Poll::Ready(Ok(value)),
                Some(Err(Error::Inner(error))) => return Poll::Ready(Err(error)),
                Some(Err(Error::Rejected(_))) | None => {}
            }
            let operation = (this.begin)(operation, this.call.attempt);
            this.stage.set(Stage::Running { operation });
        }
    }
}

/// As an `async fn` does.
#[cold]
fn polled_again() -> ! {
    panic!("an operation was polled after it had ended")
}

impl<F, Fut> fmt::Debug for Disturbed<F, Fut> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Disturbed").field("begun", &self.operation.is_none()).finish_non_exhaustive()
    }
}
