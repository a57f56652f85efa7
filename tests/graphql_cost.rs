//! The cost model of the example, against the figures that GitHub publishes; and refunds of what a call did not cost.
#![expect(clippy::unwrap_used, reason = "a test may panic")]

#[path = "../examples/graphql_cost/model.rs"]
mod model;

use model::{Variables, complexity};
use proptest::prelude::*;
use std::time::Duration;
use steadfast::{Call, Cost, Pipeline, RateLimiter};
use tokio::time::advance;

fn cost(query: &str) -> model::Complexity {
    complexity(query, &Variables::new()).unwrap()
}

#[test]
fn github_counts_nodes_and_points_so() {
    // The examples of "Rate limits and query limits for the GraphQL API".
    let simple = cost(
        "query { viewer { repositories(first: 50) { edges { repository:node { name issues(first: 10) { totalCount edges { node { title
         bodyHTML } } } } } } } }",
    );
    assert_eq!(simple.nodes, 550);
    let complex = cost(
        "query { viewer {
            repositories(first: 50) { edges { repository:node { name
                pullRequests(first: 20) { edges { pullRequest:node { title comments(first: 10) { edges { comment:node { bodyHTML } } } } } }
                issues(first: 20) { totalCount edges { issue:node { title bodyHTML comments(first: 10) { edges { comment:node { bodyHTML } } } } } }
            } } }
            followers(first: 10) { edges { follower:node { login } } }
        } }",
    );
    assert_eq!(complex.nodes, 22_060);
    let labels = cost(
        "query { viewer { login repositories(first: 100) { edges { node { id issues(first: 50) { edges { node { id labels(first: 60) {
         edges { node { id name } } } } } } } } } } }",
    );
    assert_eq!((labels.list_requests, labels.github_points()), (5_101, 51));
    assert_eq!(cost("{ viewer { login } }").github_points(), 1);
}

#[test]
fn shopify_counts_objects_and_lists_so() {
    assert_eq!(cost("{ shop { name } }").shopify_points(), 1);
    assert_eq!(cost("{ shop { id plan { name } } }").shopify_points(), 2);
    // 2 for the list, and one for each object in it; whatever it is wrapped in.
    assert_eq!(cost("{ orders(first: 10) { edges { node { id } } } }").shopify_points(), 12);
    assert_eq!(cost("{ orders(first: 10) { nodes { id } pageInfo { hasNextPage } } }").shopify_points(), 12);
    assert_eq!(cost("{ orders(first: 10) { nodes { customer { name } } } }").shopify_points(), 22);
    assert_eq!(cost("mutation { a: orderClose(id: 1) { order { id } } b: orderClose(id: 2) { order { id } } }").shopify_points(), 22);
}

#[test]
fn fragments_variables_and_hostility() {
    let spread = "query Q($n: Int) { orders(first: $n) { nodes { ...Full ... on Order { customer { name } } } } } fragment Full on Order { shop { id } }";
    assert_eq!(complexity(spread, &Variables::from([("n", 7)])).unwrap().shopify_points(), 2 + 7 + 7 + 7);
    assert!(complexity(spread, &Variables::new()).unwrap_err().contains("orders"));
    let ring = "{ a { ...F } } fragment F on A { a { ...F } }";
    assert!(complexity(ring, &Variables::new()).unwrap_err().contains("deeper"));
    let mut bomb = String::from("{ id }");
    (0..20).for_each(|_| bomb = format!("{{ a(first: 1000000) {bomb} }}"));
    assert_eq!(cost(&bomb).github_points(), u32::MAX);
    assert_eq!(cost("{ a { b { c { d } } } }").depth, 3);
    for nonsense in ["", "{", "fragment F on A { a }", "{ ...Missing }", "{ a(first: -1) { b } }", "{ a(first: \"x\") { b } }"] {
        assert!(complexity(nonsense, &Variables::new()).is_err(), "{nonsense:?}");
    }
}

struct Rows(u32);

impl Cost for Rows {
    fn units(&self) -> u32 {
        self.0
    }
}

#[tokio::test(start_paused = true)]
async fn a_request_says_what_it_costs() {
    let api = Pipeline::builder("api").rate_limit(RateLimiter::per_second(100)).build().unwrap();
    let limiter = api.rate_limiter().unwrap();
    api.cost_of(&Rows(30)).call(async || Ok::<_, String>(())).await.unwrap();
    assert_eq!(limiter.available(), 70);
    let boxed: &dyn Cost = &Rows(20);
    api.key("tenant").cost_of(boxed).call(async || Ok::<_, String>(())).await.unwrap();
    assert_eq!(limiter.available(), 50);
}

#[tokio::test(start_paused = true)]
async fn h88_what_a_call_did_not_cost_comes_back_and_no_more_than_that() {
    for sliding in [false, true] {
        let config = RateLimiter::per_second(100);
        let limiter = if sliding { config.sliding_window() } else { config }.build().unwrap();
        let call = |cost| Call::now().cost(cost);
        limiter.reserve(&call(60)).unwrap().settle(25);
        assert_eq!(limiter.available(), 75, "less than reserved");
        limiter.reserve(&call(10)).unwrap().settle(30);
        assert_eq!(limiter.available(), 45, "more than reserved");
        limiter.reserve(&call(5)).unwrap().settle(5);
        limiter.reserve(&call(5)).unwrap().settle(0);
        limiter.reserve(&call(0)).unwrap().settle(1_000_000);
        assert_eq!(limiter.available(), 0, "nothing is left, and no debt beyond that");
        limiter.refund(30);
        assert_eq!(limiter.available(), 30);
        limiter.refund(u32::MAX);
        assert_eq!(limiter.available(), 100, "full is full");
        limiter.charge(40);
        assert_eq!(limiter.available(), 60);
        limiter.charge(u32::MAX);
        assert_eq!(limiter.available(), 0);
        assert!(limiter.try_acquire(1).unwrap_err().retry_after().unwrap() <= Duration::from_secs(1));
        advance(Duration::from_secs(2)).await;
        limiter.refund(50);
        assert_eq!(limiter.available(), 100, "what time has made good does not come twice");
        // What came free meanwhile is not handed back again: the bucket was full before the call was settled.
        let reserved = limiter.reserve(&call(10)).unwrap();
        advance(Duration::from_secs(2)).await;
        limiter.try_acquire(50).unwrap();
        reserved.settle(0);
        assert_eq!(limiter.available(), 50);
    }
}

#[tokio::test(start_paused = true)]
async fn a_refund_moves_up_those_who_wait() {
    let limiter = RateLimiter::per_minute(60).max_wait(Duration::MAX).build().unwrap();
    limiter.try_acquire(60).unwrap();
    let waiting = limiter.clone();
    let started = tokio::time::Instant::now();
    let waiter = tokio::spawn(async move { waiting.acquire(&Call::now().cost(30)).await.map(|()| started.elapsed()) });
    tokio::time::sleep(Duration::from_secs(1)).await;
    limiter.refund(59);
    assert!(waiter.await.unwrap().unwrap() < Duration::from_secs(2));
}

/// A bucket of a second's worth at 100 a second, by the book: what is owed, in milliseconds.
#[derive(Default)]
struct Book {
    owed: u64,
}

impl Book {
    fn pass(&mut self, ms: u64) {
        self.owed = self.owed.saturating_sub(ms);
    }
    fn take(&mut self, units: u32) -> bool {
        let owed = self.owed + u64::from(units) * 10;
        let fits = owed <= 1_000;
        if fits {
            self.owed = owed;
        }
        fits
    }
    fn refund(&mut self, units: u32) {
        self.owed = self.owed.saturating_sub(u64::from(units) * 10);
    }
    fn charge(&mut self, units: u32) {
        self.owed = (self.owed + u64::from(units) * 10).min(1_000);
    }
    fn available(&self) -> u32 {
        u32::try_from((1_000 - self.owed) / 10).unwrap()
    }
}

proptest! {
    #[test]
    fn h88_refunds_and_charges_against_the_book(steps in prop::collection::vec((0..4_u8, 0..120_u32, 0..300_u64), 1..100)) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
        runtime.block_on(async {
            let (limiter, mut book) = (RateLimiter::per_second(100).build().unwrap(), Book::default());
            for (kind, units, ms) in steps {
                advance(Duration::from_millis(ms)).await;
                book.pass(ms);
                match kind {
                    0 => prop_assert_eq!(limiter.try_acquire(units).is_ok(), book.take(units)),
                    1 => {
                        limiter.refund(units);
                        book.refund(units);
                    }
                    2 => {
                        limiter.charge(units);
                        book.charge(units);
                    }
                    _ => {
                        // Reserved, and settled at once for something else.
                        if let Ok(reserved) = limiter.reserve(&Call::now().cost(units)) {
                            prop_assert!(book.take(units));
                            let cost = units / 2 + u32::try_from(ms).unwrap() / 5;
                            reserved.settle(cost);
                            book.refund(units.saturating_sub(cost));
                            book.charge(cost.saturating_sub(units));
                        }
                    }
                }
                prop_assert_eq!(limiter.available(), book.available());
            }
            Ok(())
        })?;
    }
}
