//! What cannot be said together, or not of this function.

use crate::function::{Function, simple_name};
use crate::options::{Given, Options};
use crate::policies::{After, Breaker, Trip};
use crate::suggest;
use crate::value::{Number, Time, show};
use proc_macro2::{Ident, Span, TokenStream, TokenTree};
use quote::{ToTokens, quote};
use syn::spanned::Spanned;
use syn::{Error, FnArg, Result};

#[derive(Default)]
struct Errors(Option<Error>);

impl Errors {
    fn push(&mut self, span: Span, message: impl std::fmt::Display) {
        let error = Error::new(span, message);
        match &mut self.0 {
            Some(errors) => errors.combine(error),
            None => self.0 = Some(error),
        }
    }
}

/// Everything that is wrong with the options of this function, at once.
pub(crate) fn check(options: &Options, function: &Function) -> Result<()> {
    let mut errors = Errors::default();
    one_of_pipeline_and_policies(options, &mut errors);
    timeouts(options, &mut errors);
    judges(options, &mut errors);
    shared_arguments(options, function, &mut errors);
    mutable_arguments(options, function, &mut errors);
    constant_policies(options, function, &mut errors);
    if errors.0.is_none() {
        which_cache(options, &mut errors);
    }
    errors.0.map_or(Ok(()), Err)
}

impl Options {
    /// The names of the policies that were given.
    fn policies(&self) -> Vec<&Ident> {
        fn name<T>(given: &Option<Given<T>>) -> Option<&Ident> {
            given.as_ref().map(|given| &given.name)
        }
        let all = [
            name(&self.preset),
            name(&self.retry),
            name(&self.attempt_timeout),
            name(&self.total_timeout),
            name(&self.timeout),
            name(&self.circuit_breaker),
            name(&self.rate_limit),
            name(&self.bulkhead),
            name(&self.adaptive),
            name(&self.hedge),
            self.cache.as_ref().map(|given| &given.name),
        ];
        all.into_iter().flatten().collect()
    }

    /// Where the pipeline is named, if it is.
    fn pipeline_span(&self) -> Option<Span> {
        let place = self.pipeline.as_ref().map(|given| given.name.span());
        place.or(self.by_name.as_ref().map(|given| given.name.span()))
    }

    /// Whether the body can run more than once in a call.
    pub(crate) fn runs_again(&self) -> bool {
        self.retry.is_some() || self.hedge.is_some() || self.preset.is_some() || self.pipeline_span().is_some()
    }
}

fn one_of_pipeline_and_policies(options: &Options, errors: &mut Errors) {
    let policies = options.policies();
    if options.pipeline_span().is_none() {
        if policies.is_empty() && options.cached_in.is_none() && options.cached.is_none() {
            let message = "`#[resilient]` needs at least one policy or a pipeline: `#[resilient(retry(3), attempt_timeout = 2s)]` or \
                           `#[resilient(pipeline = PAYMENTS)]`";
            errors.push(Span::call_site(), message);
        }
    } else {
        // A cache is around a pipeline, not in it.
        for policy in policies.into_iter().filter(|policy| *policy != "cache") {
            let message = format!("`pipeline = ...` already holds the policies, so `{policy}` has no place here; drop one of the two");
            errors.push(policy.span(), message);
        }
        if let Some(name) = &options.name {
            errors.push(name.name.span(), "`pipeline = ...` already has a name, so `name` has no place here; drop one of the two");
        }
    }
    if let (Some(registry), None) = (&options.registry, &options.by_name) {
        let message = match &options.pipeline {
            Some(_) => "`pipeline = ...` is a place here, not a name, so there is nothing to look up; leave `registry` out",
            None => "`registry = ...` is where a pipeline is looked up by its name, and none is named here: add `pipeline = \"payments\"`",
        };
        errors.push(registry.name.span(), message);
    }
    let own = options.cache.as_ref().map(|given| &given.name);
    let shared = options.cached_in.as_ref().map(|given| &given.name);
    if let (Some(_), Some(shared)) = (own, shared) {
        errors.push(
            shared.span(),
            "`cached = ...` is a cache that lives elsewhere, and `cache(..)` one of this function's own; drop one of the two",
        );
    }
    if let (Some(_), Some(cached)) = (own, &options.cached) {
        errors
            .push(cached.span(), "`cached` keeps answers as the pipeline says, and `cache(..)` as this function says; drop one of the two");
    }
    if let (Some(cache), None) = (own.or(shared).or(options.cached.as_ref()), &options.key) {
        errors.push(
            cache.span(),
            format!("`{cache}` needs a `key`, or every caller would get the same answer: `key = \"{{tenant}}:{{id}}\"`"),
        );
    }
}

fn timeouts(options: &Options, errors: &mut Errors) {
    if let Some(timeout) = &options.timeout {
        let other = options.attempt_timeout.as_ref().or(options.total_timeout.as_ref());
        if options.retry.is_some() || options.hedge.is_some() {
            let message = "with `retry` or `hedge`, `timeout` is ambiguous: write `attempt_timeout = ...` (each attempt) or \
                           `total_timeout = ...` (the whole call)";
            errors.push(timeout.name.span(), message);
        } else if options.preset.is_some() {
            let message = "presets retry, so `timeout` is ambiguous: write `attempt_timeout = ...` (each attempt) or `total_timeout = ...` \
                           (the whole call)";
            errors.push(timeout.name.span(), message);
        } else if let Some(other) = other {
            let other = &other.name;
            errors.push(
                timeout.name.span(),
                format!("`timeout` is short for `total_timeout`, and `{other}` is given too; drop one of the two"),
            );
        }
    }
    if let (Some(attempt), Some(total)) = (&options.attempt_timeout, &options.total_timeout)
        && let (Some(known), Some(limit)) = (attempt.value.known(), total.value.known())
        && known > limit
    {
        let (known, limit) = (show(known), show(limit));
        let message = format!(
            "`attempt_timeout`: {known} is longer than `total_timeout` ({limit}), so it could never fire; lower it below {limit} or raise \
             `total_timeout`"
        );
        errors.push(attempt.value.span(), message);
    }
}

fn judges(options: &Options, errors: &mut Errors) {
    let when = options.retry.as_ref().and_then(|retry| retry.value.when.as_ref());
    if let (Some(when), Some(_)) = (when, &options.classify) {
        errors.push(when.name.span(), "`when` and `classify` both judge the error; say it all in `classify`, and drop `when`");
    }
}

fn shared_arguments(options: &Options, function: &Function, errors: &mut Errors) {
    let Some(share) = &options.share else { return };
    let name = &function.sig.ident;
    for shared in &share.value {
        let argument = function.sig.inputs.iter().find(|input| match input {
            FnArg::Receiver(_) => shared == "self",
            FnArg::Typed(typed) => simple_name(&typed.pat).is_some_and(|name| name == *shared),
        });
        let by_reference = argument.is_some_and(|argument| match argument {
            FnArg::Receiver(_) => !matches!(function.receiver(&[]), Some(crate::function::Travel::Clone)),
            FnArg::Typed(typed) => matches!(crate::function::ungroup(&typed.ty), syn::Type::Reference(_)),
        });
        if argument.is_none() {
            let message = format!("`share({shared})`: `{name}` has no argument named `{shared}`");
            let names: Vec<String> = function.sig.inputs.iter().filter_map(argument_name).collect();
            match closest_name(&shared.to_string(), &names) {
                Some(near) => errors.push(shared.span(), format!("{message}; did you mean `{near}`?")),
                None => errors.push(shared.span(), message),
            }
        } else if by_reference {
            errors.push(shared.span(), format!("`share({shared})`: `{shared}` is a reference already; leave it out of `share`"));
        }
    }
}

fn argument_name(input: &FnArg) -> Option<String> {
    match input {
        FnArg::Typed(typed) => simple_name(&typed.pat).map(|name| name.to_string()),
        FnArg::Receiver(_) => None,
    }
}

fn closest_name<'a>(given: &str, names: &'a [String]) -> Option<&'a str> {
    names.iter().map(String::as_str).filter(|name| suggest::is_near(given, name)).min_by_key(|name| suggest::distance(given, name))
}

fn mutable_arguments(options: &Options, function: &Function, errors: &mut Errors) {
    let mutable = function.mutable();
    if let (Some(hedge), Some(first)) = (&options.hedge, mutable.first()) {
        errors.push(hedge.name.span(), "`hedge` runs two attempts at once, and this function borrows an argument mutably");
        errors.push(first.span(), "this one: take it by `&` with interior mutability, or drop `hedge`");
    } else if options.runs_again()
        && let Some(span) = function.borrows_what_is_lent()
    {
        let message =
            "the result borrows, and this function lends its arguments mutably to one attempt after another; return an owned value";
        errors.push(span, message);
    }
}

/// The policies are built once, at the first call, so what they are made of cannot depend on a call.
fn constant_policies(options: &Options, function: &Function, errors: &mut Errors) {
    let arguments: Vec<String> = function.sig.inputs.iter().filter_map(argument_name).collect();
    let mut look = |name: &Ident, tokens: TokenStream| {
        if let Some((argument, span)) = mentions(tokens, &arguments) {
            let message = format!(
                "the policies of `{}` are built once and serve every call, so `{name}` cannot depend on `{argument}`; use a constant, or \
                 `pipeline = ...` with a pipeline per value",
                function.sig.ident
            );
            errors.push(span, message);
        }
    };
    let mut time = |given: &Option<Given<Time>>| {
        if let Some(Given { name, value: Time::Expr(expr) }) = given {
            look(name, expr.to_token_stream());
        }
    };
    time(&options.attempt_timeout);
    time(&options.total_timeout);
    time(&options.timeout);
    if let Some(breaker) = &options.circuit_breaker {
        time(&breaker.value.window);
        time(&breaker.value.open_for);
        time(&breaker.value.slow);
    }
    if let Some(limit) = &options.rate_limit {
        time(&limit.value.wait);
    }
    if let Some(Given { name, value: After::Delay(delay) }) = options.hedge.as_ref().map(|hedge| &hedge.value.after) {
        time(&Some(Given { name: name.clone(), value: delay.clone() }));
    }
    if let Some(bulkhead) = &options.bulkhead {
        time(&bulkhead.value.wait);
    }
    if let Some(cache) = &options.cache {
        time(&Some(Given { name: cache.name.clone(), value: cache.value.ttl.clone() }));
        time(&cache.value.stale_if_error);
    }
    if let Some(retry) = &options.retry {
        number(&retry.name, &retry.value.retries, &mut look);
        if let Some(factor) = &retry.value.factor {
            look(&factor.name, factor.value.to_token_stream());
        }
        if let Some(backoff) = &retry.value.backoff {
            look(&backoff.name, backoff.value.expressions());
        }
    }
    if let Some(capacity) = options.cache.as_ref().and_then(|cache| cache.value.capacity.as_ref()) {
        number(&capacity.name, &capacity.value, &mut look);
    }
    if let Some(limit) = &options.rate_limit {
        number(&limit.name, &limit.value.count, &mut look);
    }
    if let Some(bulkhead) = &options.bulkhead {
        number(&bulkhead.name, &bulkhead.value.places, &mut look);
    }
    let more = [
        options.circuit_breaker.as_ref().and_then(|breaker| breaker.value.min_calls.as_ref()),
        options.rate_limit.as_ref().and_then(|limit| limit.value.burst.as_ref()),
        options.bulkhead.as_ref().and_then(|bulkhead| bulkhead.value.queue.as_ref()),
        options.hedge.as_ref().and_then(|hedge| hedge.value.max.as_ref()),
    ];
    more.into_iter().flatten().for_each(|given| number(&given.name, &given.value, &mut look));
    if let Some(Given { name, value: Breaker { trip: Trip::Consecutive(failures), .. } }) = &options.circuit_breaker {
        number(name, failures, &mut look);
    }
    if let Some(adaptive) = &options.adaptive {
        number(&adaptive.name, &adaptive.value.least, &mut look);
        number(&adaptive.name, &adaptive.value.most, &mut look);
    }
}

fn number(name: &Ident, number: &Number, look: &mut impl FnMut(&Ident, TokenStream)) {
    if let Number::Expr(expr) = number {
        look(name, expr.to_token_stream());
    }
}

impl crate::policies::Backoff {
    fn expressions(&self) -> TokenStream {
        let one = |time: &Time| match time {
            Time::Expr(expr) => expr.to_token_stream(),
            Time::Known(..) => TokenStream::new(),
        };
        match self {
            Self::Exponential(from, to) | Self::Linear(from, to) => {
                let (from, to) = (one(from), one(to));
                quote!(#from, #to)
            }
            Self::Fixed(delay) => one(delay),
        }
    }
}

/// `self`, or one of the arguments, where it stands as a value of its own: not behind a dot or a path, and not called.
fn mentions(tokens: TokenStream, arguments: &[String]) -> Option<(String, Span)> {
    let mut tokens = tokens.into_iter().peekable();
    let mut after_dot = false;
    while let Some(token) = tokens.next() {
        let dot = matches!(&token, TokenTree::Punct(punct) if matches!(punct.as_char(), '.' | ':'));
        match token {
            TokenTree::Ident(ident) if !after_dot => {
                let name = ident.to_string();
                let called = match tokens.peek() {
                    Some(TokenTree::Group(_)) => true,
                    Some(TokenTree::Punct(next)) => matches!(next.as_char(), ':' | '!'),
                    _ => false,
                };
                if !called && (name == "self" || arguments.contains(&name)) {
                    return Some((name, ident.span()));
                }
            }
            TokenTree::Group(group) => {
                if let Some(found) = mentions(group.stream(), arguments) {
                    return Some(found);
                }
            }
            _ => {}
        }
        after_dot = dot;
    }
    None
}

fn which_cache(options: &Options, errors: &mut Errors) {
    if let (Some(cached), None) = (&options.cached, options.pipeline_span()) {
        let message = "`cached` keeps answers as the pipeline says, and a pipeline of this function's own says nothing of it: write `cache(ttl = 1m)`, or \
                       `pipeline = ...` with a pipeline that has `.caching(..)`, or `cached = QUOTES` with a cache that lives elsewhere";
        errors.push(cached.span(), message);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn errors(options: &str, item: &str) -> String {
        let options = Options::parse(options.parse().expect("tokens")).unwrap_or_else(|e| panic!("{options}: {e}"));
        let function = Function::parse(item.parse().expect("tokens")).unwrap_or_else(|e| panic!("{item}: {e}"));
        match check(&options, &function) {
            Ok(()) => String::new(),
            Err(error) => error.into_iter().map(|e| e.to_string()).collect::<Vec<_>>().join(" | "),
        }
    }

    #[test]
    fn what_cannot_be_said_together_is_named() {
        let f = "async fn f(body: Body, limit: Duration) -> Result<(), E> {}";
        assert_eq!(errors("retry(3), attempt_timeout = 2s, share(body)", f), "");
        assert!(errors("", f).starts_with("`#[resilient]` needs at least one policy or a pipeline"));
        assert!(errors("key = body", f).starts_with("`#[resilient]` needs at least one policy or a pipeline"));
        assert!(errors("retry(3), timeout = 2s", f).starts_with("with `retry` or `hedge`, `timeout` is ambiguous"));
        assert!(errors("preset = http, timeout = 2s", f).starts_with("presets retry, so `timeout` is ambiguous"));
        assert_eq!(
            errors("pipeline = P, retry(3)", f),
            "`pipeline = ...` already holds the policies, so `retry` has no place here; drop one of the two"
        );
        assert!(errors("pipeline = P, name = \"x\"", f).contains("already has a name"));
        assert_eq!(errors("retry(3), share(boddy)", f), "`share(boddy)`: `f` has no argument named `boddy`; did you mean `body`?");
        assert_eq!(errors("retry(3), share(x_ray)", f), "`share(x_ray)`: `f` has no argument named `x_ray`");
        assert!(errors("attempt_timeout = 12s, total_timeout = 10s", f).contains("12 s is longer than `total_timeout` (10 s)"));
        assert!(errors("attempt_timeout = limit", f).contains("cannot depend on `limit`"));
        assert!(errors("attempt_timeout = 2 * limit", f).contains("cannot depend on `limit`"));
        assert_eq!(errors("attempt_timeout = limit()", f), "");
        assert_eq!(errors("attempt_timeout = settings.limit", f), "");
        assert!(errors("retry(3, when = p), classify = c", f).contains("both judge"));
        assert!(errors("retry(3), cached, key = body", f).contains("a pipeline of this function's own says nothing of it"));
    }

    #[test]
    fn what_is_lent_mutably_limits_what_may_run() {
        let lends = "async fn f(&mut self) -> Result<&str, E> {}";
        assert!(errors("retry(3)", lends).starts_with("the result borrows, and this function lends its arguments mutably"));
        assert_eq!(errors("timeout = 3s", lends), "", "one attempt only");
        assert!(errors("hedge(after = 50ms)", lends).starts_with("`hedge` runs two attempts at once"));
        assert!(
            errors("hedge(after = 50ms), attempt_timeout = 1s", "async fn f(x: &mut X) -> Result<u8, E> {}")
                .contains("this one: take it by `&`")
        );
        assert_eq!(errors("hedge(after = 50ms)", "async fn f(&self) -> Result<&str, E> {}"), "");
    }

    #[test]
    fn a_cache_has_a_place_and_a_key() {
        let f = "async fn f(id: u64) -> Result<(), E> {}";
        assert_eq!(errors("pipeline = P, cached, key = id", f), "");
        assert_eq!(errors("pipeline = \"p\", cached, key = id", f), "");
        assert!(errors("cached, key = id", f).contains("write `cache(ttl = 1m)`"));
        assert!(errors("pipeline = P, cached, cache(ttl = 1m), key = id", f).contains("drop one of the two"));
        assert_eq!(errors("pipeline = P, cached = QUOTES, key = id", f), "");
        assert_eq!(errors("cached = QUOTES, key = id", f), "");
        assert!(errors("cached = QUOTES", f).contains("needs a `key`"));
        assert!(errors("cached = QUOTES, cache(ttl = 1m), key = id", f).contains("drop one of the two"));
        assert_eq!(errors("cache(ttl = 1m), key = id", f), "");
        assert_eq!(errors("pipeline = P, cache(ttl = 1m), key = id", f), "");
        assert!(errors("pipeline = P, cache(ttl = 1m), retry(3), key = id", f).contains("so `retry` has no place here"));
        assert!(errors("cache(ttl = 1m)", f).contains("needs a `key`"));
        assert!(errors("pipeline = \"p\", cached", f).contains("needs a `key`"));
    }

    #[test]
    fn a_registry_is_for_pipelines_by_name() {
        let f = "async fn f(id: u64) -> Result<(), E> {}";
        assert_eq!(errors("pipeline = \"payments\"", f), "");
        assert_eq!(errors("pipeline = \"payments\", registry = POLICIES", f), "");
        assert!(errors("pipeline = \"payments\", retry(3)", f).contains("already holds the policies"));
        assert!(errors("pipeline = PAYMENTS, registry = POLICIES", f).contains("nothing to look up"));
        assert!(errors("retry(3), registry = POLICIES", f).contains("none is named here"));
    }

    #[test]
    fn settings_of_every_policy_are_constants() {
        let f = "async fn f(id: u64, wait: Duration) -> Result<(), E> {}";
        assert!(errors("hedge(after = wait)", f).contains("`after` cannot depend on `wait`"));
        assert!(errors("hedge(after = p95, max = id)", f).contains("`max` cannot depend on `id`"));
        assert!(errors("cache(ttl = wait), key = id", f).contains("`cache` cannot depend on `wait`"));
        assert!(
            errors("cache(ttl = 1s, stale_if_error = wait, capacity = 5), key = id", f)
                .contains("`stale_if_error` cannot depend on `wait`")
        );
        assert!(errors("cache(ttl = 1s, capacity = id), key = id", f).contains("`capacity` cannot depend on `id`"));
        assert!(errors("bulkhead(5, queue = id)", f).contains("`queue` cannot depend on `id`"));
        assert!(errors("circuit_breaker(consecutive = id)", f).contains("cannot depend on `id`"));
        assert!(errors("adaptive(1..id)", f).contains("`adaptive` cannot depend on `id`"));
        assert_eq!(errors("hedge(after = WAIT, max = MOST), adaptive(LEAST..MOST, aimd)", f), "");
    }
}
