//! The story of one call, in the one order there is:
//!
//! ```text
//! monitor > fallback > total timeout > retry > breaker (look) > rate limit > bulkhead > your gates > breaker (take permit)
//!         > attempt timeout > operation
//! ```
//!
//! [`Run::poll`] tells it, stage by stage: *between* attempts the gates are asked, in order; one that makes the attempt *wait* is asked
//! on when the wait is over; then the operation is *running*; what came of it is settled with everyone who let it through, and either
//! there is a *pause* before the next attempt, or the call is concluded, and a fallback may be *answering*.
//!
//! It is a future written by hand, because an `async fn` moves what it holds from place to place, and a call that succeeds at once would
//! spend most of its time on that (94 ns against about 40 on the machine where both were measured). Each attempt reads the clock once,
//! and every policy uses that reading; a wait, or an operation that did not finish at its first poll, is worth another. Rare things
//! (waits, a fallback's future) are boxed when they happen, so this future is small.

use super::story::{Admission, Again, Story, Waiting};
use super::{Core, Options};
use crate::call::Attempt;
use crate::classify::Judge;
use crate::execution::{Ended, Until, has_runtime};
use crate::observation::CallEnd;
use crate::outcome::{Error, Outcome, Rejected};
use crate::substitution::{Substitute, Substituted};
use pin_project::pin_project;
use std::pin::{Pin, pin};
use std::task::{Context, Poll, ready};
use tokio::time::{Sleep, sleep_until};

/// Runs `operation` under every policy of `core`, once per attempt.
///
/// `lift` makes the call's error of the operation's own: it wraps a plain error, and leaves that of an inner pipeline as it is.
#[inline]
pub(crate) fn run<'c, T, E, X, F, Fut, J, L, S>(
    core: &'c Core,
    options: &'c Options<'c>,
    judge: J,
    lift: L,
    substitute: S,
    operation: F,
) -> Run<'c, E, F, Fut, J, L, S, S::Later>
where
    E: 'static,
    F: Fn(Attempt) -> Fut,
    Fut: Future<Output = Result<T, X>>,
    J: Judge<T, E>,
    L: Fn(X) -> Error<E>,
    S: Substitute<T, E>,
{
    Run { stage: Stage::Between, story: None, last_error: None, core, options, judge, lift, substitute: Some(substitute), operation }
}

/// One call under way. The fields are dropped in this order: the operation first, then what let it through.
#[pin_project]
pub(crate) struct Run<'c, E, F, Fut, J, L, S, Later> {
    #[pin]
    stage: Stage<'c, Fut, Later>,
    /// From the first poll on.
    story: Option<Story<'c>>,
    last_error: Option<E>,
    core: &'c Core,
    options: &'c Options<'c>,
    judge: J,
    lift: L,
    substitute: Option<S>,
    operation: F,
}

#[pin_project(project = StageProjection)]
enum Stage<'c, Fut, Later> {
    Between,
    Waiting(Waiting<'c>),
    Running(#[pin] Until<Fut>),
    Pausing(#[pin] Sleep),
    /// Between two attempts without a pause.
    Yielding,
    /// With the text of the error that the fallback was made of.
    Answering(Pin<Box<Until<Later>>>, Option<String>),
}

impl<T, E, X, F, Fut, J, L, S, Later> Future for Run<'_, E, F, Fut, J, L, S, Later>
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
        let story = match this.story {
            Some(story) => story,
            None => this.story.insert(Story::begin(this.core, this.options)),
        };
        loop {
            let (result, outcome) = match this.stage.as_mut().project() {
                StageProjection::Between if story.is_told() => polled_again(),
                StageProjection::Between => match story.ask_gates(None) {
                    Admission::Granted => {
                        let operation = story.start(&*this.operation);
                        this.stage.set(Stage::Running(Until::new(operation)));
                        continue;
                    }
                    Admission::Wait(waiting) => {
                        this.stage.set(Stage::Waiting(waiting));
                        continue;
                    }
                    Admission::Refused(rejected) => refused(rejected),
                },
                StageProjection::Waiting(waiting) => match ready!(waiting.poll(cx, story)) {
                    Admission::Granted => {
                        let operation = story.start(&*this.operation);
                        this.stage.set(Stage::Running(Until::new(operation)));
                        continue;
                    }
                    Admission::Wait(waiting) => {
                        this.stage.set(Stage::Waiting(waiting));
                        continue;
                    }
                    Admission::Refused(rejected) => {
                        this.stage.set(Stage::Between);
                        refused(rejected)
                    }
                },
                StageProjection::Running(until) => {
                    let limit = story.attempt_limit();
                    let ended = ready!(until.poll(cx, &mut story.surroundings, limit));
                    // The operation is gone before its place is free.
                    this.stage.set(Stage::Between);
                    match ended {
                        Ended::Finished { output, at_once } => {
                            story.finished(at_once);
                            let (result, outcome) = judged(story.core, this.judge, output.map_err(&*this.lift));
                            story.settle(outcome);
                            if outcome.is_success()
                                && let Ok(value) = result
                            {
                                story.succeeded();
                                story.tell(CallEnd::Success);
                                return Poll::Ready(Ok(value));
                            }
                            (result, outcome)
                        }
                        Ended::TimedOut => {
                            let rejected = story.timed_out();
                            story.settle(Outcome::TimedOut);
                            (Err(Error::Rejected(rejected)), Outcome::TimedOut)
                        }
                        Ended::NoRuntime => {
                            story.settle(Outcome::NotAttempted);
                            refused(story.no_runtime())
                        }
                    }
                }
                StageProjection::Pausing(pause) => {
                    ready!(pause.poll(cx));
                    this.stage.set(Stage::Between);
                    story.next_attempt();
                    continue;
                }
                StageProjection::Yielding => {
                    // No pause between attempts must not mean no turn for anybody else on this thread.
                    ready!(pin!(tokio::task::coop::consume_budget()).poll(cx));
                    this.stage.set(Stage::Between);
                    story.next_attempt();
                    continue;
                }
                StageProjection::Answering(answer, text) => {
                    let deadline = story.surroundings.deadline();
                    let ended = ready!(answer.as_mut().poll(cx, &mut story.surroundings, || deadline));
                    let text = text.take();
                    this.stage.set(Stage::Between);
                    return Poll::Ready(story.late_answer(ended, text));
                }
            };

            // An attempt is over, without success. Is there another?
            let again = story.decide(&result, outcome);
            let (result, outcome) = if again == Again::No {
                (result, outcome)
            } else {
                if let Err(Error::Inner(error)) = result {
                    *this.last_error = Some(error);
                }
                match again {
                    Again::At(moment) if has_runtime() => {
                        this.stage.set(Stage::Pausing(sleep_until(moment)));
                        continue;
                    }
                    Again::At(_) => refused(story.no_runtime()),
                    Again::AtOnce | Again::No => {
                        this.stage.set(Stage::Yielding);
                        continue;
                    }
                }
            };
            let error = match story.conclude(this.judge, result, outcome, this.last_error.take()) {
                Ok(value) => return Poll::Ready(Ok(value)),
                Err(error) => error,
            };
            let Some(substitute) = this.substitute.take() else { return Poll::Ready(Err(error)) };
            let end = CallEnd::of(&error);
            match substitute.substitute(error, &story.core.judges) {
                Substituted::Not(error) => return Poll::Ready(Err(error)),
                Substituted::Now(answer) => {
                    story.fell_back(end);
                    return Poll::Ready(answer);
                }
                Substituted::Later(answer, text) => {
                    story.fell_back(end);
                    this.stage.set(Stage::Answering(Box::pin(Until::new(answer)), text));
                }
            }
        }
    }
}

/// As an `async fn` does. To begin anew would be to do the work twice.
#[cold]
fn polled_again() -> ! {
    panic!("a call was polled after it had ended")
}

fn refused<T, E>(rejected: Rejected) -> (Result<T, Error<E>>, Outcome) {
    let outcome = rejected.outcome();
    (Err(Error::Rejected(rejected)), outcome)
}

/// Judges what the operation answered. What an inner pipeline rejected is judged as the rejection it is.
#[inline]
fn judged<T, E: 'static>(core: &Core, judge: &impl Judge<T, E>, result: Result<T, Error<E>>) -> (Result<T, Error<E>>, Outcome) {
    let own = match result {
        Err(Error::Rejected(rejected)) => return refused(rejected),
        Err(Error::Inner(error)) => Err(error),
        Ok(value) => Ok(value),
    };
    let verdict = judge.judge(&core.judges, &own);
    (own.map_err(Error::Inner), Outcome::Judged(verdict))
}
