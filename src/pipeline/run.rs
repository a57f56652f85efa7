//! The story of one call, in the one order there is:
//!
//! ```text
//! monitor > fallback > total timeout > retry > hedge >
//!     breaker (look) > throttle > per key > rate limit > bulkhead > adaptive limit > your gates > breaker (take permit) >
//!     attempt timeout > operation
//! ```
//!
//! [`Story`] tells it, step by step: the gates are asked, in order; one that makes the attempt wait is asked on when the wait is over; then the
//! operation runs; what came of it is settled with everyone who let it through, and either there is a pause before the next attempt, or the
//! call is concluded. All of that is compiled once. [`Run::poll`] is the part of it that has types of its own, and so is compiled for every
//! call site: it owns the operation, its answer and its error, and does with them what each [`Next`] says. So what can be decided without
//! them has its place in the story. A fallback goes around it: see [`answered`](super::answered).
//!
//! A hedged attempt has several legs, each with an operation of its own, and the loop goes round among them: [`race`](super::race) says whose
//! turn it is. Without a hedge it is always the turn of the first, and no more than that is asked.
//!
//! It is a future written by hand, because an `async fn` moves what it holds from place to place, and a call that succeeds at once would
//! spend most of its time on that (94 ns against 54 on the machine where both were measured). Each attempt reads the clock once,
//! and every policy uses that reading; a wait, or an operation that did not finish at its first poll, is worth another. Waits are
//! boxed when they happen, so this future is small.

use super::story::{Next, Story};
use super::{Core, Options};
use crate::call::{Attempt, polled_again};
use crate::classify::{Judge, Judges};
use crate::execution::Countdown;
use crate::outcome::{Error, Rejected, Verdict};
use pin_project_lite::pin_project;
use std::pin::Pin;
use std::task::{Context, Poll};

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
    Run { first: Running::new(), story: None, last_error: None, core, options, judge, lift, operation }
}

pin_project! {
    /// One call under way. The fields are dropped in this order: the operation first, then what let it through.
    pub(crate) struct Run<'c, E, F, Fut, J, L> {
        #[pin]
        first: Running<Fut>,
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
    /// The operation of a leg, while it runs, and the legs that were launched after it.
    struct Running<Fut> {
        #[pin]
        operation: Option<Fut>,
        #[pin]
        timer: Countdown,
        next: Option<Pin<Box<Running<Fut>>>>,
    }
}

impl<Fut> Running<Fut> {
    const fn new() -> Self {
        Self { operation: None, timer: Countdown::Unset, next: None }
    }

    #[cold]
    fn drop_all(self: Pin<&mut Self>) {
        let mut this = self.project();
        this.operation.set(None);
        *this.next = None;
    }

    /// The first is 0; one that was just launched has its place from its first turn on.
    #[cold]
    fn nth(self: Pin<&mut Self>, n: usize) -> Pin<&mut Self> {
        if n == 0 {
            return self;
        }
        match self.project().next {
            Some(next) => next.as_mut(),
            none => none.insert(Box::pin(Self::new())).as_mut(),
        }
        .nth(n - 1)
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
            none => Story::begin(none, this.core, this.options),
        };
        story.begin_round();
        // The last answer, as long as this poll lasts. Kept longer it would be part of this future, and then a call could be sent to
        // another thread only where its answer can.
        let mut answer = None;
        let mut aside = None;
        let mut next = Next::Go;
        loop {
            let leg = match story.turn() {
                0 => this.first.as_mut(),
                n => this.first.as_mut().nth(n),
            };
            let mut leg = leg.project();
            next = match next {
                Next::Go => story.step(cx, leg.timer, &mut aside),
                Next::Start | Next::Poll => {
                    let attempt = story.attempt();
                    let inside = story.surroundings.enter();
                    if next == Next::Start {
                        // Here, and nowhere else, an operation begins: what is to delay it, or to answer in its stead, has its place here.
                        leg.operation.set(Some((this.operation)(attempt)));
                    }
                    let Some(operation) = leg.operation.as_mut().as_pin_mut() else { polled_again() };
                    let polled = operation.poll(cx);
                    inside.leave();
                    match polled {
                        Poll::Pending => story.unfinished(cx, leg.timer, &mut aside),
                        Poll::Ready(output) => {
                            // The operation is gone before its place is free.
                            leg.operation.set(None);
                            story.finished(next == Next::Start);
                            match judged(&story.core.judges, this.judge, &*this.lift, output, &mut answer, this.last_error) {
                                Ok((verdict, is_error)) => story.answered(verdict, is_error, &mut aside),
                                Err(rejected) => story.rejected(rejected, &mut aside),
                            }
                        }
                    }
                }
                Next::Stop => {
                    leg.operation.set(None);
                    story.stopped(&mut aside)
                }
                Next::DropLegs => {
                    this.first.as_mut().drop_all();
                    story.race_over(answer.is_some(), &mut aside)
                }
                Next::Pend => return Poll::Pending,
                Next::Answer | Next::Error | Next::Reject => break,
            };
        }
        // The story ends with what there is.
        Poll::Ready(match (next, answer, this.last_error.take()) {
            (Next::Answer, Some(answer), _) => Ok(answer),
            (Next::Error, _, Some(error)) => Err(Error::Inner(error)),
            (_, _, error) => {
                let text = error.and_then(|error| this.judge.text(&story.core.judges, &error));
                Err(Error::Rejected(story.reject(aside, text)))
            }
        })
    }
}

/// Judges what the operation answered, and keeps it: an answer, or, `true`, an error. What an inner pipeline rejected is no answer.
fn judged<T, E, X>(
    judges: &Judges,
    judge: &impl Judge<T, E>,
    lift: impl Fn(X) -> Error<E>,
    output: Result<T, X>,
    answer: &mut Option<T>,
    last_error: &mut Option<E>,
) -> Result<(Verdict, bool), Rejected> {
    let output = match output {
        Ok(value) => Ok(value),
        Err(error) => match lift(error) {
            Error::Inner(error) => Err(error),
            Error::Rejected(rejected) => return Err(rejected),
        },
    };
    let verdict = judge.judge(judges, &output);
    let is_error = output.is_err();
    match output {
        Ok(value) => *answer = Some(value),
        Err(error) => *last_error = Some(error),
    }
    Ok((verdict, is_error))
}
