//! `#[resilient]` in hostile surroundings: nothing the user's code is called gets in the way of the output, and nothing in the output
//! gets in the way of the user's lints.
#![cfg(feature = "macros")]
#![deny(warnings)]
#![deny(clippy::all, clippy::pedantic, clippy::nursery)]
#![deny(clippy::shadow_reuse, clippy::shadow_same, clippy::shadow_unrelated, clippy::ref_patterns, clippy::allow_attributes_without_reason)]
#![deny(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::unreachable, clippy::default_numeric_fallback)]
#![allow(unreachable_pub, clippy::redundant_pub_crate, reason = "one or the other")]
#![allow(clippy::disallowed_methods, reason = "`tokio::test` makes a runtime")]

mod support_resilient {
    pub(crate) mod errors;
}

use steadfast::resilient;
use support_resilient::errors::ApiError;

/// Arguments named like everything inside.
#[resilient(retry(1), key = request, priority = High)]
#[allow(clippy::too_many_arguments, clippy::similar_names, reason = "the point")]
async fn h130_names_of_ours(
    pipeline: u8,
    request: String,
    operation: &str,
    result: &mut u8,
    error: u8,
    name: u8,
    answer: u8,
    once: u8,
    key: u8,
    priority: u8,
    __steadfast_request: u8,
    __steadfast_pipeline: u8,
    __steadfast_from_0: u8,
    __steadfast_lent_1: u8,
    __private: u8,
    never: u8,
) -> Result<String, ApiError> {
    *result += 1;
    let sum = pipeline
        + error
        + name
        + answer
        + once
        + key
        + priority
        + __steadfast_request
        + __steadfast_pipeline
        + __steadfast_from_0
        + __steadfast_lent_1
        + __private
        + never;
    Ok(format!("{request}{operation}{result}{sum}"))
}

#[tokio::test(start_paused = true)]
async fn h130_arguments_may_be_called_as_they_like() {
    let mut result = 1;
    let said = h130_names_of_ours(1, "r".into(), "o", &mut result, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1).await;
    assert_eq!(said, Ok("ro213".into()));
}

/// Every name of the prelude, and every crate we might mean, is something else here.
mod shadowed {
    #![expect(dead_code, unused_macros, reason = "they are only there to be in the way")]

    pub struct Result;
    pub struct Option;
    pub struct Box;
    pub struct String;
    pub struct Vec;
    pub struct Ok;
    pub struct Err;
    pub struct Some;
    pub struct None;
    pub struct Pipeline;
    pub struct Duration;
    pub struct Priority;
    pub struct LazyLock;
    pub mod std {}
    pub mod core {}
    pub mod alloc {}
    pub mod tokio {}
    pub mod steadfast {}
    macro_rules! concat {
        () => {};
    }
    macro_rules! format_args {
        () => {};
    }
    macro_rules! module_path {
        () => {};
    }
    pub trait Clone {
        fn clone(&self) {}
        fn take(&self) {}
        fn call(&self) {}
        fn key(&self) {}
        fn pipeline(&self) {}
    }
    impl<T> Clone for T {}

    use super::ApiError;
    type Outcome<T> = ::core::result::Result<T, ApiError>;

    #[::steadfast::resilient(
        retry(3, exponential(1ms..2ms)), attempt_timeout = 2s, circuit_breaker(50%), rate_limit(100/s, wait = 1s), bulkhead(5, queue = 1),
        key = "{a}", priority = High, share(d)
    )]
    pub async fn odd(a: u8, (b, mut c): (u8, u8), d: u8, e: &mut u8) -> Outcome<u8> {
        c += 1;
        *e += 1;
        ::core::result::Result::Ok(a + b + c + *d + *e)
    }

    #[::steadfast::resilient(timeout = 1s, fallback = |_| async { ::core::result::Result::Ok(0) })]
    pub async fn once(a: u8) -> Outcome<u8> {
        ::core::result::Result::Ok(a)
    }

    #[::steadfast::resilient(retry(1))]
    pub fn boxed(a: u8) -> ::core::pin::Pin<::std::boxed::Box<dyn Future<Output = Outcome<u8>> + Send>> {
        ::std::boxed::Box::pin(async move { ::core::result::Result::Ok(a) })
    }
}

mod no_prelude {
    #![no_implicit_prelude]

    use super::ApiError;

    #[::steadfast::resilient(retry(3), key = "{a}", priority = if a > 1 { High } else { Low }, fallback = other)]
    pub async fn f(a: u8, mut b: ::std::string::String) -> ::core::result::Result<usize, ApiError> {
        b.push('!');
        ::core::result::Result::Ok(b.len() + a as usize)
    }

    #[allow(clippy::unused_async, reason = "a fallback is async")]
    async fn other(_: u8, _: ::std::string::String, _: ::steadfast::Error<ApiError>) -> ::core::result::Result<usize, ApiError> {
        ::core::result::Result::Ok(0)
    }
}

#[tokio::test(start_paused = true)]
async fn h130_every_name_may_mean_something_else() {
    assert_eq!(shadowed::odd(1, (2, 3), 4, &mut 5).await, Ok(1 + 2 + 4 + 4 + 6));
    assert_eq!(shadowed::once(7).await, Ok(7));
    assert_eq!(shadowed::boxed(7).await, Ok(7));
    assert_eq!(no_prelude::f(1, "ab".into()).await, Ok(4));
}

/// As a crate that re-exports ours would have it.
mod framework {
    pub mod deps {
        pub use ::steadfast as resilience;
    }

    use super::ApiError;
    use deps::resilience::resilient;

    #[resilient(crate = self::deps::resilience, preset = http, key = a, priority = Low)]
    pub async fn renamed(a: u8) -> Result<u8, ApiError> {
        Ok(a)
    }
}

#[tokio::test(start_paused = true)]
async fn h130_the_crate_may_have_another_name() {
    assert_eq!(framework::renamed(3).await, Ok(3));
}

/// One attempt, unused and underscored arguments, early returns, loops, nested functions, closures and `self` everywhere.
#[derive(Clone, Debug)]
struct Machine {
    log: Vec<String>,
    limit: usize,
}

impl Machine {
    #[resilient(retry(2))]
    async fn walk(mut self, _unused: String, _: u8, deep: bool) -> Result<Self, ApiError> {
        struct Inner;
        impl Inner {
            const fn me(&self) -> &Self {
                self
            }
        }
        const fn helper(machine: &Machine) -> usize {
            machine.limit
        }
        if !deep {
            return Ok(self);
        }
        let _ = Inner.me();
        for n in 0.. {
            if n == helper(&self) {
                break;
            }
            let add = |text: &str| format!("{text}{}", self.limit);
            let line = add("n");
            self.log.push(line);
        }
        self.log.push(format!("{} {}", self.limit, self.log.len()));
        Ok(Self { limit: 1, ..self })
    }

    #[resilient(retry(2))]
    async fn write(&mut self, deep: bool) -> Result<usize, ApiError> {
        let Self { log, .. } = self;
        log.push(String::new());
        if deep {
            return Err(ApiError::Status(u16::try_from(self.log.len()).unwrap_or(0)));
        }
        Ok(self.log.len())
    }

    #[resilient(retry(2), share(self))]
    async fn lend(self, name: &str) -> Result<usize, ApiError> {
        Ok(self.log.len() + name.len())
    }
}

#[tokio::test(start_paused = true)]
async fn h131_bodies_of_all_kinds() {
    let mut machine = Machine { log: vec![], limit: 2 };
    assert_eq!(machine.clone().walk(String::new(), 1, false).await.map(|m| m.limit), Ok(2));
    assert_eq!(machine.clone().walk(String::new(), 1, true).await.map(|m| m.log), Ok(vec!["n2".into(), "n2".into(), "2 2".into()]));
    assert_eq!(machine.write(true).await, Err(ApiError::Status(3)));
    assert_eq!(machine.write(false).await, Ok(4));
    assert_eq!(machine.lend("ab").await, Ok(6));
}

#[resilient(retry(1))]
async fn h131_lints_on_arguments(
    #[expect(unused_variables, reason = "it stays where the argument is bound")] unused: String,
    #[allow(unused_variables, unused_mut, reason = "here too")] mut lent: &mut u8,
    #[allow(unused_variables, reason = "and here")] shared: &str,
) -> Result<(), ApiError> {
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn h131_lints_on_arguments_are_obeyed() {
    assert_eq!(h131_lints_on_arguments(String::new(), &mut 1, "").await, Ok(()));
}

/// A `dyn` argument, an array, a function pointer, `where` clauses, const generics, a higher-ranked bound.
#[resilient(retry(1))]
async fn h131_signatures<'a, const N: usize, F, T>(
    array: [u8; N],
    f: fn(u8) -> u8,
    g: &F,
    object: &(dyn std::fmt::Display + Send + Sync),
    slice: &'a mut [T],
    optional: Option<&'a str>,
) -> Result<String, ApiError>
where
    F: for<'x> Fn(&'x str) -> &'x str + Sync,
    T: Copy + std::fmt::Debug,
{
    slice.reverse();
    Ok(format!("{}{}{object}{slice:?}{optional:?}", f(array[0]), g("g")))
}

#[tokio::test(start_paused = true)]
async fn h131_signatures_of_all_kinds() {
    let said = h131_signatures([7; 3], |n| n + 1, &|s: &str| s, &"o", &mut [1_u8, 2], Some("s")).await;
    assert_eq!(said, Ok("8go[2, 1]Some(\"s\")".into()));
}
