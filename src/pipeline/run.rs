//! The story of one call, in the one order there is:
//!
//! ```text
//! monitor > fallback > total timeout > retry > hedge >
//!     breaker (look) > throttle > per key > rate limit > bulkhead > adaptive limit > your gates > breaker (take permit) >
//!     attempt timeout > operation
//! ```
//!
//! [`Run::poll`] tells it, stage by stage: *between* attempts the gates are asked, in order; one that makes the attempt *wait* is asked
//! on when the wait is over; then the operation is *running*; what came of it is settled with everyone who let it through, and either
//! there is a *pause* before the next attempt, or the call is concluded. A fallback goes around it: see [`answered`](super::answered).
//!
//! A hedged attempt has several legs, each with a stage of its own, and the loop goes round among them: [`race`](super::race) says whose turn
//! it is. Without a hedge it is always the turn of the first, and no more than that is asked.
//!
//! It is a future written by hand, because an `async fn` moves what it holds from place to place, and a call that succeeds at once would
//! spend most of its time on that (94 ns against 54 on the machine where both were measured). Each attempt reads the clock once,
//! and every policy uses that reading; a wait, or an operation that did not finish at its first poll, is worth another. Waits are
//! boxed when they happen, so this future is small; and what does not depend on the operation is in [`Story`], which is compiled once.

use super::leg::Admission;
use super::race::After;
use super::story::{Again, Story};
use super::waiting::Waiting;
use super::{Core, Options};
use crate::call::Attempt;
use crate::classify::Judge;
use crate::execution::{Ended, Until, has_runtime};
use crate::observation::CallEnd;
use crate::outcome::{Error, Outcome, Rejected};
use pin_project_lite::pin_project;
use std::pin::{Pin, pin};
use std::task::{Context, Poll, ready};
use tokio::time::{Sleep, sleep_until};

/// Runs `operation` under every policy of `core`, once per attempt.
///
/// `lift` makes the call's error of the operation's own: it wraps a plain error, and leaves that of an inner pipeline as it is.
#[inline]
pub(crate) fn run<'c, T, E, X, F, Fut, J, L>(
    core: &'c Core,
    options: &'c Options<'c>,
    judge: J,
    lift: L,
    operation: F,
) -> Run<'c, E, F, Fut, J, L>
where
    E: 'static,
    F: Fn(Attempt) -> Fut,
    Fut: Future<Output = Result<T, X>>,
    J: Judge<T, E>,
    L: Fn(X) -> Error<E>,
{
    Run { stage: Stage::Between, beside: None, story: None, last_error: None, core, options, judge, lift, operation }
}

pin_project! {
    /// One call under way. The fields are dropped in this order: the operation first, then what let it through.
    pub(crate) struct Run<'c, E, F, Fut, J, L> {
        #[pin]
        stage: Stage<'c, Fut>,
        beside: Option<Pin<Box<Beside<'c, Fut>>>>,
        // From the first poll on.
        story: Option<Story<'c>>,
        last_error: Option<E>,
        core: &'c Core,
        options: &'c Options<'c>,
        judge: J,
        lift: L,
        operation: F,
    }
}

impl<'c, E, F, Fut, J, L> Run<'c, E, F, Fut, J, L> {
    /// For who goes on with the call when it has failed.
    pub(super) fn story(self: Pin<&mut Self>) -> Option<&mut Story<'c>> {
        self.project().story.as_mut()
    }
}

pin_project! {
    #[project = StageProjection]
    enum Stage<'c, Fut> {
        Between,
        Waiting { waiting: Waiting<'c> },
        Running {
            #[pin]
            until: Until<Fut>,
        },
        Pausing {
            #[pin]
            pause: Sleep,
        },
        // Between two attempts without a pause.
        Yielding,
    }
}

impl<'c, Fut: Future> Stage<'c, Fut> {
    /// Goes where the gates say: to the operation, or to a wait. `Some` when they refused.
    #[inline]
    fn after_gates<F>(mut self: Pin<&mut Self>, said: Admission<'c>, story: &mut Story<'c>, operation: &F) -> Option<Rejected>
    where
        F: Fn(Attempt) -> Fut,
    {
        match said {
            Admission::Granted => {
                // Here, and nowhere else, an operation begins: what is to delay it, or to answer in its stead, has its place here.
                let operation = story.start(operation);
                self.set(Self::Running { until: Until::new(operation) });
            }
            Admission::Wait(waiting) => self.set(Self::Waiting { waiting }),
            Admission::Refused(rejected) => {
                self.set(Self::Between);
                return Some(rejected);
            }
        }
        None
    }
}

pin_project! {
    /// A leg beside the first, and those launched after it.
    struct Beside<'c, Fut> {
        #[pin]
        stage: Stage<'c, Fut>,
        next: Option<Pin<Box<Beside<'c, Fut>>>>,
    }
}

impl<'c, Fut> Beside<'c, Fut> {
    fn add(list: &mut Option<Pin<Box<Self>>>) {
        match list {
            None => *list = Some(Box::pin(Self { stage: Stage::Between, next: None })),
            Some(leg) => Self::add(leg.as_mut().project().next),
        }
    }

    /// The first is 1.
    fn nth(list: &mut Option<Pin<Box<Self>>>, n: usize) -> Option<Pin<&mut Stage<'c, Fut>>> {
        let leg = list.as_mut()?.as_mut().project();
        if n <= 1 { Some(leg.stage) } else { Self::nth(leg.next, n - 1) }
    }
}

impl<T, E, X, F, Fut, J, L> Future for Run<'_, E, F, Fut, J, L>
where
    E: 'static,
    F: Fn(Attempt) -> Fut,
    Fut: Future<Output = Result<T, X>>,
    J: Judge<T, E>,
    L: Fn(X) -> Error<E>,
{
    type Output = Result<T, Error<E>>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut this = self.project();
        let story = match this.story {
            Some(story) => story,
            None => this.story.insert(Story::begin(this.core, this.options)),
        };
        story.begin_round();
        // An answer of a leg that was judged a failure, as long as this poll lasts. Kept longer it would be part of this future, and then a call
        // could be sent to another thread only where its answer can.
        let mut answer = None;
        loop {
            let mut stage = match story.turn() {
                0 => this.stage.as_mut(),
                leg => match Beside::nth(this.beside, leg) {
                    Some(stage) => stage,
                    None => return Poll::Pending, // a leg that was launched has its stage
                },
            };
            let (result, outcome) = match stage.as_mut().project() {
                StageProjection::Between if story.is_told() => polled_again(),
                StageProjection::Between => {
                    let admission = story.ask_gates(None);
                    match stage.as_mut().after_gates(admission, story, &*this.operation) {
                        None => continue,
                        Some(rejected) => refused(rejected),
                    }
                }
                StageProjection::Waiting { waiting } => match waiting.poll(cx, story) {
                    Poll::Pending if story.next_turn() => continue,
                    Poll::Pending => return Poll::Pending,
                    Poll::Ready(admission) => match stage.as_mut().after_gates(admission, story, &*this.operation) {
                        None => continue,
                        Some(rejected) => refused(rejected),
                    },
                },
                StageProjection::Running { mut until } => {
                    let ended = match until.as_mut().poll_operation(cx, &mut story.surroundings) {
                        Poll::Ready((output, at_once)) => Ended::Finished { output, at_once },
                        Poll::Pending => match until.wait(cx, story.wakes_at()) {
                            Poll::Pending if story.next_turn() => continue,
                            Poll::Pending => return Poll::Pending,
                            Poll::Ready(_) if story.is_alarm() => {
                                if story.launch(false) {
                                    Beside::add(this.beside);
                                }
                                continue;
                            }
                            Poll::Ready(ended) => ended,
                        },
                    };
                    // The operation is gone before its place is free.
                    stage.set(Stage::Between);
                    match ended {
                        Ended::Finished { output, at_once } => {
                            story.finished(at_once);
                            let (result, outcome) = judged(story.core, this.judge, output.map_err(&*this.lift));
                            story.settle(outcome);
                            if outcome.is_success()
                                && let Ok(value) = result
                            {
                                if story.is_race() {
                                    // The losers are gone before the value is seen.
                                    this.stage.set(Stage::Between);
                                    *this.beside = None;
                                    story.race_over(outcome);
                                }
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
                StageProjection::Pausing { pause } => {
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
            };

            // A leg is over, without success. Does the race go on, if it is one?
            let (mut result, mut outcome) = (result, outcome);
            if story.hedges() {
                let after = story.leg_over(result.as_ref().err().and_then(Error::rejected), outcome);
                if !matches!(after, After::Nothing) {
                    match result {
                        Ok(value) => answer = Some(value),
                        Err(Error::Inner(error)) => (*this.last_error, answer) = (Some(error), None),
                        Err(Error::Rejected(_)) if outcome == Outcome::NotAttempted => {}
                        Err(Error::Rejected(_)) => answer = None,
                    }
                    if matches!(after, After::Launched) {
                        Beside::add(this.beside);
                    }
                    if story.next_turn() {
                        continue;
                    }
                    return Poll::Pending;
                }
                if story.is_race() {
                    this.stage.set(Stage::Between);
                    *this.beside = None;
                    if let Some((telling, rejected)) = story.race_over(outcome) {
                        outcome = telling;
                        result = match (rejected, answer.take(), this.last_error.take()) {
                            (Some(rejected), _, last_error) => {
                                *this.last_error = last_error;
                                Err(Error::Rejected(rejected))
                            }
                            (None, Some(value), _) => Ok(value),
                            (None, None, Some(error)) => Err(Error::Inner(error)),
                            (None, None, None) => result,
                        };
                    }
                }
            }

            // An attempt is over, without success. Is there another?
            let again = story.decide(result.as_ref().err().and_then(Error::rejected), outcome);
            let (result, outcome) = if again == Again::No {
                (result, outcome)
            } else {
                if let Err(Error::Inner(error)) = result {
                    *this.last_error = Some(error);
                }
                match again {
                    Again::At(moment) if has_runtime() => {
                        this.stage.set(Stage::Pausing { pause: sleep_until(moment) });
                        continue;
                    }
                    Again::At(_) => refused(story.no_runtime()),
                    Again::AtOnce | Again::No => {
                        this.stage.set(Stage::Yielding);
                        continue;
                    }
                }
            };
            return Poll::Ready(story.conclude(this.judge, result, outcome, this.last_error.take()));
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
