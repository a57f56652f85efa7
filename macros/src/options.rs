//! The grammar: what may stand between the parentheses of `#[resilient(..)]`.

use crate::policies::{self, Adaptive, Breaker, Bulkhead, Cache, Hedge, Preset, RateLimit, Retry};
use crate::suggest;
use crate::value::{self, Time};
use proc_macro2::{TokenStream, TokenTree};
use std::collections::HashMap;
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
    pub(crate) adaptive: Option<Given<Adaptive>>,
    pub(crate) hedge: Option<Given<Hedge>>,
    pub(crate) preset: Option<Given<Preset>>,

    pub(crate) cache: Option<Given<Cache>>,
    pub(crate) cached: Option<Ident>,
    /// `cached = QUOTES`.
    pub(crate) cached_in: Option<Given<Expr>>,

    pub(crate) pipeline: Option<Given<Expr>>,
    /// `pipeline = "name"`.
    pub(crate) by_name: Option<Given<LitStr>>,
    pub(crate) registry: Option<Given<Expr>>,
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
    "registry",
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
            "retry" => self.retry = Some(parens(input, name, "retry(3)", policies::retry)?),
            "attempt_timeout" => self.attempt_timeout = Some(equals(input, name, "2s", limit)?),
            "total_timeout" => self.total_timeout = Some(equals(input, name, "10s", limit)?),
            "timeout" => self.timeout = Some(equals(input, name, "2s", limit)?),
            "circuit_breaker" => self.circuit_breaker = Some(parens(input, name, "circuit_breaker(50%)", policies::breaker)?),
            "rate_limit" => self.rate_limit = Some(parens(input, name, "rate_limit(100/s)", policies::rate_limit)?),
            "bulkhead" => self.bulkhead = Some(parens(input, name, "bulkhead(50)", policies::bulkhead)?),
            "adaptive" => self.adaptive = Some(parens(input, name, "adaptive(5..200)", policies::adaptive)?),
            "hedge" => self.hedge = Some(parens(input, name, "hedge(after = 50ms)", policies::hedge)?),
            "cache" => self.cache = Some(parens(input, name, "cache(ttl = 1m)", policies::cache)?),
            "preset" => self.preset = Some(equals(input, name, "http", policies::preset)?),
            "pipeline" => {
                let given = equals(input, name, "PAYMENTS", Expr::parse)?;
                match string(&given.value) {
                    Some(text) if text.value().is_empty() => {
                        return Err(Error::new(text.span(), "this name is empty; name a pipeline of the registry, `\"payments\"`"));
                    }
                    Some(text) => self.by_name = Some(Given { value: text.clone(), name: given.name }),
                    None => self.pipeline = Some(given),
                }
            }
            "registry" => self.registry = Some(equals(input, name, "REGISTRY", Expr::parse)?),
            "name" => self.name = Some(equals(input, name, "\"github\"", pipeline_name)?),
            "key" => self.key = Some(equals(input, name, "tenant", Expr::parse)?),
            "priority" => self.priority = Some(equals(input, name, "High", Expr::parse)?),
            "fallback" => self.fallback = Some(equals(input, name, "Self::plan_b", function)?),
            "classify" => self.classify = Some(equals(input, name, "ApiError::verdict", function)?),
            "map_err" => self.map_err = Some(equals(input, name, "MyError::from", function)?),
            "err" => self.err = Some(equals(input, name, "std::io::Error", Type::parse)?),
            "share" => self.share = Some(parens(input, name, "share(body)", shared)?),
            "crate" => self.krate = Some(equals(input, name, "path::to::steadfast", Path::parse_mod_style)?.value),
            "cached" if input.is_empty() || input.peek(Token![,]) => self.cached = Some(name),
            "cached" => self.cached_in = Some(equals(input, name, "QUOTES", Expr::parse)?),
            other => return Err(Error::new(name.span(), suggest::unknown("option", other, ITEMS))),
        }
        Ok(())
    }
}

/// `name(..)`.
pub(crate) fn parens<T>(
    input: ParseStream<'_>,
    name: Ident,
    example: &str,
    read: fn(ParseStream<'_>, &Ident) -> Result<T>,
) -> Result<Given<T>> {
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
pub(crate) fn equals<T>(input: ParseStream<'_>, name: Ident, example: &str, read: fn(ParseStream<'_>) -> Result<T>) -> Result<Given<T>> {
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
pub(crate) fn settings(
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
pub(crate) fn function(input: ParseStream<'_>) -> Result<Expr> {
    let mut expr: Expr = input.parse()?;
    while let Expr::Group(group) = expr {
        expr = *group.expr;
    }
    match &expr {
        Expr::Path(_) | Expr::Closure(_) => Ok(expr),
        other => Err(Error::new(other.span(), "expected the path of a function, or a closure")),
    }
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
    use crate::policies::{After, Algorithm, Backoff, JitterKind, Trip};
    use crate::value::Number;

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
        assert!(all.pipeline.is_some() && all.cached.is_some() && all.cache.is_some());
        assert_eq!(all.share.expect("share").value.len(), 2);

        let row = options("circuit_breaker(consecutive = 5, open_for = 30s)").circuit_breaker.expect("breaker").value;
        assert!(matches!(row.trip, Trip::Consecutive(_)));
        assert!(matches!(all.adaptive.expect("adaptive").value.algorithm, Some(Given { value: Algorithm::Gradient, .. })));
        let hedge = all.hedge.expect("hedge").value;
        assert!(matches!(hedge.after.value, After::Percentile(95)) && hedge.max.is_some());
        assert!(matches!(options("hedge(after = 50ms)").hedge.expect("hedge").value.after.value, After::Delay(Time::Known(..))));
        assert!(matches!(options("hedge(after = pause)").hedge.expect("hedge").value.after.value, After::Delay(Time::Expr(_))));
        let named = options("pipeline = \"payments\", registry = self.registry");
        assert!(named.by_name.is_some() && named.registry.is_some() && named.pipeline.is_none());
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
        assert!(error("cached(QUOTES)").contains("`cached = QUOTES`"));
        assert!(options("cached = self.quotes").cached_in.is_some());
        assert!(error("adaptive(5..200, aimd = 3)").contains("stands alone"));
        assert!(error("adaptive(5..200, aimd, gradient)").contains("already has an algorithm, `aimd`"));
        assert!(error("adaptive(0..200)").starts_with("a limit of 0 would refuse every call"));
        assert!(error("adaptive(9..5)").contains("ends before it begins"));
        assert!(error("adaptive(50)").contains("expected a range, from the least to the most: `adaptive(5..200)`"));
        assert!(error("adaptive(5..200, vegas)").contains("unknown setting of `adaptive`, `vegas`"));
        assert!(error("hedge(50ms)").starts_with("say first when the second attempt starts"));
        assert!(error("hedge(after = p100)").starts_with("`p100` is no percentile"));
        assert!(error("hedge(after = 50)").contains("a duration needs a unit"));
        assert!(error("hedge(after = 50ms, max = 0)").contains("never hedges"));
        assert!(error("hedge(after = 50ms, max = 11)").contains("at most 10"));
        assert!(error("pipeline = \"\"").contains("this name is empty"));
    }
}
