//! `#[resilient]` among other attributes. Those above it wrap the call, those below it wrap each attempt.
#![cfg(feature = "macros")]

mod support_resilient {
    pub(crate) mod errors;
}

use async_trait::async_trait;
use std::sync::{Arc, Mutex};
use steadfast::resilient;
use support_resilient::errors::{ApiError, Counter};
use tracing::{Instrument, instrument};
use tracing_subscriber::layer::{Context, Layer, SubscriberExt};

#[derive(Clone, Default)]
struct Spans(Arc<Mutex<Vec<&'static str>>>);

impl<S: tracing::Subscriber> Layer<S> for Spans {
    fn on_new_span(&self, attributes: &tracing::span::Attributes<'_>, _: &tracing::span::Id, _: Context<'_, S>) {
        self.0.lock().expect("lock").push(attributes.metadata().name());
    }
}

/// How many spans of this name the future opened.
async fn spans<T>(name: &str, future: impl Future<Output = T>) -> (usize, T) {
    let spans = Spans::default();
    let guard = tracing::subscriber::set_default(tracing_subscriber::registry().with(spans.clone()));
    let output = future.await;
    drop(guard);
    let count = spans.0.lock().expect("lock").iter().filter(|span| **span == name).count();
    (count, output)
}

/// The name of the span this runs in.
fn here() -> Option<&'static str> {
    tracing::Span::current().metadata().map(tracing::Metadata::name)
}

#[resilient(retry(3))]
#[instrument(skip_all)]
async fn above(calls: &Counter) -> Result<Option<&'static str>, ApiError> {
    calls.fail_until(3)?;
    Ok(here())
}

#[instrument(skip_all)]
#[resilient(retry(3))]
async fn below(calls: &Counter, s: String) -> Result<Option<&'static str>, ApiError> {
    calls.fail_until(3)?;
    let _ = s;
    Ok(here())
}

#[resilient(retry(3))]
#[instrument(skip_all)]
async fn owned(calls: Arc<Counter>, (a, mut b): (u32, u32), log: &mut Vec<u32>) -> Result<u32, ApiError> {
    b += a;
    log.push(b);
    calls.fail_until(3)?;
    Ok(b)
}

/// "Above" and "below" are as one reads them: the first attribute is expanded first, so the other ends up on the function around
/// (`#[resilient]` above) or in the body that is tried again (`#[resilient]` below).
#[tokio::test(start_paused = true)]
async fn instrument_above_and_below() {
    assert_eq!(spans("above", above(&Counter::new())).await, (1, Ok(Some("above"))));
    assert_eq!(spans("below", below(&Counter::new(), "s".into())).await, (3, Ok(Some("below"))));
    let mut log = vec![];
    assert_eq!(spans("owned", owned(Counter::new(), (1, 2), &mut log)).await, (1, Ok(3)));
    assert_eq!(log, [3, 3, 3]);
}

#[async_trait]
trait Service {
    async fn above(&self, s: String) -> Result<Option<&'static str>, ApiError>;
    async fn below(&self, s: String) -> Result<Option<&'static str>, ApiError>;
    async fn change(&mut self, s: &str) -> Result<u32, ApiError>;
}

struct Api {
    calls: Counter,
    total: u32,
}

#[async_trait]
impl Service for Api {
    #[resilient(retry(3))]
    #[instrument(skip_all)]
    async fn above(&self, s: String) -> Result<Option<&'static str>, ApiError> {
        self.calls.fail_until(3)?;
        let _ = s;
        Ok(here())
    }

    #[instrument(skip_all)]
    #[resilient(retry(3))]
    async fn below(&self, s: String) -> Result<Option<&'static str>, ApiError> {
        self.calls.fail_until(3)?;
        let _ = s;
        Ok(here())
    }

    #[resilient(retry(3))]
    #[instrument(skip_all)]
    async fn change(&mut self, s: &str) -> Result<u32, ApiError> {
        self.total += s.len() as u32;
        self.calls.fail_until(3)?;
        Ok(self.total)
    }
}

#[tokio::test(start_paused = true)]
async fn instrument_and_async_trait_together() {
    let api = || Api { calls: Counter::default(), total: 0 };
    assert_eq!(spans("above", api().above("s".into())).await, (1, Ok(Some("above"))));
    assert_eq!(spans("below", api().below("s".into())).await, (3, Ok(Some("below"))));
    assert_eq!(spans("change", api().change("ss")).await, (1, Ok(6)));
}

#[resilient(retry(3))]
#[resilient(attempt_timeout = 2s)]
async fn two_layers(calls: &Counter) -> Result<u32, ApiError> {
    calls.fail_until(3)?;
    Ok(calls.count())
}

#[tokio::test(start_paused = true)]
async fn itself_twice_is_a_pipeline_around_a_pipeline() {
    assert_eq!(two_layers(&Counter::new()).await, Ok(3));
}

/// A doc comment.
#[resilient(retry(1))]
#[inline]
#[must_use = "it says so"]
#[cfg(test)]
#[deprecated = "to see that the attribute arrives"]
pub(crate) async fn attributes_stay(#[cfg(any())] gone: Missing, #[cfg(test)] here: String) -> Result<String, ApiError> {
    #![allow(unused_variables, reason = "an inner attribute")]
    let unused = 3;
    Ok(here)
}

#[expect(deprecated, reason = "to see that the attribute arrives")]
#[tokio::test(start_paused = true)]
async fn attributes_and_cfg_stay_where_they_are() {
    assert_eq!(attributes_stay("h".into()).await, Ok("h".into()));
}

#[tokio::test(start_paused = true)]
async fn a_span_of_the_caller_s_is_seen_in_every_attempt() {
    #[resilient(retry(3))]
    async fn inside(calls: &Counter) -> Result<Option<&'static str>, ApiError> {
        calls.fail_until(3)?;
        Ok(here())
    }
    let calls = Counter::new();
    let call = async { inside(&calls).instrument(tracing::info_span!("outside")).await };
    assert_eq!(spans("outside", call).await, (1, Ok(Some("outside"))));
}
