//! A GraphQL API bills by the complexity of a query, not by the call: the limiter takes as many points as the query costs at most, and
//! gets back what it did not cost in truth. Run `cargo run --example graphql_cost`. The clock is paused, so the waits take no time.

mod model;

use model::{Variables, complexity};
use std::time::Duration;
use steadfast::{Cost, Pipeline, RateLimiter};
use tokio::time::Instant;

/// A query that knows its price.
struct Query {
    text: &'static str,
    points: u32,
}

impl Query {
    /// Refuses what no server would answer: `first: 100` three times nested is a million nodes.
    fn new(text: &'static str, variables: &Variables<'_>) -> Result<Self, String> {
        let complexity = complexity(text, variables)?;
        println!(
            "depth {}, {} nodes: GitHub {} points, Shopify {}",
            complexity.depth,
            complexity.nodes,
            complexity.github_points(),
            complexity.shopify_points()
        );
        if complexity.depth > 12 || complexity.nodes > 500_000 {
            return Err(format!("too complex: {complexity:?}"));
        }
        Ok(Self { text, points: complexity.shopify_points() })
    }
}

impl Cost for Query {
    fn units(&self) -> u32 {
        self.points
    }
}

/// The server, which finds fewer rows than were asked for, and says so: `extensions.cost.actualQueryCost`.
async fn ask(query: &str) -> Result<(&'static str, u32), std::io::Error> {
    tokio::time::sleep(Duration::from_millis(80)).await;
    Ok(("data", if query.contains("products") { 46 } else { 1 }))
}

#[tokio::main(flavor = "current_thread", start_paused = true)]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let shop = Query::new("{ shop { name plan { displayName } } }", &Variables::new())?;
    let products = Query::new(
        "query Page($rows: Int!) {
            products(first: $rows) {
                edges { node { ...Priced } }
                pageInfo { hasNextPage }
            }
        }
        fragment Priced on Product { title variants(first: 5) { nodes { price } } }",
        &Variables::from([("rows", 25)]),
    )?;
    let greedy = "{ shops(first: 100) { nodes { products(first: 100) { nodes { variants(first: 100) { nodes { id } } } } } } }";
    println!("refused before it is sent: {}\n", Query::new(greedy, &Variables::new()).err().unwrap_or_default());

    // 50 points a second, at most 250 at once.
    let limiter = RateLimiter::per_second(50).burst(250).max_wait(Duration::from_secs(30)).build()?;
    let api = Pipeline::builder("shopify").rate_limit(limiter.clone()).build()?;
    let started = Instant::now();
    for (page, query) in [&shop, &products, &products, &products, &products, &products, &products].into_iter().enumerate() {
        let (_data, cost) = api.cost_of(query).call(|| ask(query.text)).await?;
        // It took the points that the query costs at most; the server says what it cost.
        limiter.refund(query.points.saturating_sub(cost));
        let ms = started.elapsed().as_millis();
        println!("{ms:>4} ms  page {page}: took {:>3}, cost {cost:>2}, {:>3} points left", query.points, limiter.available());
    }

    // Without a pipeline: reserved, then settled for what it was.
    tokio::time::sleep(Duration::from_secs(2)).await;
    let call = steadfast::Call::now().cost(products.points);
    let reserved = limiter.reserve(&call)?;
    let (_data, cost) = ask(products.text).await?;
    reserved.settle(cost);
    println!("settled by hand: {} points left", limiter.available());
    Ok(())
}
