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
    /// It finished. `at_once`: at its first poll, so that no time passed that is worth a clock reading.
    Finished { output: T, at_once: bool },
    /// The limit passed first.
    TimedOut,
    /// A timer was needed, and there is no runtime to keep it.
    NoRuntime,
}

pin_project! {
    /// Runs an operation until a limit. When both come in one poll the operation wins: its answer exists, so it is given.
    pub(crate) struct Until<F> {
        #[pin]
        operation: F,
        #[pin]
        timer: Timer,
    }
}

pin_project! {
    /// In one with whether the operation was polled, which makes every call 8 bytes smaller.
    #[project = TimerProjection]
    enum Timer {
        Unpolled,
        Unneeded,
        Set {
            #[pin]
            timer: Sleep,
        },
    }
}

impl<F: Future> Until<F> {
    pub(crate) fn new(operation: F) -> Self {
        Self { operation, timer: Timer::Unpolled }
    }

    /// Polls the operation in its surroundings; if it does not finish, waits until `limit`.
    #[inline]
    pub(crate) fn poll(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        surroundings: &mut Surroundings,
        limit: impl FnOnce() -> Option<Instant>,
    ) -> Poll<Ended<F::Output>> {
        match self.as_mut().poll_operation(cx, surroundings) {
            Poll::Ready((output, at_once)) => Poll::Ready(Ended::Finished { output, at_once }),
            Poll::Pending => self.wait(cx, limit()),
        }
    }

    /// Polls the operation in its surroundings, and tells whether it finished at its first poll.
    #[inline]
    pub(crate) fn poll_operation(self: Pin<&mut Self>, cx: &mut Context<'_>, surroundings: &mut Surroundings) -> Poll<(F::Output, bool)> {
        let mut this = self.project();
        let at_once = matches!(*this.timer, Timer::Unpolled);
        if at_once {
            this.timer.set(Timer::Unneeded);
        }
        let mut inside = surroundings.enter();
        let polled = this.operation.poll(cx);
        inside.ended();
        polled.map(|output| (output, at_once))
    }

    /// Waits for `limit`, which may be another than the last time.
    #[inline]
    pub(crate) fn wait(self: Pin<&mut Self>, cx: &mut Context<'_>, limit: Option<Instant>) -> Poll<Ended<F::Output>> {
        wait(self.project().timer, cx, limit).map(|in_time| if in_time { Ended::TimedOut } else { Ended::NoRuntime })
    }
}

/// Waits for the limit, if there is one. Not generic, so that it is compiled once. `false`: there is no runtime to wait in.
fn wait(mut timer: Pin<&mut Timer>, cx: &mut Context<'_>, limit: Option<Instant>) -> Poll<bool> {
    let Some(limit) = limit else { return Poll::Pending };
    match timer.as_mut().project() {
        TimerProjection::Set { timer } if timer.deadline() == limit => {}
        TimerProjection::Set { timer } => timer.reset(limit),
        _ if has_runtime() => timer.set(Timer::Set { timer: sleep_until(limit) }),
        _ => return Poll::Ready(false),
    }
    match timer.project() {
        TimerProjection::Set { timer } => timer.poll(cx).map(|()| true),
        _ => Poll::Pending,
    }
}

/// Whether a timer can be made here. Without a runtime tokio would panic; a typed error is kinder.
pub(crate) fn has_runtime() -> bool {
    tokio::runtime::Handle::try_current().is_ok()
}
