//! What a store says to a request for units.

use std::time::Duration;

/// Who decided.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Source {
    /// A store of this process.
    Local,
    /// The shared store.
    Remote,
    /// This process, since the shared store did not answer: by its own part of the quota, or as its settings say.
    LocalFallback,
    /// This process, which knows from an earlier refusal that it is too soon.
    DenyCache,
    /// This process, from units it has claimed from the shared store beforehand.
    Lease,
}

impl Source {
    /// As a word for labels and logs: `local_fallback`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Local => "local",
            Self::Remote => "remote",
            Self::LocalFallback => "local_fallback",
            Self::DenyCache => "deny_cache",
            Self::Lease => "lease",
        }
    }
}

/// What a [`RateStore`](super::RateStore) says to a request for units, with all that a response header wants to know.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
#[must_use = "a decision that nobody looks at limits nothing"]
pub struct Decision {
    /// Whether the units were had. Of a peek: whether one unit could be had now.
    pub allowed: bool,
    /// The most units there can be at once: the burst of the quota, or its limit.
    pub limit: u32,
    /// How many of them could be had now.
    pub remaining: u32,
    /// From when on the same request would go, if nobody else comes first. `None` when it went, or where nobody can tell.
    pub retry_after: Option<Duration>,
    /// From when on all units would be there, if nobody takes any; zero when they are.
    pub reset_after: Duration,
    /// Who decided.
    pub source: Source,
}

impl Decision {
    /// Units were had. Its source is [`Remote`](Source::Remote) until [said otherwise](Self::by).
    pub const fn allow(limit: u32, remaining: u32, reset_after: Duration) -> Self {
        Self { allowed: true, limit, remaining, retry_after: None, reset_after, source: Source::Remote }
    }

    /// None were had. Its source is [`Remote`](Source::Remote) until [said otherwise](Self::by).
    pub const fn deny(limit: u32, remaining: u32, retry_after: Option<Duration>, reset_after: Duration) -> Self {
        Self { allowed: false, limit, remaining, retry_after, reset_after, source: Source::Remote }
    }

    /// The same decision of somebody else.
    pub const fn by(mut self, source: Source) -> Self {
        self.source = source;
        self
    }

    /// How much of the limit is in use, from 0 to 1; 0 for a limit of 0.
    #[must_use]
    pub fn utilization(&self) -> f64 {
        if self.limit == 0 { 0.0 } else { f64::from(self.limit.saturating_sub(self.remaining)) / f64::from(self.limit) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn utilization_is_a_share_whatever_the_numbers() {
        let of = |limit, remaining| Decision::allow(limit, remaining, Duration::ZERO).utilization();
        assert_eq!((of(0, 0), of(10, 10), of(10, 4), of(10, 0), of(1, 9)), (0.0, 0.0, 0.6, 1.0, 0.0));
    }
}
