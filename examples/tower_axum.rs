//! An axum server with two pipelines: one around its route, so that it never takes on more than it can do, and one around the client
//! with which it asks another service.
//!
//! `cargo run --example tower_axum --features http,tower`

use axum::error_handling::HandleErrorLayer;
use axum::extract::State;
use axum::http::{HeaderMap, HeaderValue, Request, StatusCode, header::RETRY_AFTER};
use axum::routing::get;
use axum::{Router, serve};
use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;
use std::convert::Infallible;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;
use steadfast::client::http::judge;
use steadfast::client::tower::PipelineLayer;
use steadfast::{Bulkhead, CircuitBreaker, Error, Pipeline, RejectedKind, Retry};
use tokio::net::TcpListener;
use tower::util::BoxCloneSyncService;
use tower::{ServiceBuilder, ServiceExt};

type Failure = Box<dyn std::error::Error + Send + Sync>;
type Prices = BoxCloneSyncService<Request<Full<Bytes>>, hyper::Response<Incoming>, Error<hyper_util::client::legacy::Error>>;

#[tokio::main]
async fn main() -> Result<(), Failure> {
    let upstream = serve_on_free_port(Router::new().route("/price", get(flaky_price))).await?;

    // The way out: retries and a breaker around a hyper client. It sends only GETs, so requests may be cloned as they are.
    let outbound = Pipeline::builder("prices")
        .total_timeout(Duration::from_secs(2))
        .retry(Retry::exponential(3, Duration::from_millis(20)))
        .circuit_breaker(CircuitBreaker::failure_rate(0.5))
        .attempt_timeout(Duration::from_millis(500))
        .build()?;
    let prices = ServiceBuilder::new()
        .map_request(move |request| at(&upstream, request))
        .layer(PipelineLayer::new(outbound).classify(judge))
        .service(Client::builder(TokioExecutor::new()).build_http());
    let prices: Prices = BoxCloneSyncService::new(prices);

    // The way in: two at a time, and what finds no place hears so at once. A request is never sent to its handler twice.
    let inbound = Pipeline::builder("quotes").total_timeout(Duration::from_secs(3)).bulkhead(Bulkhead::new(2)).build()?;
    let guarded = ServiceBuilder::new().layer(HandleErrorLayer::new(refused)).layer(PipelineLayer::new(inbound).once());
    let app = Router::new().route("/quote", get(quote)).layer(guarded).with_state(prices);
    let server = serve_on_free_port(app).await?;

    let client = Client::builder(TokioExecutor::new()).build_http::<Full<Bytes>>();
    let calls: Vec<_> = (0..4).map(|_| tokio::spawn(client.get(format!("{server}/quote").parse().expect("a URL")))).collect();
    for call in calls {
        let response = call.await??;
        let (status, retry_after) = (response.status(), response.headers().get(RETRY_AFTER).cloned());
        let body = response.into_body().collect().await?.to_bytes();
        println!(
            "{status} {:?} {}",
            String::from_utf8_lossy(&body),
            retry_after.map_or(String::new(), |after| format!("(retry after {after:?} s)"))
        );
    }
    Ok(())
}

/// The handler: asks for the price, through the pipeline.
async fn quote(State(prices): State<Prices>) -> Result<String, (StatusCode, String)> {
    let request = Request::get("/price").body(Full::default()).map_err(|error| (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()))?;
    let response = prices.oneshot(request).await.map_err(|error| (StatusCode::BAD_GATEWAY, error.to_string()))?;
    let price = response.into_body().collect().await.map_err(|error| (StatusCode::BAD_GATEWAY, error.to_string()))?;
    Ok(format!("two shirts: {}", String::from_utf8_lossy(&price.to_bytes())))
}

/// What a caller hears when the inbound pipeline refuses.
async fn refused(error: Error<Infallible>) -> (StatusCode, HeaderMap, String) {
    let status = match error.kind() {
        Some(RejectedKind::RateLimited) => StatusCode::TOO_MANY_REQUESTS,
        Some(RejectedKind::DeadlineExceeded | RejectedKind::Timeout) => StatusCode::GATEWAY_TIMEOUT,
        _ => StatusCode::SERVICE_UNAVAILABLE,
    };
    let seconds = error.retry_after().map_or(1, |after| after.as_secs().saturating_add(1));
    (status, HeaderMap::from_iter([(RETRY_AFTER, HeaderValue::from(seconds))]), error.to_string())
}

/// Works every second time, after a while.
async fn flaky_price() -> (StatusCode, &'static str) {
    static REQUESTS: AtomicU32 = AtomicU32::new(0);
    tokio::time::sleep(Duration::from_millis(50)).await;
    match REQUESTS.fetch_add(1, Ordering::Relaxed) % 2 {
        0 => (StatusCode::SERVICE_UNAVAILABLE, "busy"),
        _ => (StatusCode::OK, "24 EUR"),
    }
}

fn at(server: &str, mut request: Request<Full<Bytes>>) -> Request<Full<Bytes>> {
    if let Ok(uri) = format!("{server}{}", request.uri().path()).parse() {
        *request.uri_mut() = uri;
    }
    request
}

async fn serve_on_free_port(app: Router) -> Result<String, Failure> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let url = format!("http://{}", listener.local_addr()?);
    tokio::spawn(async move { serve(listener, app).await });
    Ok(url)
}
