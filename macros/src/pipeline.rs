//! The pipeline of a function: from what was said to calls of the builder.

use crate::expand::own;
use crate::options::{Given, Options};
use crate::policies::{After, Algorithm, Backoff, Breaker, Cache, JitterKind, Preset, Retry, Trip};
use crate::value::{Number, Per, Time};
use proc_macro2::{Ident, Literal, Span, TokenStream};
use quote::{ToTokens, quote};

/// `builder(name).retry(..)..`.
pub(crate) fn builder(krate: &TokenStream, options: &Options) -> TokenStream {
    let Options { preset, retry, attempt_timeout, total_timeout, timeout, circuit_breaker, rate_limit, bulkhead, adaptive, hedge, .. } =
        options;
    let name = own("name");
    let start = match preset.as_ref().map(|given| given.value) {
        None => quote!(builder(#name)),
        Some(Preset::Http) => quote!(http(#name)),
        Some(Preset::Database) => quote!(database(#name)),
        Some(Preset::Background) => quote!(background(#name)),
        Some(Preset::Interactive) => quote!(interactive(#name)),
    };
    let mut all = start;
    if let Some(Given { value, .. }) = total_timeout.as_ref().or(timeout.as_ref()) {
        let limit = time(value);
        all.extend(quote!(.total_timeout(#limit)));
    }
    if let Some(Given { value, .. }) = attempt_timeout {
        let limit = time(value);
        all.extend(quote!(.attempt_timeout(#limit)));
    }
    if let Some(Given { value, .. }) = retry {
        let config = retry_config(krate, value);
        all.extend(quote!(.retry(#config)));
    }
    if let Some(Given { value, .. }) = circuit_breaker {
        let config = breaker_config(krate, value);
        all.extend(quote!(.circuit_breaker(#config)));
    }
    if let Some(Given { value, .. }) = rate_limit {
        let count = number(&value.count);
        let mut config = match value.per {
            Per::Second => quote!(#krate::RateLimiter::per_second(#count)),
            Per::Minute => quote!(#krate::RateLimiter::per_minute(#count)),
            Per::Hour => quote!(#krate::RateLimiter::per_hour(#count)),
        };
        config.extend(setting("burst", &value.burst, number));
        config.extend(setting("max_wait", &value.wait, time));
        all.extend(quote!(.rate_limit(#config)));
    }
    if let Some(Given { value, .. }) = bulkhead {
        let places = number(&value.places);
        let mut config = quote!(#krate::Bulkhead::new(#places));
        config.extend(setting("queue", &value.queue, number));
        config.extend(setting("max_wait", &value.wait, time));
        all.extend(quote!(.bulkhead(#config)));
    }
    if let Some(Given { value, .. }) = adaptive {
        let (least, most) = (number(&value.least), number(&value.most));
        let algorithm = match value.algorithm.as_ref().map(|given| given.value) {
            None => quote!(new),
            Some(Algorithm::Gradient) => quote!(gradient2),
            Some(Algorithm::Aimd) => quote!(aimd),
        };
        all.extend(quote!(.adaptive_limit(#krate::__private::between(#krate::AdaptiveLimit::#algorithm(), #least, #most))));
    }
    if let Some(Given { value, .. }) = hedge {
        let mut config = match &value.after.value {
            After::Delay(delay) => {
                let delay = time(delay);
                quote!(#krate::Hedge::after(#delay))
            }
            After::Percentile(percent) => {
                let share = Literal::f64_suffixed(f64::from(*percent) / 100.0);
                quote!(#krate::Hedge::at_percentile(#share))
            }
        };
        config.extend(setting("max_hedges", &value.max, number));
        // Whoever writes `hedge` on a function says that it may run twice.
        all.extend(quote!(.hedge(#config.idempotent())));
    }
    all
}

/// The settings of the cache of a function.
pub(crate) fn cache(private: &TokenStream, cache: &Cache) -> TokenStream {
    let ttl = time(&cache.ttl);
    let stale = cache.stale_if_error.as_ref().map_or_else(|| quote!(::core::time::Duration::ZERO), |given| time(&given.value));
    let capacity = cache.capacity.as_ref().map_or_else(|| quote!(1_000), |given| number(&given.value));
    quote!(#private::cache::Settings { ttl: #ttl, stale_if_error: #stale, capacity: #capacity })
}

fn setting<T>(method: &str, given: &Option<Given<T>>, value: fn(&T) -> TokenStream) -> TokenStream {
    let Some(given) = given else { return TokenStream::new() };
    let (method, value) = (Ident::new(method, Span::call_site()), value(&given.value));
    quote!(.#method(#value))
}

fn retry_config(krate: &TokenStream, retry: &Retry) -> TokenStream {
    let retries = number(&retry.retries);
    let mut config = match retry.backoff.as_ref().map(|given| &given.value) {
        None => quote!(#krate::Retry::exponential(#retries, ::core::time::Duration::from_millis(100))),
        Some(Backoff::Exponential(from, to)) => {
            let (from, to) = (time(from), time(to));
            quote!(#krate::Retry::exponential(#retries, #from).max_delay(#to))
        }
        Some(Backoff::Linear(from, to)) => {
            let (from, to) = (time(from), time(to));
            quote!(#krate::Retry::linear(#retries, #from).max_delay(#to))
        }
        Some(Backoff::Fixed(delay)) => {
            let delay = time(delay);
            quote!(#krate::Retry::constant(#retries, #delay))
        }
    };
    config.extend(setting("factor", &retry.factor, ToTokens::to_token_stream));
    if let Some(Given { value, .. }) = &retry.jitter {
        let jitter = match value {
            JitterKind::Full => quote!(Full),
            JitterKind::Equal => quote!(Equal),
            JitterKind::None => quote!(None),
        };
        config.extend(quote!(.jitter(#krate::Jitter::#jitter)));
    }
    if let Some(Given { value, .. }) = &retry.budget {
        let share = Literal::f64_suffixed(value.0);
        config.extend(quote!(.budget(#krate::Budget::new(#share))));
    }
    config
}

fn breaker_config(krate: &TokenStream, breaker: &Breaker) -> TokenStream {
    // Where calls are judged by how many fail, as many may be slow; else half of them.
    let (mut config, slow_share) = match &breaker.trip {
        Trip::Rate(share) => {
            let rate = Literal::f64_suffixed(share.0);
            (quote!(#krate::CircuitBreaker::failure_rate(#rate)), share.0)
        }
        Trip::Consecutive(failures) => {
            let failures = number(failures);
            (quote!(#krate::CircuitBreaker::consecutive_failures(#failures)), 0.5)
        }
    };
    config.extend(setting("window", &breaker.window, time));
    config.extend(setting("min_calls", &breaker.min_calls, number));
    config.extend(setting("open_for", &breaker.open_for, time));
    if let Some(Given { value, .. }) = &breaker.slow {
        let (slower_than, share) = (time(value), Literal::f64_suffixed(slow_share));
        config.extend(quote!(.slow_calls(#slower_than, #share)));
    }
    config
}

fn time(time: &Time) -> TokenStream {
    match time {
        Time::Known(duration, _) => {
            let (secs, nanos) = (Literal::u64_suffixed(duration.as_secs()), Literal::u32_suffixed(duration.subsec_nanos()));
            quote!(::core::time::Duration::new(#secs, #nanos))
        }
        Time::Expr(expr) => expr.to_token_stream(),
    }
}

fn number(number: &Number) -> TokenStream {
    match number {
        Number::Known(number, span) => {
            let mut number = Literal::u64_unsuffixed(*number);
            number.set_span(*span);
            number.to_token_stream()
        }
        Number::Expr(expr) => expr.to_token_stream(),
    }
}
