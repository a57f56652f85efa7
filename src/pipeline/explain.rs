//! What a pipeline's settings amount to: its order drawn, what one call can cost, and the combinations that are hardly meant.

use super::Core;
use crate::execution::{Budget, Retry, When};
use crate::observation::clean;
use crate::outcome::Seconds;
use std::fmt;
use std::time::Duration;

/// The order of the policies that are there, outermost first.
#[inline]
pub(super) fn draw(core: &Core, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    let mut step = |name: &str, there: bool| if there { write!(f, "{name} > ") } else { Ok(()) };
    step("monitor", core.recorder.is_some())?;
    #[cfg(feature = "cache")]
    step("cache (of `cached` functions)", core.caching.is_some())?;
    if let Some(limit) = core.total_timeout {
        step(&format!("total timeout {}", Seconds(limit)), true)?;
    }
    step("retry", core.policies.retry.is_some())?;
    step("hedge", core.policies.hedge.is_some())?;
    // Where gates can refuse or queue, the breaker is asked twice: a look before them, the permit after.
    let gates = core.policies.throttle.is_some()
        || core.policies.per_key.is_some()
        || core.policies.rate_limit.is_some()
        || core.policies.bulkhead.is_some()
        || core.policies.adaptive_limit.is_some()
        || !core.gates.is_empty();
    step("circuit breaker (look)", core.policies.circuit_breaker.is_some() && gates)?;
    step("throttle", core.policies.throttle.is_some())?;
    step("per key", core.policies.per_key.is_some())?;
    step("rate limit", core.policies.rate_limit.is_some())?;
    step("bulkhead", core.policies.bulkhead.is_some())?;
    step("adaptive limit", core.policies.adaptive_limit.is_some())?;
    core.gates.iter().try_for_each(|gate| step(&clean(gate.name()), true))?;
    step(if gates { "circuit breaker (permit)" } else { "circuit breaker" }, core.policies.circuit_breaker.is_some())?;
    if let Some(limit) = core.attempt_timeout {
        step(&format!("attempt timeout {}", Seconds(limit)), true)?;
    }
    #[cfg(feature = "chaos")]
    step("chaos", core.chaos.is_some())?;
    f.write_str("operation")
}

/// What one call can cost; made by [`Pipeline::explain`](crate::Pipeline::explain), and printed for people.
///
/// ```
/// # fn main() -> Result<(), steadfast::ConfigError> {
/// use steadfast::Pipeline;
/// let explanation = Pipeline::http("github").build()?.explain();
/// assert_eq!(explanation.attempts(), 4);
/// assert_eq!(explanation.worst_case(), Some(std::time::Duration::from_secs(10)));
/// println!("{explanation}");
/// # Ok(()) }
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct Explanation {
    order: String,
    retries: u32,
    /// Legs beside the first of each attempt.
    hedges: u32,
    worst_case: Option<Duration>,
    /// Whether a server may ask for pauses that make the worst case worse.
    hints: bool,
    load: f64,
    /// Retries per second that the budget always grants, whatever the load.
    floor: f64,
}

impl Explanation {
    #[inline]
    pub(super) fn of(core: &Core) -> Self {
        struct Order<'a>(&'a Core);
        impl fmt::Display for Order<'_> {
            #[inline]
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                draw(self.0, f)
            }
        }
        let retries = core.policies.retry.as_ref().map_or(0, |retry| retry.config().max_attempts() - 1);
        let hedges = core.policies.hedge.as_ref().map_or(0, |hedge| hedge.config().max_hedges);
        let more = retries.saturating_add(1).saturating_mul(hedges + 1) - 1;
        let share = |budget: &Budget, most: u32| budget.share().unwrap_or(f64::from(most));
        let mut extra: f64 = core.policies.retry.as_ref().map_or(0.0, |retry| share(retry.budget(), more));
        if let Some(hedge) = &core.policies.hedge
            && (core.policies.retry.is_none() || hedge.config().budget.is_some())
        {
            extra += share(hedge.budget(), more - retries);
        }
        Self {
            order: Order(core).to_string(),
            retries,
            hedges,
            worst_case: worst_case(core, retries, hedges),
            hints: core.total_timeout.is_none() && retries > 0,
            load: 1.0 + extra.min(f64::from(more)),
            floor: core.policies.retry.as_ref().map_or(0.0, |retry| retry.budget().config().floor()),
        }
    }

    /// The most attempts one call makes: the first one and its retries, and the legs that a hedge launches beside each. `u32::MAX`
    /// where only deadline and budget limit them.
    #[must_use]
    pub const fn attempts(&self) -> u32 {
        self.retries.saturating_add(1).saturating_mul(self.hedges + 1)
    }

    /// The longest a caller can wait: the total timeout, or else every attempt to its limit, and every queue and pause at its longest,
    /// pauses that a server asks for aside. `None`: there is no limit.
    #[must_use]
    pub const fn worst_case(&self) -> Option<Duration> {
        self.worst_case
    }

    /// How many attempts per call the dependency sees at most in the long run, when every one of them fails: the retry budget keeps it
    /// well under [`attempts`](Self::attempts). With few calls it may be more, for the budget grants some retries a second (3 unless
    /// set) whatever the calls.
    #[must_use]
    pub const fn load(&self) -> f64 {
        self.load
    }
}

#[inline]
fn worst_case(core: &Core, retries: u32, hedges: u32) -> Option<Duration> {
    let attempts = || {
        let mut limit = core.attempt_timeout?;
        if !core.gates.is_empty() || retries == Retry::UNLIMITED - 1 {
            return None; // gates of one's own may keep an attempt waiting for as long as the deadline lets them
        }
        let queues = [
            core.policies.per_key.as_ref().map(|per_key| per_key.config().longest_wait()),
            core.policies.rate_limit.as_ref().map(|limiter| limiter.config().longest_wait()),
            core.policies.bulkhead.as_ref().map(|bulkhead| bulkhead.config().longest_wait()),
            core.policies.adaptive_limit.as_ref().map(|limit| limit.config().longest_wait()),
        ];
        for wait in queues.into_iter().flatten() {
            limit = limit.checked_add(wait)?;
        }
        let pauses = match &core.policies.retry {
            Some(retry) => retry.config().longest_wait()?,
            None => Duration::ZERO,
        };
        // A leg that fails at its very end launches the next.
        limit.checked_mul(retries.checked_add(1)?.checked_mul(hedges + 1)?)?.checked_add(pauses)
    };
    match (core.total_timeout, attempts()) {
        (Some(total), Some(attempts)) => Some(total.min(attempts)),
        (total, attempts) => total.or(attempts),
    }
}

impl fmt::Display for Explanation {
    #[inline]
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "order:      {}", self.order)?;
        let plural = if self.retries == 1 { "retry" } else { "retries" };
        match self.attempts() {
            Retry::UNLIMITED => writeln!(f, "attempts:   as many as deadline and budget allow")?,
            attempts if self.hedges == 0 => writeln!(f, "attempts:   at most {attempts} (1 + {} {plural})", self.retries)?,
            attempts => writeln!(f, "attempts:   at most {attempts} ((1 + {} {plural}) x {} legs)", self.retries, self.hedges + 1)?,
        }
        let hints = if self.hints { ", and longer pauses where a server asks for them" } else { "" };
        match self.worst_case {
            Some(limit) => writeln!(f, "worst case: {}{hints}", Seconds(limit))?,
            None => writeln!(f, "worst case: no limit; set total_timeout")?,
        }
        write!(f, "load:       at most {:.2} attempts per call in the long run", self.load)?;
        if self.floor > 0.0 { write!(f, ", or {} retries a second if that is more", self.floor) } else { Ok(()) }
    }
}

/// A combination of settings that works, but hardly as meant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Warning {
    field: &'static str,
    text: String,
}

impl Warning {
    /// The setting to look at.
    #[must_use]
    pub const fn field(&self) -> &str {
        self.field
    }

    /// What will happen, and what to do about it.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }
}

impl fmt::Display for Warning {
    #[inline]
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.field, self.text)
    }
}

#[inline]
pub(super) fn warnings(core: &Core) -> Vec<Warning> {
    let mut found = Vec::new();
    let mut warn = |field, text: String| found.push(Warning { field, text });
    let timeless = core.total_timeout.is_none() && core.attempt_timeout.is_none();
    for (field, limit) in [("total_timeout", core.total_timeout), ("attempt_timeout", core.attempt_timeout)] {
        if limit == Some(Duration::ZERO) {
            warn(field, "0 s fails every operation that is not ready at its first poll; leave it out for no limit".into());
        }
    }
    if let Some(retry) = &core.policies.retry {
        if timeless {
            warn("retry", "an attempt that hangs is never retried, for it never ends; set attempt_timeout".into());
        }
        if core.total_timeout.is_none() {
            warn("retry", "nothing limits the attempts and pauses of a call together; set total_timeout".into());
        }
        if retry.budget().share().is_none() {
            let attempts = retry.config().max_attempts();
            warn("retry.budget", format!("without one an outage is answered with {attempts} times the load; leave the default on"));
        }
        if let (Some(attempt), Some(total)) = (core.attempt_timeout, core.total_timeout) {
            let fit = total.as_nanos().checked_div(attempt.as_nanos()).unwrap_or(u128::MAX);
            if fit <= 1 {
                let (attempt, total) = (Seconds(attempt), Seconds(total));
                warn("attempt_timeout", format!("after one attempt of {attempt} hardly any of the {total} is left to retry in; lower it"));
            }
        }
    }
    if let Some(hedge) = &core.policies.hedge
        && let When::After(delay) = hedge.config().when
        && let Some(limit) = core.attempt_timeout.into_iter().chain(core.total_timeout).min()
        && (limit..Duration::MAX).contains(&delay)
    {
        let (delay, limit) = (Seconds(delay), Seconds(limit));
        warn("hedge.after", format!("an attempt ends after {limit}, so it is never slow for {delay}; lower it"));
    }
    if core.policies.circuit_breaker.is_some() && timeless {
        warn("circuit_breaker", "calls that hang never end, so they never count as failures; set attempt_timeout".into());
    }
    #[cfg(feature = "cache")]
    if let Some(field) = core.caching.as_ref().and_then(crate::substitution::Caching::never_old) {
        warn(field, "answers are fresh for ever, so none is ever old; set cache.ttl".into());
    }
    #[cfg(feature = "chaos")]
    if core.chaos.as_ref().is_some_and(crate::chaos::Chaos::hangs) && timeless {
        warn("chaos.hang", "a call that hangs never ends; set attempt_timeout or total_timeout".into());
    }
    if let (Some(bulkhead), None) = (&core.policies.bulkhead, core.total_timeout)
        && bulkhead.config().waits_for_ever()
    {
        warn("bulkhead.queue", "a call may wait in the queue for ever; set bulkhead.max_wait or total_timeout".into());
    }
    if let (Some(limit), None) = (&core.policies.adaptive_limit, core.total_timeout)
        && limit.config().waits_for_ever()
    {
        warn("adaptive_limit.queue", "a call may wait in the queue for ever; set adaptive_limit.max_wait or total_timeout".into());
    }
    if core.policies.adaptive_limit.is_some() && timeless {
        warn("adaptive_limit", "calls that hang keep their places, and the limit never learns of them; set attempt_timeout".into());
    }
    if core.log_keys && !core.spans {
        warn("log_keys", "keys are logged on spans, and there are none; add spans()".into());
    }
    found
}
