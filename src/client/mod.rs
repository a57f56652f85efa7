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
