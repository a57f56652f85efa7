//! The algorithms, as numbers in and numbers out: no clock, no lock, no store. Memory and SQLite call them; the scripts of Redis say the same.
//!
//! Time is microseconds since 1970, units are whole, and every division is of whole numbers, rounded against the caller: nothing drifts, and
//! no rate is cut to a whole number of microseconds per unit.
//!
//! # The clock
//!
//! A clock that is put back neither fills nor drains. Up to a second back, which is two processors that disagree, or one who came first and
//! was served second, time stands still until it has caught up. Further back, the clock was set: what is known moves back with it.

mod level;
mod log;
mod state;
#[cfg(test)]
mod tests;
mod windows;

pub use state::State;

use super::Decision;
use std::time::Duration;

/// How far back a clock may be without having been set, in microseconds.
const HELD: u64 = 1_000_000;

/// The moment to go on from, and how long after the last it is.
const fn tick(at: u64, now: u64) -> (u64, u64) {
    match now.checked_sub(at) {
        Some(elapsed) => (now, elapsed),
        None if at - now <= HELD => (at, 0),
        None => (now, 0),
    }
}

/// Whether a clock that has shown `seen` was put back since.
const fn is_set_back(seen: u64, now: u64) -> bool {
    seen > now && seen - now > HELD
}

/// What an algorithm found: how many units are free, and when there are more.
struct Standing {
    /// Units that could be had now.
    free: u32,
    /// For how long the request has to wait; 0 when it goes.
    wait_us: u64,
    /// For how long until all is free.
    full_us: u64,
}

impl Standing {
    fn decide(&self, capacity: u32) -> Decision {
        let reset = Duration::from_micros(self.full_us);
        if self.wait_us == 0 {
            Decision::allow(capacity, self.free, reset)
        } else {
            Decision::deny(capacity, self.free, Some(Duration::from_micros(self.wait_us)), reset)
        }
    }
}

/// A number of microseconds that began as a product.
fn micros(us: u128) -> u64 {
    u64::try_from(us).unwrap_or(u64::MAX)
}
