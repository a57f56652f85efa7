//! A server has a bad day, and 24 callers get through it under one pipeline.
//!
//! Run `cargo run --example quickstart`, and watch for 12 seconds. The server is real (hyper, on a local port), and so is the client.

mod server;
mod timeline;

use server::{Phase, Server};
use std::error::Error;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;
use steadfast::{Bulkhead, CircuitBreaker, ConfigError, Monitor, Pipeline, RateLimiter, Retry, Verdict};
use timeline::Timeline;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};

const CALLERS: usize = 24;
const TOTAL_TIMEOUT: Duration = Duration::from_millis(1_500);

/// What happens to the server, and for how many seconds.
const THE_DAY: [(Phase, u64, &str); 5] = [
    (Phase::Healthy, 2, "the server is healthy"),
    (Phase::Slow, 2, "the server is slow: one request in three hangs"),
    (Phase::Storm, 3, "the server is overloaded: 503, Retry-After: 1"),
    (Phase::Down, 2, "the server is down: connection refused"),
    (Phase::Healthy, 3, "the server is healthy again"),
];

/// Everything between the callers and the server.
fn pipeline() -> Result<Pipeline, ConfigError> {
    Pipeline::builder("api")
        .total_timeout(TOTAL_TIMEOUT)
        .retry(Retry::exponential(3, Duration::from_millis(50)))
        .circuit_breaker(CircuitBreaker::failure_rate(0.5).window(Duration::from_secs(2)).open_for(Duration::from_secs(1)).open_growth(1.0))
        .rate_limit(RateLimiter::per_second(300).max_wait(Duration::from_millis(200)))
        .bulkhead(Bulkhead::new(20).queue(20))
        .attempt_timeout(Duration::from_millis(500))
        .classify(ApiError::verdict)
        .monitor(Monitor::new())
        .build()
}

#[derive(Debug, thiserror::Error)]
enum ApiError {
    #[error("the server said {status}")]
    Status { status: u16, retry_after: Option<Duration> },
    #[error("no connection: {0}")]
    Connection(#[from] reqwest::Error),
}

impl ApiError {
    /// What an error says about the server: may it pass, and when?
    fn verdict(&self) -> Verdict {
        match self {
            Self::Status { status: 500.., retry_after } => Verdict::Transient { retry_after: *retry_after },
            Self::Status { .. } => Verdict::permanent(),
            Self::Connection(_) => Verdict::transient(),
        }
    }
}

/// The plain call, as it would be without a pipeline.
async fn fetch(client: &reqwest::Client, url: &str) -> Result<String, ApiError> {
    let response = client.get(url).send().await?;
    if response.status().is_success() {
        return Ok(response.text().await?);
    }
    let seconds = response.headers().get("retry-after").and_then(|value| value.to_str().ok()?.parse().ok());
    Err(ApiError::Status { status: response.status().as_u16(), retry_after: seconds.map(Duration::from_secs) })
}

/// Calls, looks at the answer, thinks for a moment, and calls again.
async fn caller(api: Pipeline, client: reqwest::Client, url: String, timeline: Arc<Timeline>, until: Instant) {
    while Instant::now() < until {
        let started = Instant::now();
        let answer = api.call(|| fetch(&client, &url)).await;
        timeline.saw(&answer, started.elapsed());
        sleep(Duration::from_millis(100)).await;
    }
}

#[tokio::main]
async fn main() -> Result<ExitCode, Box<dyn Error>> {
    let (server, api, client) = (Server::start().await?, pipeline()?, reqwest::Client::builder().no_proxy().build()?);
    println!("{CALLERS} callers, one server on {}, one pipeline:\n\n{}\n", server.url(), api.explain());

    let timeline = Timeline::start(&api);
    let until = Instant::now() + Duration::from_secs(THE_DAY.iter().map(|(_, seconds, _)| seconds).sum());
    let mut callers = JoinSet::new();
    for _ in 0..CALLERS {
        callers.spawn(caller(api.clone(), client.clone(), server.url(), Arc::clone(&timeline), until));
    }
    for (phase, seconds, title) in THE_DAY {
        server.enter(phase);
        timeline.title(title);
        for _ in 0..seconds {
            timeline.second(&api).await;
        }
    }
    callers.join_all().await;

    println!("\n{}", api.stats());
    Ok(if timeline.verdict(TOTAL_TIMEOUT) { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
