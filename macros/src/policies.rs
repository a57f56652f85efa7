//! The grammar of the policies: what stands between the parentheses of `retry(..)`, `circuit_breaker(..)` and the others.

use crate::options::{Given, equals, function, parens, settings};
use crate::suggest;
use crate::value::{self, Number, Per, Share, Time};
use std::time::Duration;
use syn::ext::IdentExt;
use syn::parse::ParseStream;
use syn::{Error, Expr, Ident, Result, Token};

/// How delays grow from one retry to the next.
#[derive(Clone)]
pub(crate) enum Backoff {
    Exponential(Time, Time),
    Linear(Time, Time),
    Fixed(Time),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum JitterKind {
    Full,
    Equal,
    None,
}

#[derive(Clone)]
pub(crate) struct Retry {
    pub(crate) retries: Number,
    pub(crate) backoff: Option<Given<Backoff>>,
    pub(crate) factor: Option<Given<Expr>>,
    pub(crate) jitter: Option<Given<JitterKind>>,
    pub(crate) when: Option<Given<Expr>>,
    pub(crate) budget: Option<Given<Share>>,
}

#[derive(Clone)]
pub(crate) enum Trip {
    Rate(Share),
    Consecutive(Number),
}

#[derive(Clone)]
pub(crate) struct Breaker {
    pub(crate) trip: Trip,
    pub(crate) window: Option<Given<Time>>,
    pub(crate) min_calls: Option<Given<Number>>,
    pub(crate) open_for: Option<Given<Time>>,
    pub(crate) slow: Option<Given<Time>>,
}

#[derive(Clone)]
pub(crate) struct RateLimit {
    pub(crate) count: Number,
    pub(crate) per: Per,
    pub(crate) burst: Option<Given<Number>>,
    pub(crate) wait: Option<Given<Time>>,
}

#[derive(Clone)]
pub(crate) struct Bulkhead {
    pub(crate) places: Number,
    pub(crate) queue: Option<Given<Number>>,
    pub(crate) wait: Option<Given<Time>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Algorithm {
    Gradient,
    Aimd,
}

#[derive(Clone)]
pub(crate) struct Adaptive {
    pub(crate) least: Number,
    pub(crate) most: Number,
    pub(crate) algorithm: Option<Given<Algorithm>>,
}

/// When a hedge sends the next attempt.
#[derive(Clone)]
pub(crate) enum After {
    Delay(Time),
    Percentile(u8),
}

#[derive(Clone)]
pub(crate) struct Hedge {
    pub(crate) after: Given<After>,
    pub(crate) max: Option<Given<Number>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Preset {
    Http,
    Database,
    Background,
    Interactive,
}

/// As in the circuit breaker.
const SHORTEST_WINDOW: Duration = Duration::from_millis(20);

/// As in the hedge.
const MOST_HEDGES: u64 = 10;

/// As in the bulkhead.
const LONGEST_QUEUE: u64 = 1_000_000;

pub(crate) fn retry(input: ParseStream<'_>, name: &Ident) -> Result<Retry> {
    let retries = value::number(input)?.nonzero("`retry(0)` never retries; leave `retry` out")?;
    let mut retry = Retry { retries, backoff: None, factor: None, jitter: None, when: None, budget: None };
    let known = ["exponential", "fixed", "linear", "factor", "jitter", "when", "budget"];
    settings(input, name, &known, |input, name| {
        match name.to_string().as_str() {
            kind @ ("exponential" | "linear" | "fixed") => {
                if let Some(first) = &retry.backoff {
                    return Err(Error::new(name.span(), format!("`retry` already has a backoff, `{}`; drop one of the two", first.name)));
                }
                retry.backoff = Some(match kind {
                    "exponential" => parens(input, name, "exponential(100ms..5s)", |input, _| {
                        value::time_range(input, "exponential(100ms..5s)").map(|(from, to)| Backoff::Exponential(from, to))
                    })?,
                    "linear" => parens(input, name, "linear(100ms..5s)", |input, _| {
                        value::time_range(input, "linear(100ms..5s)").map(|(from, to)| Backoff::Linear(from, to))
                    })?,
                    _ => parens(input, name, "fixed(100ms)", |input, _| value::time(input).map(Backoff::Fixed))?,
                });
            }
            "factor" => retry.factor = Some(equals(input, name, "2", value::factor)?),
            "jitter" => retry.jitter = Some(equals(input, name, "full", jitter)?),
            "when" => retry.when = Some(equals(input, name, "is_transient", function)?),
            _ => retry.budget = Some(equals(input, name, "20%", value::share)?),
        }
        Ok(())
    })?;
    if let Some(Backoff::Exponential(_, longest) | Backoff::Linear(_, longest)) = retry.backoff.as_ref().map(|b| &b.value)
        && longest.known() == Some(Duration::ZERO)
    {
        return Err(Error::new(longest.span(), "the longest delay is zero; to retry at once write `fixed(0s)`"));
    }
    if let (Some(factor), Some(Backoff::Fixed(_) | Backoff::Linear(..))) = (&retry.factor, retry.backoff.as_ref().map(|b| &b.value)) {
        return Err(Error::new(factor.name.span(), "`factor` belongs to `exponential`: these delays do not multiply"));
    }
    Ok(retry)
}

pub(crate) fn breaker(input: ParseStream<'_>, name: &Ident) -> Result<Breaker> {
    let trip = if value::peek_share(input) {
        Trip::Rate(value::share(input)?)
    } else if input.peek(Ident) && input.peek2(Token![=]) {
        let first: Ident = input.parse()?;
        if first != "consecutive" {
            return Err(Error::new(
                first.span(),
                "say first when to open: `circuit_breaker(50%, ..)` or `circuit_breaker(consecutive = 5, ..)`",
            ));
        }
        input.parse::<Token![=]>()?;
        Trip::Consecutive(value::number(input)?.nonzero("0 failures in a row would keep the breaker open for ever; write 1 or more")?)
    } else {
        // For the message: this is not a share.
        Trip::Rate(value::share(input)?)
    };
    let mut breaker = Breaker { trip, window: None, min_calls: None, open_for: None, slow: None };
    let known = ["window", "min_calls", "open_for", "slow"];
    settings(input, name, &known, |input, name| {
        match name.to_string().as_str() {
            "window" => breaker.window = Some(equals(input, name, "10s", window)?),
            "min_calls" => breaker.min_calls = Some(equals(input, name, "20", min_calls)?),
            "open_for" => {
                let read = |input: ParseStream<'_>| value::time(input)?.nonzero("so the breaker would never stay open; 30s is usual");
                breaker.open_for = Some(equals(input, name, "30s", read)?);
            }
            _ => {
                let read = |input: ParseStream<'_>| value::time(input)?.nonzero("so every call would count as slow");
                breaker.slow = Some(equals(input, name, "1s", read)?);
            }
        }
        Ok(())
    })?;
    if let (Trip::Consecutive(_), None) = (&breaker.trip, &breaker.slow) {
        let stray = breaker.window.as_ref().map(|given| &given.name).or(breaker.min_calls.as_ref().map(|given| &given.name));
        if let Some(name) = stray {
            let message = format!("`{name}` belongs to a rate, and `consecutive` only looks at the last calls; leave it out");
            return Err(Error::new(name.span(), message));
        }
    }
    Ok(breaker)
}

fn window(input: ParseStream<'_>) -> Result<Time> {
    let window = value::time(input)?.nonzero("so the window would hold no call; 10s is usual")?;
    match window.known() {
        Some(known) if known < SHORTEST_WINDOW => Err(Error::new(window.span(), "this window is too short for a rate; use at least 20ms")),
        _ => Ok(window),
    }
}

fn min_calls(input: ParseStream<'_>) -> Result<Number> {
    let calls = value::number(input)?;
    match calls.known() {
        Some(0 | 1) => {
            let message = "one bad call would open the circuit; use at least 2, or `circuit_breaker(consecutive = 1)`";
            Err(Error::new(calls.span(), message))
        }
        _ => Ok(calls),
    }
}

pub(crate) fn rate_limit(input: ParseStream<'_>, name: &Ident) -> Result<RateLimit> {
    let (count, per) = value::rate(input)?;
    let mut limit = RateLimit { count, per, burst: None, wait: None };
    settings(input, name, &["burst", "wait"], |input, name| {
        if name == "burst" {
            let read = |input: ParseStream<'_>| value::number(input)?.nonzero("a burst of 0 would let no call through; write 1 or more");
            limit.burst = Some(equals(input, name, "20", read)?);
        } else {
            limit.wait = Some(equals(input, name, "250ms", wait)?);
        }
        Ok(())
    })?;
    Ok(limit)
}

pub(crate) fn bulkhead(input: ParseStream<'_>, name: &Ident) -> Result<Bulkhead> {
    let places = value::number(input)?.nonzero("a bulkhead of 0 would let no call through; leave `bulkhead` out")?;
    let mut bulkhead = Bulkhead { places, queue: None, wait: None };
    settings(input, name, &["queue", "wait"], |input, name| {
        if name == "queue" {
            bulkhead.queue = Some(equals(input, name, "100", queue)?);
        } else {
            bulkhead.wait = Some(equals(input, name, "250ms", wait)?);
        }
        Ok(())
    })?;
    if let (Some(wait), None) = (&bulkhead.wait, &bulkhead.queue) {
        let message = "nobody waits without a queue; write `queue = 100, wait = ..`, or leave `wait` out";
        return Err(Error::new(wait.name.span(), message));
    }
    Ok(bulkhead)
}

fn queue(input: ParseStream<'_>) -> Result<Number> {
    let queue = value::number(input)?.nonzero("a queue of 0 is none, which is the default; leave `queue` out")?;
    match queue.known() {
        Some(waiters) if waiters > LONGEST_QUEUE => {
            Err(Error::new(queue.span(), "nobody is served by a wait behind a million calls; make the queue shorter"))
        }
        _ => Ok(queue),
    }
}

fn wait(input: ParseStream<'_>) -> Result<Time> {
    value::time(input)?.nonzero("so nothing would ever wait; leave `wait` out")
}

pub(crate) fn adaptive(input: ParseStream<'_>, name: &Ident) -> Result<Adaptive> {
    let (least, most) = value::number_range(input, "adaptive(5..200)")?;
    let refuses = "a limit of 0 would refuse every call, and never learn that things are better; begin at 1 or more";
    let mut adaptive = Adaptive { least: least.nonzero(refuses)?, most: most.nonzero(refuses)?, algorithm: None };
    settings(input, name, &["gradient", "aimd"], |input, name| {
        if !(input.is_empty() || input.peek(Token![,])) {
            return Err(Error::new(name.span(), format!("`{name}` stands alone: it takes no value")));
        }
        if let Some(first) = &adaptive.algorithm {
            let message = format!("`adaptive` already has an algorithm, `{}`; drop one of the two", first.name);
            return Err(Error::new(name.span(), message));
        }
        let value = if name == "aimd" { Algorithm::Aimd } else { Algorithm::Gradient };
        adaptive.algorithm = Some(Given { name, value });
        Ok(())
    })?;
    Ok(adaptive)
}

pub(crate) fn hedge(input: ParseStream<'_>, name: &Ident) -> Result<Hedge> {
    if !(input.peek(Ident) && input.peek2(Token![=])) || input.fork().parse::<Ident>()? != "after" {
        return Err(input.error("say first when the second attempt starts: `hedge(after = 50ms)` or `hedge(after = p95)`"));
    }
    let first: Ident = input.parse()?;
    let mut hedge = Hedge { after: equals(input, first, "50ms", after)?, max: None };
    settings(input, name, &["max"], |input, name| {
        hedge.max = Some(equals(input, name, "2", hedges)?);
        Ok(())
    })?;
    Ok(hedge)
}

fn hedges(input: ParseStream<'_>) -> Result<Number> {
    let hedges = value::number(input)?.nonzero("`max = 0` never hedges; leave `hedge` out")?;
    match hedges.known() {
        Some(known) if known > MOST_HEDGES => {
            Err(Error::new(hedges.span(), "so many at once are an attack; at most 10 beside the first, and 1 or 2 are usual"))
        }
        _ => Ok(hedges),
    }
}

/// `50ms`, or `p95`.
fn after(input: ParseStream<'_>) -> Result<After> {
    if !input.peek(Ident) {
        return value::time(input).map(After::Delay);
    }
    let ahead: Ident = input.fork().parse()?;
    let text = ahead.to_string();
    let digits = text.strip_prefix('p').filter(|digits| digits.chars().all(|c| c.is_ascii_digit()) && !digits.is_empty());
    let Some(digits) = digits else { return value::time(input).map(After::Delay) };
    match digits.parse() {
        Ok(percent @ 1..=99) => input.parse::<Ident>().map(|_| After::Percentile(percent)),
        _ => Err(Error::new(ahead.span(), format!("`{text}` is no percentile; `p95` is the time that 95 of 100 calls stay below"))),
    }
}

/// Answers that are kept.
#[derive(Clone)]
pub(crate) struct Cache {
    pub(crate) ttl: Time,
    pub(crate) stale_if_error: Option<Given<Time>>,
    pub(crate) capacity: Option<Given<Number>>,
}

pub(crate) fn cache(input: ParseStream<'_>, name: &Ident) -> Result<Cache> {
    if !(input.peek(Ident) && input.peek2(Token![=])) || input.fork().parse::<Ident>()? != "ttl" {
        return Err(input.error("say first how long an answer is good: `cache(ttl = 1m)`"));
    }
    input.parse::<Ident>()?;
    input.parse::<Token![=]>()?;
    let ttl = value::time(input)?.nonzero("so no answer would ever be kept; leave `cache` out")?;
    let mut cache = Cache { ttl, stale_if_error: None, capacity: None };
    settings(input, name, &["stale_if_error", "capacity"], |input, name| {
        if name == "capacity" {
            let positive = |input: ParseStream<'_>| value::number(input)?.nonzero("a cache of 0 keeps nothing; leave `cache` out");
            cache.capacity = Some(equals(input, name, "1_000", positive)?);
        } else {
            cache.stale_if_error = Some(equals(input, name, "10m", value::time)?);
        }
        Ok(())
    })?;
    Ok(cache)
}

pub(crate) fn preset(input: ParseStream<'_>) -> Result<Preset> {
    let name: Ident = Ident::parse_any(input)?;
    match name.to_string().as_str() {
        "http" => Ok(Preset::Http),
        "database" => Ok(Preset::Database),
        "background" => Ok(Preset::Background),
        "interactive" => Ok(Preset::Interactive),
        other => Err(Error::new(name.span(), suggest::unknown("preset", other, &["http", "database", "background", "interactive"]))),
    }
}

fn jitter(input: ParseStream<'_>) -> Result<JitterKind> {
    let name: Ident = Ident::parse_any(input)?;
    match name.to_string().as_str() {
        "full" => Ok(JitterKind::Full),
        "equal" => Ok(JitterKind::Equal),
        "none" => Ok(JitterKind::None),
        other => Err(Error::new(name.span(), suggest::unknown("jitter", other, &["full", "equal", "none"]))),
    }
}
