//! What a reconfiguration changed.

use super::PipelineConfig;
use std::fmt;

/// One setting that is different now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    field: String,
    before: Option<String>,
    after: Option<String>,
}

impl Change {
    /// The setting, as a path: `circuit_breaker.failure_rate`.
    #[must_use]
    pub fn field(&self) -> &str {
        &self.field
    }

    /// What it was, as a file would say it; `None`: nothing, or the default.
    #[must_use]
    pub fn before(&self) -> Option<&str> {
        self.before.as_deref()
    }

    /// What it is now.
    #[must_use]
    pub fn after(&self) -> Option<&str> {
        self.after.as_deref()
    }
}

impl fmt::Display for Change {
    #[inline]
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown = |value: &Option<String>| value.clone().unwrap_or_else(|| "none".into());
        write!(f, "{}: {} -> {}", self.field, shown(&self.before), shown(&self.after))
    }
}

/// What [`Pipeline::reconfigure`](crate::Pipeline::reconfigure) changed, and what had to begin anew for it. `Display` prints a line for
/// each.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Changes {
    changes: Vec<Change>,
    restarted: Vec<&'static str>,
}

impl Changes {
    #[inline]
    pub(crate) fn between(old: &PipelineConfig, new: &PipelineConfig, restarted: Vec<&'static str>) -> Self {
        let (old, new) = (old.tree().leaves(), new.tree().leaves());
        let find =
            |leaves: &[(String, String)], field: &str| leaves.iter().find(|(known, _)| known == field).map(|(_, value)| value.clone());
        let gone = old.iter().filter(|(field, _)| find(&new, field).is_none());
        let fields = new.iter().chain(gone).map(|(field, _)| field.clone());
        let changes = fields
            .map(|field| Change { before: find(&old, &field), after: find(&new, &field), field })
            .filter(|change| change.before != change.after)
            .collect();
        Self { changes, restarted }
    }

    /// Every setting that is different now, in the order of the fields.
    #[must_use]
    pub fn all(&self) -> &[Change] {
        &self.changes
    }

    /// Whether nothing is different.
    #[must_use]
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.changes.is_empty()
    }

    /// The settings whose state did not fit the new value and began anew: `circuit_breaker.window` (its counts, not its state), `rate_limit` (the
    /// algorithm changed). Policies that are new or gone are not among them.
    #[must_use]
    pub fn restarted(&self) -> &[&'static str] {
        &self.restarted
    }
}

impl fmt::Display for Changes {
    #[inline]
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.changes.is_empty() {
            return f.write_str("nothing changed");
        }
        let mut lines = self.changes.iter().map(ToString::to_string).collect::<Vec<_>>();
        lines.extend(self.restarted.iter().map(|field| format!("{field}: began anew")));
        f.write_str(&lines.join("\n"))
    }
}
