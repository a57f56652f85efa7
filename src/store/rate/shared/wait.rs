//! Waiting for a decision that is a yes.

use super::line::Turn;
use super::{Rules, Shared};
use crate::outcome::{Rejected, RejectedKind};
use crate::store::rate::{Algorithm, Decision, Source, Terms};
use crate::store::{Key, StoreError};
use crate::time::{after, earlier};
use std::time::Duration;
use tokio::time::Instant;

/// One who has been woken and takes longer than the store may, and this, is not there.
const GRACE: Duration = Duration::from_millis(25);
/// Asking sooner again would be asking all the time.
const SHORTEST: Duration = Duration::from_millis(1);

impl Shared {
    /// A decision, and while that is a refusal that time will change, another one, in line with all who wait for this key here.
    pub(super) async fn acquire(&self, key: &Key, cost: u32, deadline: Option<Instant>) -> Result<Decision, Rejected> {
        let rules = self.rules();
        if cost == 0 || rules.max_wait.is_zero() || tokio::runtime::Handle::try_current().is_err() {
            return super::admitted(self.decide(key, cost, deadline).await);
        }
        match self.wait(key, cost, &rules, deadline).await {
            Ok(decision) => {
                self.counters.count(&decision);
                super::admitted(Ok(decision))
            }
            Err(Wait::Deadline) => Err(Rejected::new(RejectedKind::DeadlineExceeded)),
            Err(Wait::Failed(error)) => super::admitted(Err(error)),
        }
    }

    async fn wait(&self, key: &Key, cost: u32, rules: &Rules, deadline: Option<Instant>) -> Result<Decision, Wait> {
        let terms = rules.quota.terms(cost)?;
        let began = Instant::now();
        let end = earlier(after(began, rules.max_wait), deadline);
        let late = |moment: Instant| end.is_some_and(|end| moment > end);
        let until = match self.lines.ahead(key) {
            // Nobody overtakes those who wait.
            Some((first, units)) => {
                let moment = first + flow(&terms, units);
                if late(moment) {
                    return Ok(too_long(&terms, moment));
                }
                first
            }
            None => {
                let decision = self.decide_once(key, cost, rules, deadline).await?;
                let Some(moment) = next(&decision) else { return Ok(decision) };
                if late(moment) {
                    return Ok(decision);
                }
                moment
            }
        };
        let place = self.lines.enter(key, cost, until);
        let patience = rules.deadline.saturating_add(GRACE);
        loop {
            let moment = match place.turn(Instant::now(), patience) {
                Turn::Wait(moment) => moment,
                Turn::Ask => {
                    let decision = self.decide_once(key, cost, rules, deadline).await?;
                    match next(&decision) {
                        Some(moment) if !late(moment) => {
                            place.refused(moment);
                            continue;
                        }
                        Some(moment) => place.refused(moment), // of use to those behind
                        None if decision.allowed => {
                            self.counters.waited.add(1);
                            place.granted(decision.remaining, Instant::now());
                        }
                        None => {}
                    }
                    return Ok(decision);
                }
            };
            let wake = end.map_or(moment, |end| moment.min(end));
            tokio::select! {
                () = place.woken() => {}
                () = tokio::time::sleep_until(wake) => {
                    if end.is_some_and(|end| end <= Instant::now() && moment > end) {
                        // Those behind have as long as it takes, still.
                        return if end == deadline { Err(Wait::Deadline) } else { Ok(too_long(&terms, moment)) };
                    }
                }
            }
        }
    }
}

/// Why nobody waits any longer.
enum Wait {
    Deadline,
    Failed(StoreError),
}

impl From<StoreError> for Wait {
    fn from(error: StoreError) -> Self {
        Self::Failed(error)
    }
}

/// When to ask again; `None` where there is no need to, or no use.
fn next(decision: &Decision) -> Option<Instant> {
    let wait = decision.retry_after.filter(|_| !decision.allowed)?;
    after(Instant::now(), wait.max(SHORTEST))
}

/// How long so many units take at least, where they flow.
fn flow(terms: &Terms, units: u64) -> Duration {
    match terms.algorithm {
        Algorithm::Gcra | Algorithm::TokenBucket => {
            let micros = u128::from(units) * u128::from(terms.period_us) / u128::from(terms.limit.max(1));
            Duration::from_micros(u64::try_from(micros).unwrap_or(u64::MAX))
        }
        _ => Duration::ZERO, // they may all come at once
    }
}

/// Refused without asking, since it would be too late.
fn too_long(terms: &Terms, moment: Instant) -> Decision {
    let wait = moment.saturating_duration_since(Instant::now());
    Decision::deny(terms.capacity, 0, Some(wait), wait).by(Source::DenyCache)
}
