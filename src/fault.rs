//! Bad configuration, as a value that names every fault.
//!
//! Nothing in steadfast panics on a number it was given. Each setting that cannot work becomes a [`Fault`] with its field, what is
//! wrong with the value, and the fix; `build()` reports all of them at once in one [`ConfigError`].
//!
//! ```
//! use steadfast::Pipeline;
//! use std::time::Duration;
//!
//! let error = Pipeline::builder("quotes")
//!     .total_timeout(Duration::from_secs(10))
//!     .attempt_timeout(Duration::from_secs(12))
//!     .build()
//!     .unwrap_err();
//! assert_eq!(error.faults()[0].field(), "attempt_timeout");
//! ```

use std::fmt;

/// One setting that cannot work: the field, the value with what is wrong with it, and the fix.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    field: String,
    problem: String,
}

impl Fault {
    /// `field` is a path (`circuit_breaker.failure_rate`); `problem` names the value, what is wrong with it, and the fix.
    pub fn new(field: impl Into<String>, problem: impl Into<String>) -> Self {
        Self { field: field.into(), problem: problem.into() }
    }

    /// The setting, as a path from the pipeline: `circuit_breaker.failure_rate`.
    #[must_use]
    pub fn field(&self) -> &str {
        &self.field
    }

    /// The value, what is wrong with it, and the fix.
    #[must_use]
    pub fn problem(&self) -> &str {
        &self.problem
    }

    /// The same fault, with the field under `parent`.
    #[must_use]
    pub(crate) fn under(mut self, parent: &str) -> Self {
        self.field = format!("{parent}.{}", self.field);
        self
    }
}

/// Puts what is wrong with a part among what is wrong with the whole, under the name of the part.
pub(crate) fn gather(faults: &mut Vec<Fault>, part: &str, found: Vec<Fault>) {
    for fault in found {
        faults.push(fault.under(part));
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.field, self.problem)
    }
}

/// Why a pipeline or a policy cannot be built: every fault at once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigError {
    subject: String,
    faults: Vec<Fault>,
}

impl ConfigError {
    /// `Ok(())` without faults. `subject` is what was being built, as the message begins: ``pipeline `quotes` ``.
    pub(crate) fn check(subject: impl Into<String>, faults: Vec<Fault>) -> Result<(), Self> {
        if faults.is_empty() { Ok(()) } else { Err(Self::of(subject, faults)) }
    }

    /// Where there are faults for certain.
    pub(crate) fn of(subject: impl Into<String>, faults: Vec<Fault>) -> Self {
        Self { subject: subject.into(), faults }
    }

    /// Every fault, in the order of the fields.
    #[must_use]
    pub fn faults(&self) -> &[Fault] {
        &self.faults
    }

    pub(crate) fn into_faults(self) -> Vec<Fault> {
        self.faults
    }
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let plural = if self.faults.len() == 1 { "" } else { "s" };
        write!(f, "{} cannot be built, {} problem{plural}:", self.subject, self.faults.len())?;
        for fault in &self.faults {
            write!(f, "\n  {fault}")?;
        }
        Ok(())
    }
}

impl std::error::Error for ConfigError {}

/// The faults that every policy meets, in one wording.
pub(crate) mod check {
    use super::Fault;
    use crate::outcome::Seconds;
    use std::time::Duration;

    /// A share of all calls: more than 0, at most 1.
    pub(crate) fn fraction(faults: &mut Vec<Fault>, field: &str, value: f64) {
        if value > 0.0 && value <= 1.0 {
            return;
        }
        let fix = match value {
            v if v > 1.0 && v <= 100.0 => format!("; for {v} % write {}", v / 100.0),
            _ => String::from("; 0.5 is 50 %"),
        };
        faults.push(Fault::new(field, format!("{value} is not a fraction between 0 and 1{fix}")));
    }

    /// A count of at least `least`.
    pub(crate) fn at_least(faults: &mut Vec<Fault>, field: &str, value: u64, least: u64) {
        if value < least {
            faults.push(Fault::new(field, format!("{value} is too small; it must be at least {least}")));
        }
    }

    /// A count of at most `most`.
    pub(crate) fn at_most(faults: &mut Vec<Fault>, field: &str, value: u64, most: u64) {
        if value > most {
            faults.push(Fault::new(field, format!("{value} is too large; it must be at most {most}")));
        }
    }

    /// A duration that must not be zero; `instead` says what to do for the effect of zero.
    pub(crate) fn nonzero(faults: &mut Vec<Fault>, field: &str, value: Duration, instead: &str) {
        if value.is_zero() {
            faults.push(Fault::new(field, format!("{} is no time at all; {instead}", Seconds(value))));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn h43_every_class_of_bad_fraction_is_named() {
        for bad in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY, -0.0, 0.0, -1.0, 1.000_001, 50.0] {
            let mut faults = Vec::new();
            check::fraction(&mut faults, "failure_rate", bad);
            assert_eq!(faults.len(), 1, "{bad}");
        }
        let mut faults = Vec::new();
        check::fraction(&mut faults, "failure_rate", 50.0);
        assert_eq!(faults[0].to_string(), "failure_rate: 50 is not a fraction between 0 and 1; for 50 % write 0.5");
    }
}
