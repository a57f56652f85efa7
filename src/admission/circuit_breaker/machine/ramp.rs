//! The warm-up: for a while after the probes closed the circuit, only a growing share of calls goes through.
//!
//! A circuit that warms up is closed, but for who gets in: `RAMPING` is a kind of word of its own, so that the way into a circuit that
//! is simply closed pays nothing. Permits carry the word of the closed circuit of that generation, so nothing on the way out has to know.

use super::{CLOSED, KIND_MASK, Machine, RAMPING, Refusal, Ticket, nanos_or_never};
use crate::sync::atomic::{AtomicU64, Ordering};
use crate::sync::lock;

/// A whole call, in units of the level.
const WHOLE: u64 = 1 << 32;
/// The share that the warm-up begins with.
const FIRST: u64 = WHOLE / 10;

/// Times in nanoseconds. Written under the lock, before the word is.
#[derive(Debug, Default)]
pub(super) struct Ramp {
    ends: AtomicU64,
    length: AtomicU64,
    /// Each call adds the present share of a call to it, and whoever makes it whole goes through: of any number of calls, that share does.
    level: AtomicU64,
    refused: AtomicU64,
}

/// The word that permits of a circuit like this carry.
#[inline]
pub(super) const fn as_closed(word: u64) -> u64 {
    if word & KIND_MASK == RAMPING { word & !KIND_MASK | CLOSED } else { word }
}

impl Machine {
    /// What a circuit becomes whose probes succeeded.
    pub(super) fn kind_after_probes(&self, nanos: u64) -> u64 {
        let Some(time) = self.rules().config.ramp else { return CLOSED };
        let length = nanos_or_never(time);
        self.ramp.0.length.store(length, Ordering::Release);
        self.ramp.0.ends.store(nanos.saturating_add(length), Ordering::Release);
        // The first call goes.
        self.ramp.0.level.store(WHOLE, Ordering::Release);
        self.ramp.0.refused.store(0, Ordering::Release);
        RAMPING
    }

    /// Whether outcomes of permits with this word count now.
    #[inline]
    pub(super) fn is_current(&self, word: u64) -> bool {
        let now = self.face.word.load(Ordering::Acquire);
        now == word || as_closed(now) == word
    }

    /// How long the warm-up still lasts; `None` where there is none.
    pub(super) fn ramp_left(&self, word: u64, nanos: u64) -> Option<u64> {
        if word & KIND_MASK != RAMPING {
            return None;
        }
        let left = self.ramp.0.ends.load(Ordering::Acquire).saturating_sub(nanos);
        // Longer than it ever was: the clock went back.
        (left > 0 && left <= self.ramp.0.length.load(Ordering::Acquire)).then_some(left)
    }

    /// Who gets into a circuit that warms up.
    pub(super) fn climb(&self, word: u64, nanos: u64) -> Result<Ticket, Refusal> {
        let ticket = Ticket { word: as_closed(word), probe: 0 };
        let Some(left) = self.ramp_left(word, nanos) else {
            self.end_ramp(word);
            return Ok(ticket);
        };
        let gone = self.ramp.0.length.load(Ordering::Acquire).saturating_sub(left);
        let share = FIRST + (u128::from(WHOLE - FIRST) * u128::from(gone) / u128::from(gone + left)) as u64;
        let step = |level: u64| Some((level + share) % WHOLE);
        let level = self.ramp.0.level.fetch_update(Ordering::AcqRel, Ordering::Acquire, step).unwrap_or(0);
        if level.saturating_add(share) >= WHOLE {
            return Ok(ticket);
        }
        // Spread over what is left, or those who are told to wait would all come back with its end.
        let n = self.ramp.0.refused.fetch_add(1, Ordering::Relaxed);
        let spread = super::unit((word ^ n).wrapping_mul(0x9e37_79b9_7f4a_7c15));
        Err(Refusal(((left as f64 * spread) as u64).max(1)))
    }

    #[cold]
    fn end_ramp(&self, word: u64) {
        let _core = lock(&self.core);
        if self.face.word.load(Ordering::Relaxed) == word {
            self.face.word.store(as_closed(word), Ordering::Release);
        }
    }
}
