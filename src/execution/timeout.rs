//! Time limits: the attempt's and the call's, kept by one timer.
//!
//! A total timeout is a deadline that every wait inside a call obeys; an attempt ends at the earlier of its own limit and that
//! deadline. So one timer serves both, and it is made only if the operation does not finish at its first poll.

use super::Surroundings;
use pin_project_lite::pin_project;
use std::pin::Pin;
use std::task::{Context, Poll};
use tokio::time::{Instant, Sleep, sleep_until};

/// How a wait for an operation ended.
pub(crate) enum Ended<T> {
    /// It finished.
    Finished(T),
    /// The limit passed first.
    TimedOut,
    /// A timer was needed, and there is no runtime to keep it.
    NoRuntime,
}

pin_project! {
    /// Runs something asynchronous until a limit. When both come in one poll it wins: its answer exists, so it is given.
    pub(crate) struct Until<F> {
        #[pin]
        operation: F,
        #[pin]
        timer: Countdown,
    }
}

impl<F: Future> Until<F> {
    pub(crate) const fn new(operation: F) -> Self {
        Self { operation, timer: Countdown::Unset }
    }

    /// Polls the operation in its surroundings; if it does not finish, waits until the limit, which may be another than the last time.
    pub(crate) fn poll(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        surroundings: &mut Surroundings,
        limit: Option<Instant>,
    ) -> Poll<Ended<F::Output>> {
        let this = self.project();
        let inside = surroundings.enter();
        let polled = this.operation.poll(cx);
        inside.leave();
        match polled {
            Poll::Ready(output) => Poll::Ready(Ended::Finished(output)),
            Poll::Pending => this.timer.wait(cx, limit).map(|in_time| if in_time { Ended::TimedOut } else { Ended::NoRuntime }),
        }
    }
}

pin_project! {
    /// A timer that is made when it is first waited for.
    #[project = CountdownProjection]
    pub(crate) enum Countdown {
        Unset,
        Set {
            #[pin]
            timer: Sleep,
        },
    }
}

impl Countdown {
    /// Waits for the limit, if there is one, which may be another than the last time. `false`: there is no runtime to wait in.
    pub(crate) fn wait(mut self: Pin<&mut Self>, cx: &mut Context<'_>, limit: Option<Instant>) -> Poll<bool> {
        let Some(limit) = limit else { return Poll::Pending };
        match self.as_mut().project() {
            CountdownProjection::Set { timer } if timer.deadline() == limit => {}
            CountdownProjection::Set { timer } => timer.reset(limit),
            CountdownProjection::Unset if has_runtime() => self.set(Self::Set { timer: sleep_until(limit) }),
            CountdownProjection::Unset => return Poll::Ready(false),
        }
        match self.project() {
            CountdownProjection::Set { timer } => timer.poll(cx).map(|()| true),
            CountdownProjection::Unset => Poll::Pending,
        }
    }
}

/// Whether a timer can be made here. Without a runtime tokio would panic; a typed error is kinder.
pub(crate) fn has_runtime() -> bool {
    tokio::runtime::Handle::try_current().is_ok()
}
