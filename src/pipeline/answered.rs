//! The layer around a call that answers when it failed: the fallback.

use super::run::Run;
use crate::call::Attempt;
use crate::classify::Judge;
use crate::execution::Until;
use crate::observation::CallEnd;
use crate::outcome::Error;
use crate::substitution::{Substitute, Substituted};
use pin_project_lite::pin_project;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

/// Runs `call`, and lets `substitute` answer for it when it fails. The answer has until the deadline of the call.
#[inline]
pub(crate) fn answered<T, E, R, S: Substitute<T, E>>(call: R, substitute: S) -> Answered<R, S, S::Later> {
    Answered { call, substitute: Some(substitute), answering: None }
}

pin_project! {
    /// A call, and then perhaps its fallback.
    pub(crate) struct Answered<R, S, Later> {
        #[pin]
        call: R,
        substitute: Option<S>,
        answering: Option<Answering<Later>>,
    }
}

/// The fallback's future, boxed because it is rare.
struct Answering<Later> {
    answer: Pin<Box<Until<Later>>>,
    /// Of the error that it was made of.
    text: Option<String>,
}

impl<T, E, X, F, Fut, J, L, S, Later> Future for Answered<Run<'_, E, F, Fut, J, L>, S, Later>
where
    E: 'static,
    F: Fn(Attempt) -> Fut,
    Fut: Future<Output = Result<T, X>>,
    J: Judge<T, E>,
    L: Fn(X) -> Error<E>,
    S: Substitute<T, E, Later = Later>,
    Later: Future<Output = Result<T, Error<E>>>,
{
    type Output = Result<T, Error<E>>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut this = self.project();
        if this.answering.is_none() {
            let error = match ready!(this.call.as_mut().poll(cx)) {
                Ok(value) => return Poll::Ready(Ok(value)),
                Err(error) => error,
            };
            let (Some(substitute), Some(story)) = (this.substitute.take(), this.call.as_mut().story()) else {
                return Poll::Ready(Err(error));
            };
            let end = CallEnd::of(&error);
            match substitute.substitute(error, &story.core.judges) {
                Substituted::Not(error) => return Poll::Ready(Err(error)),
                Substituted::Now(answer) => {
                    story.fell_back(end);
                    return Poll::Ready(answer);
                }
                Substituted::Later(answer, text) => {
                    story.fell_back(end);
                    *this.answering = Some(Answering { answer: Box::pin(Until::new(answer)), text });
                }
            }
        }
        let (Some(answering), Some(story)) = (this.answering.as_mut(), this.call.story()) else { return Poll::Pending };
        let deadline = story.surroundings.deadline();
        let ended = ready!(answering.answer.as_mut().poll(cx, &mut story.surroundings, deadline));
        let text = answering.text.take();
        *this.answering = None; // the fallback's future is gone before its answer is seen
        Poll::Ready(story.late_answer(ended, text))
    }
}
