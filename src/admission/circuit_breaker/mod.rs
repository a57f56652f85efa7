//! stub
#![allow(missing_docs, unused, clippy::all, reason = "stub")]
use crate::{ConfigError, Outcome, Rejected};
use tokio::time::Instant;
use std::time::Duration;
#[derive(Clone, Debug, PartialEq)] pub struct CircuitBreakerConfig;
#[derive(Clone, Debug)] pub struct CircuitBreaker;
#[derive(Debug)] pub struct CircuitPermit<'a>(&'a CircuitBreaker, u64);
#[derive(Clone, Debug)] pub struct CircuitSnapshot { pub calls: u64, pub failures: u64 }
impl std::fmt::Display for CircuitSnapshot { fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result { Ok(()) } }
#[derive(Clone, Copy, Debug, PartialEq)] pub enum CircuitState { Open, Closed, HalfOpen }
impl CircuitBreakerConfig { pub fn build(self) -> Result<CircuitBreaker, ConfigError> { Ok(CircuitBreaker) } 
 pub fn open_for(self, d: Duration) -> Self { self } }
impl CircuitBreaker {
  pub fn failure_rate(_: f64) -> CircuitBreakerConfig { CircuitBreakerConfig }
  pub fn consecutive_failures(_: u32) -> CircuitBreakerConfig { CircuitBreakerConfig }
  pub fn check_at(&self, _: Instant) -> Result<(), Rejected> { Ok(()) }
  pub fn try_acquire_at(&self, _: Instant) -> Result<CircuitPermit<'_>, Rejected> { Ok(CircuitPermit(self, 0)) }
  pub fn needs_end_time(&self) -> bool { false }
  pub fn snapshot(&self) -> CircuitSnapshot { CircuitSnapshot { calls: 0, failures: 0 } }
}
impl CircuitPermit<'_> { pub fn settle(self, _: Outcome) {} pub fn settle_at(self, _: Outcome, _: Instant) {} }
impl Drop for CircuitPermit<'_> { fn drop(&mut self) { std::hint::black_box(&self.1); } }
