//! An error, a counter and a thing that cannot be cloned.

#![allow(dead_code, reason = "each test takes what it needs")]

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use steadfast::Rejected;

#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub(crate) enum ApiError {
    #[error("status {0}")]
    Status(u16),
    #[error("{0}")]
    Text(String),
    #[error(transparent)]
    Rejected(#[from] Rejected),
}

#[derive(Debug, Default)]
pub(crate) struct Counter(AtomicU32);

impl Counter {
    pub(crate) fn new() -> Arc<Self> {
        Arc::default()
    }

    /// Every call of it fails.
    pub(crate) fn failing() -> Arc<Self> {
        let counter = Self::new();
        counter.set(1_000_000);
        counter
    }

    pub(crate) fn set(&self, n: u32) {
        self.0.store(n, Ordering::Relaxed);
    }

    /// The number of this call, from 1.
    pub(crate) fn next(&self) -> u32 {
        self.0.fetch_add(1, Ordering::Relaxed) + 1
    }

    pub(crate) fn count(&self) -> u32 {
        self.0.load(Ordering::Relaxed)
    }

    /// Fails before the given call.
    pub(crate) fn fail_until(&self, good: u32) -> Result<(), ApiError> {
        let n = self.next();
        if n < good || n > 1_000_000 { Err(ApiError::Status(503)) } else { Ok(()) }
    }
}

/// Not `Clone`.
#[derive(Debug)]
pub(crate) struct Big(pub(crate) u32);
