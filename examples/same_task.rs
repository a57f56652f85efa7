//! The same task with the builder and with the attribute, against a server that is too busy for its first calls: at most 3 retries,
//! exponential, with jitter, honouring `Retry-After`; a breaker at 50 % over 10 s; 2 s for an attempt, 10 s in all; 50 at once, 100 per second;
//! and the last good answer when all that was in vain.
//! The clock is paused, so the waits take no time. Run `cargo run --example same_task --features cache`.

use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::Duration as Time;
use tokio::time::Instant;

/// Each is what you would write, whole; beside it stand only the fake server and the words that tell what happened.
mod builder {
    include!("same_task/builder.rs");

    async fn fetch(symbol: &str) -> Result<u64, ApiError> {
        super::server(symbol).map_err(|(status, after)| ApiError::Status(status, after.map(Duration::from_secs)))
    }

    pub(crate) async fn run(symbol: &str) -> Result<u64, impl std::error::Error> {
        quote(symbol).await
    }
}

#[cfg(feature = "macros")]
mod attribute {
    include!("same_task/attribute.rs");

    async fn fetch(symbol: &str) -> Result<u64, ApiError> {
        super::server(symbol).map_err(|(status, after)| ApiError::Status(status, after.map(Duration::from_secs)))
    }

    pub(crate) async fn run(symbol: &str) -> Result<u64, impl std::error::Error> {
        quote(symbol).await
    }
}

static DOWN: AtomicBool = AtomicBool::new(false);

/// Knows one symbol, and is too busy for the first call of three: a status, and the seconds of its `Retry-After`.
fn server(symbol: &str) -> Result<u64, (u16, Option<u64>)> {
    static CALLS: AtomicU32 = AtomicU32::new(0);
    match (CALLS.fetch_add(1, Ordering::Relaxed) % 3, symbol) {
        _ if DOWN.load(Ordering::Relaxed) => Err((503, None)),
        (0, _) => Err((429, Some(3))),
        (_, "ACME") => Ok(42),
        _ => Err((404, None)),
    }
}

#[tokio::main(flavor = "current_thread", start_paused = true)]
async fn main() {
    for (symbol, down) in [("ACME", false), ("NONE", false), ("ACME", true), ("NONE", true)] {
        DOWN.store(down, Ordering::Relaxed);
        tokio::time::sleep(Time::from_secs(60)).await; // what is kept is old by now
        let state = if down { "down, " } else { "" };
        let started = Instant::now();
        match builder::run(symbol).await {
            Ok(price) => println!("builder:   {state}{symbol} costs {price}, after {:.1?}", started.elapsed()),
            Err(error) => println!("builder:   {state}{symbol}: {error}, after {:.1?}", started.elapsed()),
        }
        #[cfg(feature = "macros")]
        {
            let started = Instant::now();
            match attribute::run(symbol).await {
                Ok(price) => println!("attribute: {state}{symbol} costs {price}, after {:.1?}", started.elapsed()),
                Err(error) => println!("attribute: {state}{symbol}: {error}, after {:.1?}", started.elapsed()),
            }
        }
    }
}
