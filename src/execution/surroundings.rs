//! What an operation runs in, poll by poll: the span it is traced under, and what a call inside it inherits from the call around it.
//!
//! Two layers of retries multiply: three layers of three retries are 64 attempts. So while an outer pipeline that retries runs an
//! operation, a pipeline called inside that operation does not retry (unless its retry says
//! [`even_when_nested`](crate::RetryConfig::even_when_nested)), and it inherits the outer deadline. It holds for calls made in the
//! operation's own future; a task spawned there is on its own.

use crate::time;
use std::cell::Cell;
use tokio::time::Instant;
use tracing::Span;

thread_local!(static CURRENT: Cell<Nesting> = const { Cell::new(Nesting::NONE) });

/// What a call inherits from the call around it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Nesting {
    pub(crate) deadline: Option<Instant>,
    pub(crate) retries: bool,
}

impl Nesting {
    const NONE: Self = Self { deadline: None, retries: false };

    #[inline]
    const fn is_none(self) -> bool {
        self.deadline.is_none() && !self.retries
    }

    /// What the operation being polled on this thread, if any, runs under.
    #[inline]
    pub(crate) fn current() -> Self {
        CURRENT.try_with(Cell::get).unwrap_or(Self::NONE)
    }

    /// The same, as an operation of a call made here will see it.
    #[inline]
    pub(crate) fn deeper(self, deadline: Option<Instant>, retries: bool) -> Self {
        Self { deadline: time::earlier(self.deadline, deadline), retries: self.retries || retries }
    }
}

/// What one call's operation runs in.
#[derive(Debug)]
pub(crate) struct Surroundings {
    // The fields of `Nesting` one by one: as a whole it would leave its padding unused.
    deadline: Option<Instant>,
    span: Option<Box<Span>>,
    retries: bool,
    /// True while the operation's own code runs, and so for ever if that code panics. What is dropped afterwards reads it.
    running: bool,
}

impl Surroundings {
    #[inline]
    pub(crate) fn new(nesting: Nesting, span: Option<Span>) -> Self {
        Self { deadline: nesting.deadline, span: span.map(Box::new), retries: nesting.retries, running: false }
    }

    /// When the call must have ended.
    #[inline]
    pub(crate) const fn deadline(&self) -> Option<Instant> {
        self.deadline
    }

    #[inline]
    const fn nesting(&self) -> Nesting {
        Nesting { deadline: self.deadline, retries: self.retries }
    }

    /// What is polled from now on is outside the retries of this call, and inside only those around it.
    #[cold]
    pub(crate) fn leave_retries(&mut self) {
        self.retries = Nesting::current().retries;
    }

    /// Whether the operation's own code panicked.
    #[inline]
    pub(crate) fn panicked(&self) -> bool {
        self.running
    }

    /// Runs something that belongs to the call in its span, if there is one.
    #[inline]
    pub(crate) fn in_span<T>(&self, code: impl FnOnce() -> T) -> T {
        match &self.span {
            None => code(),
            Some(span) => span.in_scope(code),
        }
    }

    /// For one piece of the operation's own code: in its span, and so that calls made in it know of this one.
    #[inline]
    pub(crate) fn enter(&mut self) -> Inside<'_> {
        self.running = true;
        let outer = if self.nesting().is_none() { None } else { CURRENT.try_with(|current| current.replace(self.nesting())).ok() };
        if let Some(span) = &self.span {
            enter_span(span);
        }
        Inside { surroundings: self, outer }
    }
}

#[cold]
fn enter_span(span: &Span) {
    span.with_subscriber(|(id, dispatch)| dispatch.enter(id));
}

#[cold]
fn exit_span(span: &Span) {
    span.with_subscriber(|(id, dispatch)| dispatch.exit(id));
}

/// Inside an operation. Dropped (by a panic of the operation) it restores what was before, too, but the panic is not forgotten.
#[must_use = "to be left when the operation was polled"]
pub(crate) struct Inside<'a> {
    surroundings: &'a mut Surroundings,
    outer: Option<Nesting>,
}

impl Inside<'_> {
    /// The operation did not panic.
    pub(crate) fn leave(self) {
        self.surroundings.running = false;
    }
}

impl Drop for Inside<'_> {
    #[inline]
    fn drop(&mut self) {
        if let Some(span) = &self.surroundings.span {
            exit_span(span);
        }
        if let Some(outer) = self.outer {
            let _ = CURRENT.try_with(|current| current.set(outer));
        }
    }
}
