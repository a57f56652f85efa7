//! Values and limits that several machines share, and what happens when what they share is not there.
//!
//! `docker run --rm -p 6379:6379 redis:7`, then `cargo run --features redis --example redis`. Without a server it shows how to do without one.
//! Another one: `REDIS_URL=redis://:secret@host:6379/0`.

use std::time::Duration;
use steadfast::CircuitBreaker;
use steadfast::store::rate::{OnOutage, Quota, SharedLimit};
use steadfast::store::{Key, RedisRateStore, RedisStore, SetOptions, SharedBreaker, Store};

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let url = std::env::var("REDIS_URL").unwrap_or_else(|_| "redis://127.0.0.1:6379".into());

    // Values: bytes under keys, for a time, with tags to delete them by.
    match RedisStore::connect(url.as_str()).await {
        Ok(store) => {
            let users = store.namespace("example");
            let (ada, bob) = (Key::new("user:ada")?, Key::new("user:bob")?);
            let options = SetOptions::new().ttl(Duration::from_secs(60)).tag("org:7");
            users.set(&ada, "Ada".into(), options.clone()).await?;
            println!("first come, first served: {}", users.set(&bob, "Bob".into(), options.clone().if_absent()).await?);
            println!("and not twice: {}", users.set(&bob, "Bobby".into(), options.if_absent()).await?);
            println!("Ada for {:?} more", users.get(&ada).await?.map(|entry| entry.ttl()));
            println!("cleared: {}", users.clear().await?);
        }
        Err(error) => println!("no store: {error}"),
    }

    // A limit: decided by the server, or, when that does not answer in time, by this machine's share of it.
    let limit = SharedLimit::new(Quota::per_minute(100).burst(8))
        .name("example")
        .store(RedisRateStore::builder(url.as_str()).build()?)
        .on_outage(OnOutage::Local { share: 0.25 })
        .deadline(Duration::from_millis(50))
        .build()?;
    let tenant = Key::new("tenant:7")?;
    for number in 1..=10 {
        let decision = limit.check(&tenant).await?;
        let said = if decision.allowed { "goes" } else { "is refused" };
        println!("request {number} {said}, says {}; {} left", decision.source.as_str(), decision.remaining);
    }
    if limit.reset(&tenant).await.is_err() {
        println!("(nobody there to reset it)");
    }
    println!("{:?}", limit.stats());

    // A circuit for all: opened by hand in one process (here: by one of two breakers), open in the others soon.
    let breakers = [CircuitBreaker::failure_rate(0.5).build()?, CircuitBreaker::failure_rate(0.5).build()?];
    let share = |breaker| SharedBreaker::new("example", breaker).store(RedisStore::builder(url.as_str()).build()?).build();
    let shared = [share(&breakers[0])?, share(&breakers[1])?];
    breakers[0].open_for(Duration::from_secs(2));
    tokio::time::sleep(Duration::from_secs(1)).await;
    println!("one breaker is {}, the other {}: {:?}", breakers[0].state(), breakers[1].state(), shared[1].stats());
    breakers[0].force_close();
    Ok(())
}
