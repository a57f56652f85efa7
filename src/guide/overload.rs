//! Overload: what ends an outage, and what feeds it.
//!
//! A service that has too much to do answers late. Callers give up, try again, and now it has more to do; what they gave up it works on all
//! the same. Such an overload outlasts its cause: the spike is over, the retries are the load. It is called a *metastable failure*
//! (Bronson and others, HotOS 2021), and it ends when somebody pulls the plug, or when clients know better.
//!
//! The figures here are runs of the real pipeline against a model of a service, in simulated time. Every number in them is asserted by a
//! test; draw them yourself, or your own, with
//!
//! ```text
//! cargo run --release --example simulate -- --list
//! ```
//!
//! and see the module `steadfast::testing::sim` for how to put your own settings to the test.
//!
//! # A retry storm
//!
#![doc = include_str!("figures/storm.svg")]
//!
//! Three retries make four times the load at the worst moment. From 70 s on there are no more calls than before, and not one of them is
//! answered in time: every request waits behind those that nobody waits for any more. The preset answers as many as the service can, and is
//! well again at once, because it lets no more calls run at once than can be answered in time, lets the others wait half a second at most,
//! and has a budget for retries.
//!
//! What helps: a [`Bulkhead`](crate::Bulkhead) or an [`AdaptiveLimit`](crate::AdaptiveLimit) with a *short* queue
//! ([`max_wait`](crate::BulkheadConfig::max_wait) well below the timeout), and the retry budget that is there unless you switch it off. What
//! does not: a long queue. With ten thousand places and no `max_wait`, not a third of the calls of the *following* twenty seconds are answered:
//! they wait behind those of the spike, until their own time is over.
//!
//! # An outage, and the way back
//!
#![doc = include_str!("figures/outage.svg")]
//!
//! Here the service hangs for five minutes, with its queue full. Retries alone keep it so for ever. A budget lets it recover as slowly as
//! its strength exceeds the load. A [`CircuitBreaker`](crate::CircuitBreaker) leaves it alone, and comes back with the first probe that
//! succeeds, which may be up to [`max_open`](crate::CircuitBreakerConfig::max_open) late. A [`Throttle`](crate::Throttle) lets a trickle
//! through, so it is back first; the form of the textbook needs minutes, for lack of calls from which it could learn.
//!
//! # The slow ones
//!
#![doc = include_str!("figures/hedging.svg")]
//!
//! Not every slow answer means overload. Where a call is slow by chance (a garbage collection, a busy disk), asking a second time is cheap: a
//! [`Hedge`](crate::Hedge) asks only for the slowest of twenty, and what is slow by chance is seldom slow twice. It needs an operation that may
//! happen twice, and takes from the retry budget, so that it does not double the load of a service that is slow because it has too much to do.
//!
//! # How much can it bear?
//!
#![doc = include_str!("figures/adaptive.svg")]
//!
//! A number that fits today is wrong the day the service loses half of its machines. The [`AdaptiveLimit`](crate::AdaptiveLimit) finds it
//! from what it sees. A limit too low wastes the service's strength, one too high is a queue: the calls take longer, and no more of them are
//! answered.
//!
//! # Who gets through?
//!
#![doc = include_str!("figures/priorities.svg")]
//!
//! When not everybody can, say who matters: [`pipeline.priority(Priority::Critical)`](crate::Pipeline::priority). A full queue gives the place
//! of the least important call to a more important one.
//!
//! # Retries in every layer
//!
#![doc = include_str!("figures/layers.svg")]
//!
//! Three retries are four attempts, and two layers of them sixteen. Budgets add a tenth in each layer instead of multiplying. In one
//! process it is better still: inside an operation that an outer pipeline retries, an inner one leaves the retries to it. Retry in one
//! place, the one nearest to the failure or the one that knows most of the request; the others get a `retry` only if you can say why.
//!
//! # Jitter
//!
#![doc = include_str!("figures/jitter.svg")]
//!
//! Clients that fail together come back together, unless chance parts them. Growing pauses alone make that worse: the pauses become long and
//! stay the same for all. Full jitter is the default ([`Jitter`](crate::Jitter)).
