//! What is counted for each key, and which keys are refused most.

use super::hash::Hash;
use crate::outcome::Outcome;
use std::fmt;
use std::time::Duration;

/// The books of one key, in 32 bytes. Counters stop at 4,294,967,295.
#[derive(Debug, Default)]
pub(super) struct Tally {
    successes: u32,
    failures: u32,
    /// Ended, and neither a success nor a failure: ignored, abandoned, not attempted.
    others: u32,
    rejections: u32,
    /// Of successes and failures, in nanoseconds.
    total: u64,
    longest: u64,
}

impl Tally {
    pub(super) fn settle(&mut self, outcome: Outcome, took: u64) {
        let counter = match outcome {
            outcome if outcome.is_success() => &mut self.successes,
            outcome if outcome.is_failure() => &mut self.failures,
            _ => {
                self.others = self.others.saturating_add(1);
                return;
            }
        };
        *counter = counter.saturating_add(1);
        self.total = self.total.saturating_add(took);
        self.longest = self.longest.max(took);
    }

    pub(super) fn refused(&mut self) {
        self.rejections = self.rejections.saturating_add(1);
    }

    pub(super) fn read(&self) -> KeyCounts {
        let timed = u64::from(self.successes) + u64::from(self.failures);
        KeyCounts {
            calls: timed + u64::from(self.others),
            successes: self.successes.into(),
            failures: self.failures.into(),
            rejections: self.rejections.into(),
            mean: self.total.checked_div(timed).map(Duration::from_nanos),
            max: (timed > 0).then(|| Duration::from_nanos(self.longest)),
        }
    }
}

/// What was counted for one key, since the table knows it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct KeyCounts {
    /// Attempts that were let through and ended.
    pub calls: u64,
    /// Those that the dependency answered as it should.
    pub successes: u64,
    /// Those that failed, timed out or panicked.
    pub failures: u64,
    /// Attempts that a policy of this key refused.
    pub rejections: u64,
    /// How long successes and failures took on average; `None` before the first.
    pub mean: Option<Duration>,
    /// How long the longest of them took.
    pub max: Option<Duration>,
}

/// A key that was refused often; from [`PerKey::most_rejected`](super::PerKey::most_rejected).
///
/// Keys are not in its `Debug`, for that ends up in logs: ask for the [`key`](Self::key).
#[derive(Clone, PartialEq, Eq)]
pub struct RejectedKey {
    key: String,
    rejections: u64,
}

impl RejectedKey {
    /// The key: its first 48 bytes, with control characters escaped.
    #[must_use]
    pub fn key(&self) -> &str {
        &self.key
    }

    /// How often it was refused, or a little less often: one that took the place of another on the list took over its count.
    #[must_use]
    pub const fn rejections(&self) -> u64 {
        self.rejections
    }
}

impl fmt::Debug for RejectedKey {
    #[inline]
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RejectedKey").field("rejections", &self.rejections).finish_non_exhaustive()
    }
}

/// So much of a key is kept to show to people.
const TEXT: usize = 48;

#[derive(Clone, Debug)]
struct Place {
    hash: Hash,
    rejections: u64,
    len: u8,
    text: [u8; TEXT],
}

/// The keys that are refused most, by the algorithm *Space-Saving* (Metwally, Agrawal, El Abbadi: Efficient computation of frequent and
/// top-k elements in data streams, 2005): who is not on the list takes the place of the last, and its count. So a flood of keys that
/// are refused once pushes out nobody who was refused often.
#[derive(Debug, Default)]
pub(super) struct Top {
    places: Vec<Place>,
}

impl Top {
    /// With all the memory it will ever use, so that a refusal allocates nothing.
    pub(super) fn new(places: usize) -> Self {
        Self { places: Vec::with_capacity(places) }
    }

    /// Without its text, a key that is not on the list stays off it.
    pub(super) fn add(&mut self, hash: Hash, key: Option<&str>) {
        if let Some(place) = self.places.iter_mut().find(|place| place.hash == hash) {
            place.rejections += 1;
            return;
        }
        let Some(key) = key else { return };
        let cut = key.floor_char_boundary_of(TEXT);
        let mut text = [0; TEXT];
        text[..cut].copy_from_slice(&key.as_bytes()[..cut]);
        let mut place = Place { hash, rejections: 1, len: cut as u8, text };
        if self.places.len() < self.places.capacity() {
            self.places.push(place);
        } else if let Some(last) = self.places.iter_mut().min_by_key(|place| place.rejections) {
            place.rejections += last.rejections;
            *last = place;
        }
    }

    #[inline]
    pub(super) fn forget(&mut self, hash: Hash) {
        self.places.retain(|place| place.hash != hash);
    }

    #[inline]
    pub(super) fn read(&self, into: &mut Vec<RejectedKey>) {
        for place in &self.places {
            let text = String::from_utf8_lossy(&place.text[..usize::from(place.len)]);
            into.push(RejectedKey { key: shown(&text), rejections: place.rejections });
        }
    }
}

/// A key as it may stand in a log.
#[inline]
fn shown(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    for char in text.chars() {
        // Controls, and what turns the direction of a line or hides in it.
        if char.is_control() || matches!(char, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}') {
            shown.extend(char.escape_default());
        } else {
            shown.push(char);
        }
    }
    shown
}

trait CharBoundary {
    /// The largest boundary at most there. (`str::floor_char_boundary` is younger than the oldest compiler we serve.)
    fn floor_char_boundary_of(&self, most: usize) -> usize;
}

impl CharBoundary for str {
    fn floor_char_boundary_of(&self, most: usize) -> usize {
        let mut at = most.min(self.len());
        while !self.is_char_boundary(at) {
            at -= 1;
        }
        at
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn h87_a_flood_pushes_out_nobody_who_is_refused_often() {
        let mut top = Top::new(4);
        for round in 0..100_u64 {
            (0..10).for_each(|_| top.add(Hash { high: 0, low: 1 }, Some("heavy")));
            top.add(Hash { high: 1, low: round }, Some("once"));
        }
        let mut read = Vec::new();
        top.read(&mut read);
        assert!(read.iter().any(|key| key.key() == "heavy" && key.rejections() == 1_000), "{read:?}");
        assert_eq!(read.len(), 4);
    }

    #[test]
    fn h85_keys_are_shown_on_one_line_and_cut_at_a_character() {
        let mut top = Top::new(2);
        top.add(Hash { high: 0, low: 1 }, Some(&format!("{}ä", "x".repeat(47))));
        top.add(Hash { high: 0, low: 2 }, Some("a\r\nb\u{1b}[31m\u{202e}"));
        let mut read = Vec::new();
        top.read(&mut read);
        assert_eq!(read[0].key(), "x".repeat(47));
        assert_eq!(read[1].key(), "a\\r\\nb\\u{1b}[31m\\u{202e}");
    }
}
