//! Doors: a pipeline in the words of the clients people use. Each is behind a feature of its own name.
//!
//! | feature | door | for |
//! |---|---|---|
#![cfg_attr(
    feature = "reqwest",
    doc = "| `reqwest` | [`SendThrough`](reqwest::SendThrough) | `client.get(url).send_through(&API).await` |"
)]
#![cfg_attr(feature = "tower", doc = "| `tower` | [`PipelineLayer`](tower::PipelineLayer) | any `tower` service that can be cloned |")]
#![cfg_attr(
    feature = "http",
    doc = "| `http` | [`judge`](http::judge) and its parts | every client that speaks the types of the `http` crate |"
)]
//!
//! They do what every guarded HTTP call needs and nobody wants to write twice: a fresh copy of the request for each attempt, a verdict for
//! each answer, no second POST, and the last response for the caller. For a client without a door, wrap the call itself:
//!
//! ```
//! # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # async fn query(_: &str) -> Result<u32, std::io::Error> { Ok(42) }
//! let database = steadfast::Pipeline::database("orders").build()?;
//! let open = database.call(|| query("select count(*) from orders where open")).await?;
//! # assert_eq!(open, 42); Ok(()) }
//! ```
//!
//! Types of other crates appear in the public API here, and nowhere else.

#[cfg(any(feature = "reqwest", feature = "tower"))]
mod answer;
#[cfg(feature = "http")]
pub mod http;
#[cfg(feature = "reqwest")]
pub mod reqwest;
#[cfg(feature = "http")]
mod retry_after;
#[cfg(feature = "tower")]
pub mod tower;
