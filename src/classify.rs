//! Who judges an outcome.
//!
//! Values never decide, verdicts do. A pipeline keeps one judge per error type (by `TypeId`, as many as there are types), and one
//! call may bring its own, which sees the whole `Result`. An `Err` nobody judges is transient.
//!
//! ```
//! # #[derive(Debug)] enum ApiError { Status(u16) }
//! # impl std::fmt::Display for ApiError { fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result { f.write_str("status") } }
//! # async fn fetch() -> Result<u32, ApiError> { Ok(1) }
//! # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! use steadfast::{Pipeline, Verdict};
//!
//! let pipeline = Pipeline::builder("api")
//!     .classify(|e: &ApiError| match e {
//!         ApiError::Status(500..) => Verdict::transient(),
//!         ApiError::Status(_) => Verdict::permanent(),
//!     })
//!     .build()?;
//!
//! // On one call, with the value in sight:
//! let answer = pipeline
//!     .classify(|r: &Result<u32, ApiError>| if matches!(r, Ok(0)) { Verdict::transient() } else { Verdict::Success })
//!     .call(fetch)
//!     .await;
//! # Ok(()) }
//! ```

use crate::outcome::Verdict;
use std::any::{Any, TypeId};
use std::fmt;
use std::sync::Arc;

/// A judge of one call: how [`classify`](crate::Request::classify) on a call sees an outcome. Implemented by closures.
pub trait Judge<T, E> {
    /// What `result` says about the dependency.
    fn judge(&self, known: &Judges, result: &Result<T, E>) -> Verdict;

    /// How a rejection that takes the place of `error` quotes it; `None` leaves it unsaid.
    fn text(&self, known: &Judges, error: &E) -> Option<String>
    where
        E: 'static,
    {
        known.text(error)
    }
}

/// The default judge: whatever the pipeline knows of the error type.
#[derive(Clone, Copy, Debug, Default)]
pub struct ByErrorType;

impl<T, E: 'static> Judge<T, E> for ByErrorType {
    fn judge(&self, known: &Judges, result: &Result<T, E>) -> Verdict {
        match result {
            Ok(_) => Verdict::Success,
            Err(error) => known.judge(error),
        }
    }
}

/// A closure over the whole result, brought by one call.
#[derive(Clone, Copy, Debug)]
pub struct ByResult<C>(pub(crate) C);

impl<T, E, C: Fn(&Result<T, E>) -> Verdict> Judge<T, E> for ByResult<C> {
    fn judge(&self, _: &Judges, result: &Result<T, E>) -> Verdict {
        (self.0)(result)
    }
}

impl<T, E, J: Judge<T, E>> Judge<T, E> for &J {
    fn judge(&self, known: &Judges, result: &Result<T, E>) -> Verdict {
        (**self).judge(known, result)
    }

    fn text(&self, known: &Judges, error: &E) -> Option<String>
    where
        E: 'static,
    {
        (**self).text(known, error)
    }
}

type JudgeFn = Box<dyn Fn(&dyn Any) -> Verdict + Send + Sync>;

/// What is known of an error type. Its functions take the error without its type, so that who asks is compiled once and not for every call site.
struct Known {
    judge: JudgeFn,
    text: fn(&dyn Any) -> Option<String>,
}

/// The judges of a pipeline, one per error type.
#[derive(Clone, Default)]
pub struct Judges {
    by_type: Vec<(TypeId, Arc<Known>)>,
}

impl Judges {
    /// A later judge of the same type replaces the earlier.
    pub(crate) fn add<E: fmt::Display + 'static>(&mut self, judge: impl Fn(&E) -> Verdict + Send + Sync + 'static) {
        self.insert(
            TypeId::of::<E>(),
            Known {
                judge: Box::new(move |error| error.downcast_ref().map_or(Verdict::transient(), &judge)),
                text: |error| error.downcast_ref::<E>().map(E::to_string),
            },
        );
    }

    fn insert(&mut self, id: TypeId, known: Known) {
        self.by_type.retain(|(other, _)| *other != id);
        self.by_type.push((id, Arc::new(known)));
    }

    fn known(&self, error: &dyn Any) -> Option<&Known> {
        let id = error.type_id();
        self.by_type.iter().find(|(known, _)| *known == id).map(|(_, known)| &**known)
    }

    /// What `error` says about the dependency; transient when nobody knows its type.
    pub fn judge<E: 'static>(&self, error: &E) -> Verdict {
        self.verdict(error)
    }

    fn verdict(&self, error: &dyn Any) -> Verdict {
        self.judge_any(error).unwrap_or(Verdict::transient())
    }

    /// The same; `None` when nobody knows its type.
    pub fn judge_known<E: 'static>(&self, error: &E) -> Option<Verdict> {
        self.judge_any(error)
    }

    fn judge_any(&self, error: &dyn Any) -> Option<Verdict> {
        self.known(error).map(|known| (known.judge)(error))
    }

    /// The text of an error whose type is known here, or to everybody.
    pub(crate) fn text(&self, error: &dyn Any) -> Option<String> {
        match self.known(error) {
            Some(known) => (known.text)(error),
            None => text_of_common(error),
        }
    }
}

/// Of the error types that everybody knows.
fn text_of_common(error: &dyn Any) -> Option<String> {
    let display: &dyn fmt::Display = if let Some(e) = error.downcast_ref::<String>() {
        e
    } else if let Some(e) = error.downcast_ref::<&'static str>() {
        e
    } else if let Some(e) = error.downcast_ref::<std::io::Error>() {
        e
    } else {
        error.downcast_ref::<Box<dyn std::error::Error + Send + Sync>>()?
    };
    Some(display.to_string())
}

impl fmt::Debug for Judges {
    #[inline]
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Judges").field("error_types", &self.by_type.len()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_type_decides_and_the_last_judge_of_a_type_wins() {
        let mut judges = Judges::default();
        judges.add(|_: &String| Verdict::Permanent);
        judges.add(|e: &u8| if *e == 1 { Verdict::Ignored } else { Verdict::Permanent });
        judges.add(|_: &String| Verdict::Ignored);
        assert_eq!(judges.judge(&String::new()), Verdict::Ignored);
        assert_eq!(judges.judge(&1_u8), Verdict::Ignored);
        assert_eq!(judges.judge(&()), Verdict::transient());
        assert_eq!(judges.text(&7_u8).as_deref(), Some("7"));
        assert_eq!(judges.text(&"static").as_deref(), Some("static"));
        assert_eq!(judges.text(&()), None);
    }
}
