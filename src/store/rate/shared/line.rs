//! Who waits for units of a key, in this process.
//!
//! Whoever comes has a number, and keeps it until it goes. The first may ask the store once the moment has come that the last refusal named; as
//! many with it as the last grant said there is for. One that is not polled when its turn has come, parked in a `select!` for instance, is passed
//! over after a while by those behind, and first again when it is back.

use crate::store::Key;
use crate::sync::{Mutex, lock};
use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Notify;
use tokio::time::Instant;

/// No more ask at once for one key: enough for 64,000 units a second over a round trip of a millisecond.
const WIDEST: u32 = 64;

#[derive(Default)]
pub(super) struct Lines(Mutex<HashMap<Key, Line>>);

struct Line {
    waiting: VecDeque<Ticket>,
    next: u64,
    /// How many of the first may ask.
    width: u32,
    /// From when on.
    until: Instant,
}

struct Ticket {
    number: u64,
    units: u32,
    wake: Arc<Notify>,
    /// Did not take its turn.
    away: bool,
}

/// A place in line. Dropped, those behind move up.
pub(super) struct Place {
    lines: Arc<Lines>,
    key: Key,
    number: u64,
    wake: Arc<Notify>,
}

/// What somebody in line is to do.
pub(super) enum Turn {
    Ask,
    /// Look again then, or when woken.
    Wait(Instant),
}

impl Lines {
    /// From when on the first in line may ask, and how many units are wanted in all; `None` where nobody is in line.
    pub(super) fn ahead(&self, key: &Key) -> Option<(Instant, u64)> {
        let lines = lock(&self.0);
        let line = lines.get(key)?;
        Some((line.until, line.waiting.iter().map(|ticket| u64::from(ticket.units)).sum()))
    }

    /// The last place in line, which begins with it where there is none: with a turn at `until`.
    pub(super) fn enter(self: &Arc<Self>, key: &Key, units: u32, until: Instant) -> Place {
        let wake = Arc::new(Notify::new());
        let mut lines = lock(&self.0);
        let line = lines.entry(key.clone()).or_insert_with(|| Line { waiting: VecDeque::new(), next: 0, width: 1, until });
        let number = line.next;
        line.next += 1;
        line.waiting.push_back(Ticket { number, units, wake: Arc::clone(&wake), away: false });
        Place { lines: Arc::clone(self), key: key.clone(), number, wake }
    }
}

impl Place {
    /// `patience`: after how long one that does not take its turn is passed over.
    pub(super) fn turn(&self, now: Instant, patience: Duration) -> Turn {
        let mut lines = lock(&self.lines.0);
        let Some(line) = lines.get_mut(&self.key) else { return Turn::Ask };
        let place = line.waiting.iter().position(|ticket| ticket.number == self.number).unwrap_or(0);
        if let Some(ticket) = line.waiting.get_mut(place) {
            ticket.away = false;
        }
        let rank = line.waiting.iter().take(place).filter(|ticket| !ticket.away).count();
        let late = u32::try_from(rank).unwrap_or(u32::MAX).saturating_add(1).saturating_sub(line.width);
        let moment = line.until + patience * late.min(1_000);
        if now < moment {
            return Turn::Wait(moment);
        }
        if late > 0 {
            line.waiting.iter_mut().take(place).for_each(|ticket| ticket.away = true);
        }
        Turn::Ask
    }

    /// The store has refused: nobody need ask before then.
    pub(super) fn refused(&self, until: Instant) {
        self.change(1, until);
    }

    /// The store has granted, and so many more are there.
    pub(super) fn granted(self, remaining: u32, now: Instant) {
        self.change(remaining.saturating_add(1).min(WIDEST), now);
        // Dropped, it leaves and wakes those who are first now.
    }

    fn change(&self, width: u32, until: Instant) {
        if let Some(line) = lock(&self.lines.0).get_mut(&self.key) {
            (line.width, line.until) = (width, until);
        }
    }

    pub(super) async fn woken(&self) {
        self.wake.notified().await;
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut first: Vec<Arc<Notify>> = Vec::new();
        {
            let mut lines = lock(&self.lines.0);
            let Some(line) = lines.get_mut(&self.key) else { return };
            line.waiting.retain(|ticket| ticket.number != self.number);
            let width = usize::try_from(line.width).unwrap_or(usize::MAX);
            let present = line.waiting.iter().filter(|ticket| !ticket.away).take(width);
            first.extend(present.map(|ticket| Arc::clone(&ticket.wake)));
            if line.waiting.is_empty() {
                lines.remove(&self.key);
            }
        }
        // Not under the lock: wakers are somebody else's code. One who is not waiting just now finds the note when it does.
        first.iter().for_each(|wake| wake.notify_one());
    }
}
