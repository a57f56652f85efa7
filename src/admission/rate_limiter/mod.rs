//! stub
#![allow(missing_docs, unused, clippy::all, reason = "stub")]
use super::Entry;
use crate::{Call, ConfigError, Outcome, Rejected};
use tokio::time::Instant;
#[derive(Clone, Debug, PartialEq)]
pub struct RateLimiterConfig;
#[derive(Clone, Debug)]
pub struct RateLimiter;
#[derive(Debug)]
pub struct Reservation<'a>(&'a RateLimiter, u64);
impl RateLimiterConfig {
    pub fn build(self) -> Result<RateLimiter, ConfigError> {
        Ok(RateLimiter)
    }
}
impl RateLimiterConfig {
    pub fn smooth(self) -> Self {
        self
    }
    pub fn burst(self, _: u32) -> Self {
        self
    }
    pub fn max_wait(self, _: std::time::Duration) -> Self {
        self
    }
}
impl RateLimiter {
    pub fn try_acquire(&self, _: u32) -> Result<(), Rejected> {
        Ok(())
    }
    pub fn per_hour(_: u32) -> RateLimiterConfig {
        RateLimiterConfig
    }
    pub fn per_second(_: u32) -> RateLimiterConfig {
        RateLimiterConfig
    }
    pub(crate) fn enter<'a>(&'a self, _: &Call<'_>) -> Entry<Reservation<'a>, std::future::Ready<Result<Reservation<'a>, Rejected>>> {
        Entry::Granted(Reservation(self, 1))
    }
    pub fn burst(&self) -> u32 {
        0
    }
    pub fn available(&self) -> u32 {
        0
    }
    pub fn waiting(&self) -> usize {
        0
    }
}
impl Reservation<'_> {
    pub fn keep(self) {}
}
impl Drop for Reservation<'_> {
    fn drop(&mut self) {
        std::hint::black_box(&self.1);
    }
}
