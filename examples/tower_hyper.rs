//! A hyper client inside a pipeline: retries, a breaker and a timeout for every request it sends.
//!
//! `cargo run --example tower_hyper --features http,tower`

use axum::Router;
use axum::http::{Request, StatusCode};
use axum::routing::any;
use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;
use steadfast::client::http::{clone_idempotent, judge};
use steadfast::client::tower::PipelineLayer;
use steadfast::{CircuitBreaker, Monitor, Pipeline, Retry};
use tower::{ServiceBuilder, ServiceExt};

type Failure = Box<dyn std::error::Error + Send + Sync>;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Failure> {
    let url = flaky_server().await?;

    let pipeline = Pipeline::builder("inventory")
        .total_timeout(Duration::from_secs(5))
        .retry(Retry::exponential(3, Duration::from_millis(20)))
        .circuit_breaker(CircuitBreaker::failure_rate(0.5))
        .attempt_timeout(Duration::from_secs(1))
        .monitor(Monitor::new())
        .build()?;
    let client = ServiceBuilder::new()
        .layer(PipelineLayer::new(pipeline.clone()).classify(judge).clone_request_with(clone_idempotent))
        .service(Client::builder(TokioExecutor::new()).build_http::<Full<Bytes>>());

    for (method, what) in [("GET", "is retried until it works"), ("POST", "may not happen twice, so its 503 is the answer")] {
        let request = Request::builder().method(method).uri(&url).body(Full::new(Bytes::from("two shirts")))?;
        let response = client.clone().oneshot(request).await?;
        let status = response.status();
        let body = response.into_body().collect().await?.to_bytes();
        println!("{method}: {status}, {:?}  ({what})", String::from_utf8_lossy(&body));
    }
    println!("\n{pipeline}");
    if let Some(calls) = pipeline.stats().calls {
        println!("{} calls, {} attempts", calls.all_time().calls(), calls.all_time().attempts());
    }
    Ok(())
}

/// Two requests of three it cannot serve.
async fn flaky_server() -> Result<String, Failure> {
    static REQUESTS: AtomicU32 = AtomicU32::new(0);
    let answer = || async {
        match REQUESTS.fetch_add(1, Ordering::Relaxed) % 3 {
            2 => (StatusCode::OK, "here you are"),
            _ => (StatusCode::SERVICE_UNAVAILABLE, "busy"),
        }
    };
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
    let url = format!("http://{}/", listener.local_addr()?);
    tokio::spawn(async move { axum::serve(listener, Router::new().route("/", any(answer))).await });
    Ok(url)
}
