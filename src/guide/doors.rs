//! Doors: a pipeline in the words of the client you have. Features `reqwest`, `http`, `tower`.
//!
//! | you have | feature | write |
//! |---|---|---|
//! | reqwest | `reqwest` | `client.get(url).send_through(&API).await` |
//! | hyper, axum, tonic, any `tower::Service` that is `Clone` | `tower` | `ServiceBuilder::new().layer(PipelineLayer::new(pipeline))` |
//! | another client that speaks the types of `http` | `http` | `api.classify(judge).call(\|\| send(request.clone()))` |
//! | anything else | – | `api.call(\|\| ..)`: see the [cookbook](super::cookbook) |
//!
//! # reqwest
//!
//! ```no_run
//! # #[cfg(feature = "reqwest")] mod page {
//! use std::sync::LazyLock;
//! use steadfast::Pipeline;
//! use steadfast::client::reqwest::SendThrough;
//!
//! static API: LazyLock<Pipeline> = LazyLock::new(|| Pipeline::http("orders").build().expect("valid settings"));
//!
//! async fn order(client: &reqwest::Client) -> Result<(), Box<dyn std::error::Error>> {
//!     let stock = client.get("https://api.internal/stock").send_through(&API).await?;
//!     println!("{}", stock.status()); // the last response comes back, whatever its status
//!
//!     client
//!         .post("https://api.internal/orders")
//!         .header("Idempotency-Key", "order-4711") // the server knows a second copy when it sees one,
//!         .body("two shirts")
//!         .send_through(&API)
//!         .idempotent() // so this is safe to say; without it a POST is retried only if it was never sent
//!         .await?
//!         .error_for_status()?;
//!     Ok(())
//! }
//! # }
//! # fn main() {}
//! ```
//!
//! # tower
//!
//! ```
//! # #[cfg(all(feature = "tower", feature = "http"))] #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! use http::{Request, Response};
//! use steadfast::Pipeline;
//! use steadfast::client::{http::{clone_idempotent, judge}, tower::PipelineLayer};
//! use tower::{ServiceBuilder, ServiceExt, service_fn};
//!
//! # async fn send(_: Request<String>) -> Result<Response<String>, std::io::Error> { Ok(Response::new("pong".into())) }
//! let client = ServiceBuilder::new()
//!     .layer(PipelineLayer::new(Pipeline::http("api").build()?).classify(judge).clone_request_with(clone_idempotent))
//!     .service(service_fn(send)); // or a hyper client, or a tonic channel
//! let response = client.oneshot(Request::get("http://api.internal/ping").body(String::new())?).await?;
//! # assert_eq!(response.body(), "pong"); Ok(()) }
//! # #[cfg(not(all(feature = "tower", feature = "http")))] fn main() {}
//! ```
//!
//! A layer knows nothing of HTTP by itself: without `.classify(judge)` a 503 is a success, and without `.clone_request_with(clone_idempotent)` a POST is
//! retried like a GET. The layer is always ready, and callers wait inside the call; `LoadShed` belongs inside of it.
//!
//! # How answers are judged
//!
//! | answer | verdict |
//! |---|---|
//! | 1xx, 2xx, 3xx | success |
//! | 408, 425, 429, 5xx | transient; `Retry-After` (seconds or date) is obeyed |
//! | other 4xx | permanent: not retried, **and a failure to the breaker** |
//!
//! Where 404 is everyday news, say so, or a crawler will open your breaker:
//!
//! ```
//! # #[cfg(feature = "http")] fn main() {
//! use http::{Response, StatusCode};
//! use steadfast::{Verdict, client::http::judge_response};
//!
//! fn judge<B>(response: &Response<B>) -> Verdict {
//!     if response.status() == StatusCode::NOT_FOUND { Verdict::Success } else { judge_response(response) }
//! }
//! # assert_eq!(judge(&Response::builder().status(404).body(()).unwrap()), Verdict::Success);
//! # }
//! # #[cfg(not(feature = "http"))] fn main() {}
//! ```
//!
//! # What is not inside
//!
//! Reading the **body** of a response: the call ends when its head is there. Where the body matters as much, make it part of the operation, as
//! the [cookbook](super::cookbook::reqwest) does.
