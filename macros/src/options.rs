//! The grammar: what may stand between the parentheses of `#[resilient(..)]`.

use crate::suggest;
use crate::value::{self, Number, Per, Share, Time};
use proc_macro2::{Span, TokenStream, TokenTree};
use std::collections::HashMap;
use std::time::Duration;
use syn::ext::IdentExt;
use syn::parse::{Parse, ParseStream};
use syn::spanned::Spanned;
use syn::{Error, Expr, Ident, Lit, LitStr, Path, Result, Token, Type};

/// A value, and the name it was given under.
#[derive(Clone)]
pub(crate) struct Given<T> {
    pub(crate) name: Ident,
    pub(crate) value: T,
}

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
pub(crate) enum Preset {
    Http,
    Database,
    Background,
    Interactive,
}

/// Everything that was said.
#[derive(Clone, Default)]
pub(crate) struct Options {
    pub(crate) retry: Option<Given<Retry>>,
    pub(crate) attempt_timeout: Option<Given<Time>>,
    pub(crate) total_timeout: Option<Given<Time>>,
    pub(crate) timeout: Option<Given<Time>>,
    pub(crate) circuit_breaker: Option<Given<Breaker>>,
    pub(crate) rate_limit: Option<Given<RateLimit>>,
    pub(crate) bulkhead: Option<Given<Bulkhead>>,
    pub(crate) preset: Option<Given<Preset>>,

    pub(crate) adaptive: Option<Ident>,
    pub(crate) hedge: Option<Ident>,
    pub(crate) cache: Option<Ident>,
    pub(crate) cached: Option<Ident>,
    pub(crate) registry_name: Option<LitStr>,

    pub(crate) pipeline: Option<Given<Expr>>,
    pub(crate) name: Option<Given<LitStr>>,
    pub(crate) key: Option<Given<Expr>>,
    pub(crate) priority: Option<Given<Expr>>,
    pub(crate) fallback: Option<Given<Expr>>,
    pub(crate) classify: Option<Given<Expr>>,
    pub(crate) map_err: Option<Given<Expr>>,
    pub(crate) err: Option<Given<Type>>,
    pub(crate) share: Option<Given<Vec<Ident>>>,
    pub(crate) krate: Option<Path>,
}

const ITEMS: &[&str] = &[
    "retry",
    "attempt_timeout",
    "total_timeout",
    "timeout",
    "circuit_breaker",
    "rate_limit",
    "bulkhead",
    "adaptive",
    "hedge",
    "cache",
    "preset",
    "pipeline",
    "name",
    "key",
    "priority",
    "fallback",
    "classify",
    "cached",
    "map_err",
    "err",
    "share",
    "crate",
];

/// As in the circuit breaker.
const SHORTEST_WINDOW: Duration = Duration::from_millis(20);

/// As in the bulkhead.
const LONGEST_QUEUE: u64 = 1_000_000;

const NO_CALL: &str = "so the policy would reject every call; leave the policy out instead";

impl Options {
    /// Reads what stands between the parentheses. Every item with a mistake is reported, not only the first.
    pub(crate) fn parse(tokens: TokenStream) -> Result<Self> {
        syn::parse::Parser::parse2(Self::parse_items, tokens)
    }

    fn parse_items(input: ParseStream<'_>) -> Result<Self> {
        let mut options = Self::default();
        let mut seen = HashMap::new();
        let mut errors: Option<Error> = None;
        while !input.is_empty() {
            let parsed = options.parse_item(input, &mut seen).and_then(|()| match input.is_empty() || input.peek(Token![,]) {
                true => Ok(()),
                false => Err(input.error("expected `,` and the next policy or option")),
            });
            if let Err(error) = parsed {
                match &mut errors {
                    Some(errors) => errors.combine(error),
                    None => errors = Some(error),
                }
                skip_to_comma(input)?;
            }
            input.parse::<Option<Token![,]>>()?;
        }
        errors.map_or(Ok(options), Err)
    }

    fn parse_item(&mut self, input: ParseStream<'_>, seen: &mut HashMap<String, ()>) -> Result<()> {
        if !input.peek(Ident::peek_any) {
            return Err(input.error("expected a policy or an option, such as `retry(3)` or `attempt_timeout = 2s`"));
        }
        let name = Ident::parse_any(input)?;
        let text = name.to_string();
        if ITEMS.contains(&text.as_str()) && seen.insert(text.clone(), ()).is_some() {
            let _ = skip_to_comma(input);
            return Err(Error::new(name.span(), format!("`{name}` is given twice")));
        }
        match text.as_str() {
            "retry" => self.retry = Some(parens(input, name, "retry(3)", retry)?),
            "attempt_timeout" => self.attempt_timeout = Some(equals(input, name, "2s", limit)?),
            "total_timeout" => self.total_timeout = Some(equals(input, name, "10s", limit)?),
            "timeout" => self.timeout = Some(equals(input, name, "2s", limit)?),
            "circuit_breaker" => self.circuit_breaker = Some(parens(input, name, "circuit_breaker(50%)", breaker)?),
            "rate_limit" => self.rate_limit = Some(parens(input, name, "rate_limit(100/s)", rate_limit)?),
            "bulkhead" => self.bulkhead = Some(parens(input, name, "bulkhead(50)", bulkhead)?),
            "adaptive" => self.adaptive = Some(parens(input, name, "adaptive(5..200)", adaptive)?.name),
            "hedge" => self.hedge = Some(parens(input, name, "hedge(after = 50ms)", hedge)?.name),
            "cache" => self.cache = Some(parens(input, name, "cache(ttl = 1m)", cache)?.name),
            "preset" => self.preset = Some(equals(input, name, "http", preset)?),
            "pipeline" => {
                let given = equals(input, name, "PAYMENTS", Expr::parse)?;
                match string(&given.value) {
                    Some(text) => self.registry_name = Some(text.clone()),
                    None => self.pipeline = Some(given),
                }
            }
            "name" => self.name = Some(equals(input, name, "\"github\"", pipeline_name)?),
            "key" => self.key = Some(equals(input, name, "tenant", Expr::parse)?),
            "priority" => self.priority = Some(equals(input, name, "High", Expr::parse)?),
            "fallback" => self.fallback = Some(equals(input, name, "Self::plan_b", function)?),
            "classify" => self.classify = Some(equals(input, name, "ApiError::verdict", function)?),
            "map_err" => self.map_err = Some(equals(input, name, "MyError::from", function)?),
            "err" => self.err = Some(equals(input, name, "std::io::Error", Type::parse)?),
            "share" => self.share = Some(parens(input, name, "share(body)", shared)?),
            "crate" => self.krate = Some(equals(input, name, "path::to::steadfast", Path::parse_mod_style)?.value),
            "cached" => {
                if !(input.is_empty() || input.peek(Token![,])) {
                    return Err(input.error("`cached` stands alone: it takes no value"));
                }
                self.cached = Some(name);
            }
            other => return Err(Error::new(name.span(), suggest::unknown("option", other, ITEMS))),
        }
        Ok(())
    }
}

/// `name(..)`.
fn parens<T>(input: ParseStream<'_>, name: Ident, example: &str, read: fn(ParseStream<'_>, &Ident) -> Result<T>) -> Result<Given<T>> {
    if input.peek(Token![=]) {
        let numbers = matches!(name.to_string().as_str(), "retry" | "bulkhead" | "rate_limit" | "circuit_breaker" | "adaptive");
        let what = if numbers { "numbers" } else { "settings" };
        return Err(Error::new(name.span(), format!("`{name}` takes its {what} in parentheses: `{example}`")));
    }
    if !input.peek(syn::token::Paren) {
        return Err(Error::new(name.span(), format!("`{name}` needs its settings: `{example}`")));
    }
    let content;
    syn::parenthesized!(content in input);
    if content.is_empty() {
        return Err(Error::new(name.span(), format!("`{name}` needs its settings: `{example}`")));
    }
    let value = read(&content, &name)?;
    Ok(Given { name, value })
}

/// `name = ..`.
fn equals<T>(input: ParseStream<'_>, name: Ident, example: &str, read: fn(ParseStream<'_>) -> Result<T>) -> Result<Given<T>> {
    let equals = input.peek(Token![=]) && !input.peek(Token![==]);
    if !equals {
        return Err(Error::new(name.span(), format!("`{name}` takes its value after `=`: `{name} = {example}`")));
    }
    input.parse::<Token![=]>()?;
    if input.is_empty() || input.peek(Token![,]) {
        return Err(Error::new(name.span(), format!("`{name}` needs a value: `{name} = {example}`")));
    }
    let value = read(input)?;
    Ok(Given { name, value })
}

/// Reads `, name = ..` until the end: `read` is given each name in turn.
fn settings(
    input: ParseStream<'_>,
    policy: &Ident,
    known: &[&'static str],
    mut read: impl FnMut(ParseStream<'_>, Ident) -> Result<()>,
) -> Result<()> {
    let mut seen = HashMap::new();
    loop {
        if input.is_empty() {
            return Ok(());
        }
        if !input.peek(Token![,]) {
            return Err(input.error(format!("expected `,` and the next setting of `{policy}`")));
        }
        input.parse::<Token![,]>()?;
        if input.is_empty() {
            return Ok(());
        }
        if !input.peek(Ident::peek_any) {
            return Err(input.error(format!("expected a setting of `{policy}`: {}", suggest::list(known))));
        }
        let name = Ident::parse_any(input)?;
        let text = name.to_string();
        if !known.contains(&text.as_str()) {
            return Err(Error::new(name.span(), suggest::unknown(&format!("setting of `{policy}`,"), &text, known)));
        }
        if seen.insert(text, ()).is_some() {
            return Err(Error::new(name.span(), format!("`{name}` is given twice")));
        }
        read(input, name)?;
    }
}

fn limit(input: ParseStream<'_>) -> Result<Time> {
    value::time(input)?.nonzero(NO_CALL)
}

fn retry(input: ParseStream<'_>, name: &Ident) -> Result<Retry> {
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

fn breaker(input: ParseStream<'_>, name: &Ident) -> Result<Breaker> {
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

fn rate_limit(input: ParseStream<'_>, name: &Ident) -> Result<RateLimit> {
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

fn bulkhead(input: ParseStream<'_>, name: &Ident) -> Result<Bulkhead> {
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

fn adaptive(input: ParseStream<'_>, name: &Ident) -> Result<()> {
    value::number_range(input, "adaptive(5..200)")?;
    settings(input, name, &["gradient", "aimd"], |input, name| match input.is_empty() || input.peek(Token![,]) {
        true => Ok(()),
        false => Err(Error::new(name.span(), format!("`{name}` stands alone: it takes no value"))),
    })
}

fn hedge(input: ParseStream<'_>, name: &Ident) -> Result<()> {
    if !(input.peek(Ident) && input.peek2(Token![=])) || input.fork().parse::<Ident>()? != "after" {
        return Err(input.error("say first when the second attempt starts: `hedge(after = 50ms)` or `hedge(after = p95)`"));
    }
    input.parse::<Ident>()?;
    input.parse::<Token![=]>()?;
    let percentile =
        input.peek(Ident) && input.fork().parse::<Ident>()?.to_string().strip_prefix('p').is_some_and(|n| n.parse::<u8>().is_ok());
    if percentile {
        input.parse::<Ident>()?;
    } else {
        value::time(input)?;
    }
    settings(input, name, &["max"], |input, name| {
        equals(input, name, "2", |input| value::number(input)?.nonzero("`max = 0` never hedges; leave `hedge` out")).map(drop)
    })
}

fn cache(input: ParseStream<'_>, name: &Ident) -> Result<()> {
    if !(input.peek(Ident) && input.peek2(Token![=])) || input.fork().parse::<Ident>()? != "ttl" {
        return Err(input.error("say first how long an answer is good: `cache(ttl = 1m)`"));
    }
    input.parse::<Ident>()?;
    input.parse::<Token![=]>()?;
    value::time(input)?.nonzero("so no answer would ever be kept; leave `cache` out")?;
    settings(input, name, &["stale_if_error", "capacity"], |input, name| {
        if name == "capacity" {
            equals(input, name, "1_000", |input| value::number(input)?.nonzero("a cache of 0 keeps nothing; leave `cache` out")).map(drop)
        } else {
            equals(input, name, "10m", value::time).map(drop)
        }
    })
}

fn preset(input: ParseStream<'_>) -> Result<Preset> {
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

fn pipeline_name(input: ParseStream<'_>) -> Result<LitStr> {
    let wanted = "`name` is a string: it appears in errors and statistics, such as `name = \"github\"`";
    let name: LitStr = input.parse().map_err(|error| Error::new(error.span(), wanted))?;
    if name.value().is_empty() { Err(Error::new(name.span(), "this name is empty; name the dependency, `\"github\"`")) } else { Ok(name) }
}

fn shared(input: ParseStream<'_>, _: &Ident) -> Result<Vec<Ident>> {
    let mut names: Vec<Ident> = Vec::new();
    while !input.is_empty() {
        let name = Ident::parse_any(input)?;
        if names.contains(&name) {
            return Err(Error::new(name.span(), format!("`{name}` is given twice")));
        }
        names.push(name);
        if !input.is_empty() {
            input.parse::<Token![,]>()?;
        }
    }
    Ok(names)
}

/// A path or a closure.
fn function(input: ParseStream<'_>) -> Result<Expr> {
    let mut expr: Expr = input.parse()?;
    while let Expr::Group(group) = expr {
        expr = *group.expr;
    }
    match &expr {
        Expr::Path(_) | Expr::Closure(_) => Ok(expr),
        other => Err(Error::new(span_of(other), "expected the path of a function, or a closure")),
    }
}

fn span_of(expr: &Expr) -> Span {
    expr.span()
}

/// The text, if the expression is a string literal.
pub(crate) fn string(expr: &Expr) -> Option<&LitStr> {
    match expr {
        Expr::Lit(lit) => match &lit.lit {
            Lit::Str(text) => Some(text),
            _ => None,
        },
        Expr::Group(group) => string(&group.expr),
        _ => None,
    }
}

fn skip_to_comma(input: ParseStream<'_>) -> Result<()> {
    while !(input.is_empty() || input.peek(Token![,])) {
        input.parse::<TokenTree>()?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::err_expect, reason = "a test may panic, and not every value is `Debug`")]

    use super::*;

    fn error(text: &str) -> String {
        let tokens: TokenStream = text.parse().expect("tokens");
        let error = Options::parse(tokens).err().expect(text);
        error.into_iter().map(|e| e.to_string()).collect::<Vec<_>>().join(" | ")
    }

    fn options(text: &str) -> Options {
        Options::parse(text.parse().expect("tokens")).unwrap_or_else(|e| panic!("{text}: {e}"))
    }

    #[test]
    fn the_whole_grammar_is_read() {
        let all = options(
            "retry(3, exponential(100ms..5s), factor = 3, jitter = full, when = is_transient, budget = 20%),
             circuit_breaker(50%, window = 10s, min_calls = 20, open_for = 30s, slow = 2s),
             rate_limit(100/s, burst = 20, wait = 250ms), bulkhead(50, queue = 100, wait = 1s), attempt_timeout = 1.5s, total_timeout = 1m,
             adaptive(5..200, gradient), hedge(after = p95, max = 2), cache(ttl = 1m, stale_if_error = 1h, capacity = 100), preset = http,
             pipeline = self.api, name = \"x\", key = \"{tenant}:{id}\", priority = if vip { High } else { Normal },
             fallback = |_e| async { Ok(0) }, classify = E::verdict, cached, map_err = |e| match e { A(x) => x, B(y) => y.into() },
             err = std::io::Error, share(a, b), crate = crate::deps::steadfast,",
        );
        let retry = all.retry.expect("retry").value;
        assert_eq!(retry.retries.known(), Some(3));
        assert!(matches!(retry.backoff.expect("backoff").value, Backoff::Exponential(..)));
        assert_eq!(retry.jitter.expect("jitter").value, JitterKind::Full);
        assert!(retry.when.is_some() && retry.budget.is_some() && retry.factor.is_some());
        assert!(all.pipeline.is_some() && all.hedge.is_some() && all.cached.is_some() && all.adaptive.is_some() && all.cache.is_some());
        assert_eq!(all.share.expect("share").value.len(), 2);

        let row = options("circuit_breaker(consecutive = 5, open_for = 30s)").circuit_breaker.expect("breaker").value;
        assert!(matches!(row.trip, Trip::Consecutive(_)));
        assert!(options("pipeline = \"payments\"").registry_name.is_some());
        assert!(matches!(options("retry(2, fixed(1s))").retry.expect("retry").value.backoff.expect("backoff").value, Backoff::Fixed(_)));
        assert!(matches!(options("retry(N, linear(1s..2s))").retry.expect("retry").value.retries, Number::Expr(_)));
    }

    #[test]
    fn misuse_is_explained() {
        assert_eq!(error("retires(3)"), "unknown option `retires`; did you mean `retry`?");
        assert_eq!(error("retry = 3"), "`retry` takes its numbers in parentheses: `retry(3)`");
        assert_eq!(error("retry"), "`retry` needs its settings: `retry(3)`");
        assert_eq!(error("retry()"), "`retry` needs its settings: `retry(3)`");
        assert_eq!(error("attempt_timeout(2s)"), "`attempt_timeout` takes its value after `=`: `attempt_timeout = 2s`");
        assert_eq!(error("attempt_timeout ="), "`attempt_timeout` needs a value: `attempt_timeout = 2s`");
        assert_eq!(error("attempt_timeout = 2"), "a duration needs a unit: `2ms`, `2s` or `2m`");
        assert_eq!(error("attempt_timeout = 2sec"), "unknown unit `sec`; use `ns`, `us`, `ms`, `s`, `m` or `h`");
        assert_eq!(error("retry(0)"), "`retry(0)` never retries; leave `retry` out");
        assert_eq!(error("timeout = 0s"), "this duration is zero, so the policy would reject every call; leave the policy out instead");
        assert_eq!(error("retry(3), retry(4)"), "`retry` is given twice");
        assert_eq!(error("retry(3, jitter = full, jitter = none)"), "`jitter` is given twice");
        assert_eq!(error("retry(3, facto = 2)"), "unknown setting of `retry`, `facto`; did you mean `factor`?");
        assert_eq!(error("retry(3, jitter = ful)"), "unknown jitter `ful`; did you mean `full`?");
        assert_eq!(error("preset = htp"), "unknown preset `htp`; did you mean `http`?");
        assert_eq!(error("circuit_breaker(0.5)"), "a share is written in per cent: `50%`");
        assert_eq!(error("rate_limit(100)"), "a rate needs a unit of time: `100/s`, `100/min` or `100/h`");
        assert_eq!(error("retry(3) attempt_timeout = 2s"), "expected `,` and the next policy or option");
        assert_eq!(error("fallback = 3"), "expected the path of a function, or a closure");
        assert_eq!(
            error("retires(3), attempt_timeout = 2, key = x"),
            "unknown option `retires`; did you mean `retry`? | a duration needs a unit: `2ms`, `2s` or `2m`"
        );
        assert!(error("retry(3, fixed(1s), linear(1s..2s))").contains("already has a backoff"));
        assert!(error("retry(3, fixed(1s), factor = 2)").contains("belongs to `exponential`"));
        assert!(error("5").contains("expected a policy or an option"));
        assert!(error("retry(5_000_000_000)").contains("too large"));
        assert!(error("cached = 3").contains("stands alone"));
    }
}
