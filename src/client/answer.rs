//! How answers that are failures (a 503, say) travel through a pipeline and still reach the caller as answers.
//!
//! To the policies such an answer is a failed attempt like any other: judged, counted, kept in case the next attempt is refused. So
//! inside a door it is an error, and becomes an answer again on the way out.

use crate::classify::{Judge, Judges};
use crate::outcome::{Error, Rejected, RejectedKind, Verdict};
use std::sync::Arc;

/// An attempt that did not succeed.
pub(super) struct Failed<T, E> {
    result: Result<T, Error<E>>,
    verdict: Verdict,
    /// Whether a judge that the pipeline has for the error comes before `verdict`.
    ask_pipeline: bool,
    /// Whether it may be tried again if the verdict is that it may pass.
    repeatable: bool,
    /// How to quote it; `None` leaves that to the pipeline.
    text: Option<fn(&Result<T, Error<E>>) -> String>,
}

impl<T, E> Failed<T, E> {
    pub(super) fn new(result: Result<T, E>, verdict: Verdict) -> Self {
        Self { result: result.map_err(Error::Inner), verdict, ask_pipeline: false, repeatable: true, text: None }
    }

    pub(super) const fn ask_pipeline(mut self, ask: bool) -> Self {
        self.ask_pipeline = ask;
        self
    }

    #[cfg(feature = "reqwest")]
    pub(super) const fn repeatable(mut self, repeatable: bool) -> Self {
        self.repeatable = repeatable;
        self
    }

    #[cfg(feature = "reqwest")]
    pub(super) fn quoted_by(mut self, text: fn(&Result<T, Error<E>>) -> String) -> Self {
        self.text = Some(text);
        self
    }

    /// There was no second copy of the request.
    pub(super) fn no_copy() -> Self {
        let rejected = Rejected::new(RejectedKind::NotRepeatable);
        Self { result: Err(Error::Rejected(rejected)), verdict: Verdict::Ignored, ask_pipeline: false, repeatable: false, text: None }
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

/// The judge of what came through a door.
#[derive(Clone, Copy, Debug)]
pub(super) struct ByDoor;

impl<T, E: 'static> Judge<T, Failed<T, E>> for ByDoor {
    fn judge(&self, known: &Judges, result: &Result<T, Failed<T, E>>) -> Verdict {
        let Err(failed) = result else { return Verdict::Success };
        let verdict = match &failed.result {
            Err(Error::Inner(error)) if failed.ask_pipeline => known.judge_known(error).unwrap_or(failed.verdict),
            _ => failed.verdict,
        };
        match verdict {
            // To the breaker as bad as before; to retry the end.
            Verdict::Transient { .. } if !failed.repeatable => Verdict::Permanent,
            verdict => verdict,
        }
    }

    fn text(&self, known: &Judges, failed: &Failed<T, E>) -> Option<Arc<str>> {
        match (failed.text, &failed.result) {
            (Some(text), result) => Some(text(result).into()),
            (None, Err(Error::Inner(error))) => known.text(error),
            (None, _) => None,
        }
    }
}
