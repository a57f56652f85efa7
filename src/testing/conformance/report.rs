//! What came out of a suite.

use std::fmt;

/// How a case ended.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum CaseEnd {
    /// As it should.
    Passed,
    /// Not as it should: what was seen.
    Failed(String),
    /// It was not run, and why.
    Skipped(String),
}

/// What came out of a suite, case by case.
#[derive(Clone, Debug, Default)]
#[must_use = "`assert()` it"]
pub struct Findings {
    pub(in crate::testing) subject: String,
    pub(in crate::testing) cases: Vec<(&'static str, &'static str, CaseEnd)>,
}

impl Findings {
    /// Every case: its number, what it is about, how it ended.
    pub fn cases(&self) -> impl Iterator<Item = (&'static str, &'static str, &CaseEnd)> {
        self.cases.iter().map(|(number, title, end)| (*number, *title, end))
    }

    /// How many passed.
    #[must_use]
    pub fn passed(&self) -> usize {
        self.count(|end| *end == CaseEnd::Passed)
    }

    /// How many failed.
    #[must_use]
    pub fn failed(&self) -> usize {
        self.count(|end| matches!(end, CaseEnd::Failed(_)))
    }

    /// The numbers of those that were skipped.
    #[must_use]
    pub fn skipped(&self) -> Vec<&'static str> {
        self.cases().filter(|(.., end)| matches!(end, CaseEnd::Skipped(_))).map(|(number, ..)| number).collect()
    }

    /// For the end of a test.
    ///
    /// # Panics
    /// When a case failed, with all that did; or when none was run at all.
    #[track_caller]
    pub fn assert(&self) {
        assert!(self.failed() == 0, "{self}");
        assert!(self.passed() > 0, "no case was run\n{self}");
    }

    fn count(&self, which: impl Fn(&CaseEnd) -> bool) -> usize {
        self.cases().filter(|(.., end)| which(end)).count()
    }
}

/// The failures, the skipped ones, and a line that sums up.
impl fmt::Display for Findings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (passed, failed, skipped) = (self.passed(), self.failed(), self.skipped().len());
        writeln!(f, "conformance of {}: {passed} passed, {failed} failed, {skipped} skipped", self.subject)?;
        for (number, title, end) in self.cases() {
            match end {
                CaseEnd::Passed => {}
                CaseEnd::Failed(why) => writeln!(f, "  FAILED {number} {title}: {why}")?,
                CaseEnd::Skipped(why) => writeln!(f, "  skipped {number} {title}: {why}")?,
            }
        }
        Ok(())
    }
}
