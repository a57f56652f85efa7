//! `#[resilient]` with `adaptive(..)`: as many at once as the dependency bears.
#![cfg(feature = "macros")]
#![expect(clippy::unwrap_used, reason = "a test may panic")]

mod support_resilient {
    pub(crate) mod errors;
}

use std::task::{Context, Waker};
use steadfast::{RejectedKind, resilient};
use support_resilient::errors::ApiError;

const LEAST: usize = 3;

#[resilient(adaptive(2..4), attempt_timeout = 1s)]
async fn adaptive(hold: bool) -> Result<u32, ApiError> {
    if hold {
        std::future::pending::<()>().await;
    }
    Ok(1)
}

#[resilient(adaptive(50..200, gradient))]
async fn gradient() -> Result<u32, ApiError> {
    Ok(2)
}

#[resilient(preset = http, adaptive(LEAST..5, aimd))]
async fn aimd() -> Result<u32, ApiError> {
    Ok(3)
}

#[tokio::test(start_paused = true)]
async fn adaptive_limits_hold_back_what_is_too_much() {
    assert_eq!((adaptive(false).await, gradient().await, aimd().await), (Ok(1), Ok(2), Ok(3)));
    let mut held: Vec<_> = (0..10).map(|_| Box::pin(adaptive(true))).collect();
    let mut cx = Context::from_waker(Waker::noop());
    let polled = held.iter_mut().map(|call| call.as_mut().poll(&mut cx).is_ready());
    let refused = polled.filter(|refused| *refused).count();
    assert!((5..=7).contains(&refused), "{refused} of 10, where 4 are the most, and some of the reserve");
    let ApiError::Rejected(rejected) = adaptive(false).await.unwrap_err() else { panic!("not a rejection") };
    assert_eq!(rejected.kind(), RejectedKind::ConcurrencyLimited);
    drop(held);
    assert_eq!(adaptive(false).await, Ok(1));
}
