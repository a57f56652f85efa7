//! How answers that are failures (a 503, say) travel through a pipeline and still reach the caller as answers.
//!
//! To the policies such an answer is a failed attempt like any other: judged, counted, kept in case the next attempt is refused. So
//! inside a door it is an error, and becomes an answer again on the way out.

use crate::classify::{Judge, Judges};
use crate::outcome::{Error, Rejected, RejectedKind, Verdict};

/// How a door quotes what an attempt came to.
pub(super) type Quote<T, E> = fn(&Result<T, Error<E>>) -> String;

/// An attempt that did not succeed, and its verdict.
pub(super) struct Failed<T, E> {
    result: Result<T, Error<E>>,
    verdict: Verdict,
    /// How to quote it; `None` leaves that to the pipeline.
    text: Option<Quote<T, E>>,
}

impl<T, E> Failed<T, E> {
    pub(super) fn new(result: Result<T, E>, verdict: Verdict) -> Self {
        Self { result: result.map_err(Error::Inner), verdict, text: None }
    }

    #[cfg(feature = "reqwest")]
    pub(super) fn quoted_by(mut self, text: Quote<T, E>) -> Self {
        self.text = Some(text);
        self
    }

    /// There was no copy of the request to send.
    pub(super) fn no_copy() -> Self {
        Self { result: Err(Error::Rejected(Rejected::new(RejectedKind::NotRepeatable))), verdict: Verdict::Ignored, text: None }
    }
}

/// What the caller gets.
pub(super) fn answer<T, E>(result: Result<T, Error<Failed<T, E>>>) -> Result<T, Error<E>> {
    match result {
        Ok(value) => Ok(value),
        Err(Error::Inner(failed)) => failed.result,
        Err(Error::Rejected(rejected)) => Err(Error::Rejected(rejected)),
    }
}

/// The judge of what came through a door: it was judged at once, to know whether it is an answer.
#[derive(Clone, Copy, Debug)]
pub(super) struct ByDoor;

impl<T, E: 'static> Judge<T, Failed<T, E>> for ByDoor {
    fn judge(&self, _: &Judges, result: &Result<T, Failed<T, E>>) -> Verdict {
        result.as_ref().err().map_or(Verdict::Success, |failed| failed.verdict)
    }

    fn text(&self, known: &Judges, failed: &Failed<T, E>) -> Option<String> {
        match (failed.text, &failed.result) {
            (Some(text), result) => Some(text(result)),
            (None, Err(Error::Inner(error))) => known.text(error),
            (None, _) => None,
        }
    }
}
