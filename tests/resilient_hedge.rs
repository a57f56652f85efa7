//! `#[resilient]` with a policy under which attempts run beside each other: `hedge(..)`, which is form 17.
#![cfg(feature = "macros")]
#![expect(clippy::unwrap_used, reason = "a test may panic")]

mod support_resilient {
    pub(crate) mod errors;
}

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, LazyLock};
use std::time::Duration;
use steadfast::{Hedge, Pipeline, resilient};
use support_resilient::errors::{ApiError, Counter};
use tokio::time::{Instant, sleep};

const MS: Duration = Duration::from_millis(1);

/// Its first answer is slow.
#[derive(Default)]
struct Shard {
    calls: AtomicU32,
    finished: AtomicU32,
}

impl Shard {
    async fn read(&self) -> u32 {
        let call = self.calls.fetch_add(1, Ordering::Relaxed) + 1;
        sleep(if call == 1 { 900 * MS } else { 5 * MS }).await;
        self.finished.fetch_add(1, Ordering::Relaxed);
        call
    }
}

#[resilient(hedge(after = 50ms), attempt_timeout = 1s)]
async fn read(v: Arc<Shard>, mut seen: Vec<u32>) -> anyhow::Result<u32> {
    seen.push(v.read().await);
    anyhow::ensure!(seen.len() == 1, "each attempt has a clone of its own");
    Ok(seen[0])
}

#[tokio::test(start_paused = true)]
async fn form_17_two_attempts_at_once() {
    let (shard, began) = (Arc::new(Shard::default()), Instant::now());
    let inside = shard.clone();
    assert_eq!(tokio::spawn(async move { read(inside, vec![]).await }).await.unwrap().unwrap(), 2);
    assert_eq!((began.elapsed(), shard.calls.load(Ordering::Relaxed)), (55 * MS, 2));
    assert_eq!((Arc::strong_count(&shard), shard.finished.load(Ordering::Relaxed)), (1, 1), "the slow one is gone, unfinished");
}

struct Client {
    calls: Counter,
    shard: Shard,
    log: Vec<u32>,
}

fn client() -> Client {
    Client { calls: Counter::default(), shard: Shard::default(), log: vec![] }
}

const PAUSE: Duration = Duration::from_millis(20);

impl Client {
    const MOST: u32 = 3;

    #[resilient(hedge(after = p95, max = 2))]
    async fn by_percentile<'a>(&'a self, text: &'a str) -> Result<(&'a str, u32), ApiError> {
        self.calls.fail_until(3)?;
        Ok((text, self.calls.count()))
    }

    #[resilient(hedge(after = PAUSE, max = Self::MOST), retry(1, fixed(1s)), total_timeout = 10s)]
    async fn with_constants(&self) -> Result<u32, ApiError> {
        self.calls.next();
        sleep(100 * MS).await;
        Err(ApiError::Status(503))
    }

    #[resilient(pipeline = HEDGED)]
    async fn lends(&mut self) -> Result<usize, ApiError> {
        self.log.push(self.shard.read().await);
        Ok(self.log.len())
    }

    #[resilient(pipeline = HEDGED)]
    async fn borrows(&self) -> Result<u32, ApiError> {
        Ok(self.shard.read().await)
    }
}

static HEDGED: LazyLock<Pipeline> =
    LazyLock::new(|| Pipeline::builder("hedged").hedge(Hedge::after(10 * MS).idempotent()).build().expect("valid"));

#[tokio::test(start_paused = true)]
async fn form_17_percentiles_and_constants() {
    let (client, began) = (client(), Instant::now());
    assert_eq!(client.by_percentile("text").await, Ok(("text", 3)), "one that failed starts the next at once");
    assert_eq!(began.elapsed(), Duration::ZERO);
    client.calls.set(0);
    assert_eq!(client.with_constants().await, Err(ApiError::Status(503)));
    assert_eq!(client.calls.count(), 8, "four at once, and after the pause four again");
}

#[tokio::test(start_paused = true)]
async fn what_is_lent_is_never_hedged() {
    let (mut client, began) = (client(), Instant::now());
    assert_eq!((client.lends().await, client.log.as_slice()), (Ok(1), [1].as_slice()));
    assert_eq!(began.elapsed(), 900 * MS, "one at a time, whatever the pipeline would do");
    client.shard = Shard::default();
    assert_eq!(client.borrows().await, Ok(2));
    assert_eq!(began.elapsed(), 915 * MS);
}
