//! `reqwest` through a pipeline, in the one line that changes: `.send()` becomes `.send_through(&API)`.
//!
//! `cargo run --example reqwest --features reqwest`

use axum::Router;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header::RETRY_AFTER};
use axum::routing::any;
use std::sync::LazyLock;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Instant;
use steadfast::Pipeline;
use steadfast::client::reqwest::SendThrough;

static API: LazyLock<Pipeline> = LazyLock::new(|| Pipeline::http("orders").build().expect("valid"));

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let url = flaky_server().await?;
    let client = reqwest::Client::new();

    let started = Instant::now();
    let response = client.get(&url).send_through(&API).await?;
    println!("GET   {} after {:.1?}: the server's Retry-After was obeyed", response.status(), started.elapsed());

    let response = client.post(&url).body("two shirts").send_through(&API).await?;
    println!("POST  {} at once: it may not happen twice", response.status());

    let request = client.post(&url).header("Idempotency-Key", "4711").body("two shirts");
    let response = request.send_through(&API).idempotent().await?;
    println!("POST  {}, {:?}: told that it may", response.status(), response.text().await?);

    println!("\n{}", API.explain());
    Ok(())
}

/// Too busy for its first request, and for the third and fourth.
async fn flaky_server() -> std::io::Result<String> {
    static REQUESTS: AtomicU32 = AtomicU32::new(0);
    let answer = || async {
        match REQUESTS.fetch_add(1, Ordering::Relaxed) {
            0 | 2 | 3 => (StatusCode::SERVICE_UNAVAILABLE, HeaderMap::from_iter([(RETRY_AFTER, HeaderValue::from(1))]), "busy"),
            _ => (StatusCode::OK, HeaderMap::new(), "thank you"),
        }
    };
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
    let url = format!("http://{}/", listener.local_addr()?);
    tokio::spawn(async move { axum::serve(listener, Router::new().route("/", any(answer))).await });
    Ok(url)
}
