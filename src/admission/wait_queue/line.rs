//! The line of people waiting, as a plain machine: no lock, no timer, no future. Time and supply come in as arguments.

use super::book::{Book, Key};
use super::codel::{CoDel, Shedder};
use super::{GLANCE, PATIENCE, Take};
use crate::call::Priority;
use crate::time;
use std::task::Waker;
use std::time::Duration;
use tokio::time::Instant;

pub(super) type Index = usize;

/// Where a waiter stands: who came earlier, each step down in priority counting as one step of ageing later.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Rank {
    moment: u128,
    number: u64,
    index: Index,
}

impl Rank {
    const fn key(self) -> Key {
        (self.moment, self.number)
    }

    const fn of(((moment, number), index): (Key, Index)) -> Self {
        Self { moment, number, index }
    }

    fn is_before(self, other: Self) -> bool {
        self.cmp(&other).is_lt()
    }
}

/// What a line knows of what is waited for.
pub(super) trait Source {
    /// How many waiters may be called up at the same time.
    fn slots(&self) -> usize;
    /// Takes `cost` units for the waiter whose turn it is, and keeps what it was given.
    fn take(&mut self, now: Instant, cost: u32) -> Take<()>;
}

#[derive(Clone, Copy, Debug)]
enum Role {
    /// Waits to be woken.
    Asleep,
    /// Next in line, woken to see that those called up do come. `since` is the stamp of its yield, `until` when it looks again.
    Watching { since: Option<u64>, until: Option<Instant> },
    /// May take. `due` is when, where the supply could tell; before its first answer it is due at once.
    Called { stamp: u64, due: Option<Instant> },
    /// Was called, did not come, and others went on. It has been woken and keeps its place: polled again, it stands where it stood.
    Passed,
    /// Had to leave for somebody more important; it learns so at its next poll.
    Evicted,
}

#[derive(Debug)]
struct Waiter {
    rank: Rank,
    /// When it came, in nanoseconds from the first arrival.
    since: u64,
    level: u8,
    cost: u32,
    role: Role,
    /// It was passed over once and came after all: not parked, only slow to be polled (behind a long task, say, or in another runtime).
    slow: bool,
    /// `None` from the wake to the next poll: who has been woken needs no second wake.
    waker: Option<Waker>,
}

/// Under what circumstances a waiter is polled.
#[derive(Clone, Copy, Debug)]
pub(super) struct Here {
    pub(super) now: Instant,
    /// Whether there is a timer, and time left, to give another one a little longer.
    pub(super) courteous: bool,
    /// Whether others are polled on other threads, so that a turn of this one proves nothing.
    pub(super) threads: bool,
}

/// What a poll came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    Taken,
    Evicted,
    /// It was its turn, and it has waited too long.
    Shed,
    /// Not yet, but at that moment, if the supply could tell.
    Pending(Option<Instant>),
    /// Not yet; to look then whether the one in front has come.
    Watch(Instant),
}

/// Wakers to be called, and old ones to be dropped, once the lock is released. A fixed number, so that a release allocates nothing.
#[derive(Debug)]
pub(super) struct Wakes {
    list: [Option<Waker>; 16],
    len: usize,
    /// The polled waiter itself wants another turn after everybody who is already awake.
    pub(super) again: bool,
    spent: Option<Waker>,
}

impl Wakes {
    pub(super) fn new() -> Self {
        Self { list: [const { None }; 16], len: 0, again: false, spent: None }
    }

    fn push(&mut self, waker: Option<Waker>) {
        if waker.is_some() {
            self.list[self.len] = waker;
            self.len += 1;
        }
    }

    /// Room for one call-up, the watchman behind it, one more watchman and an evicted waiter.
    fn has_room(&self) -> bool {
        self.list[self.len..].len() >= 4
    }

    pub(super) fn wake(mut self) {
        for place in &mut self.list {
            if let Some(waker) = place.take() {
                waker.wake();
            }
        }
    }
}

#[derive(Debug, Default)]
pub(super) struct Line {
    /// A slab: a waiter keeps its index until it leaves.
    waiters: Vec<Option<Waiter>>,
    vacant: Vec<Index>,
    /// By rank.
    asleep: Book,
    /// By rank.
    watching: Book,
    /// By [stamp](stamped): the first has been silent longest.
    called: Book,
    /// By priority, then by arrival: the last is whom a more important newcomer displaces.
    displaceable: Book,
    /// What those stand for who have not been passed over, by priority.
    costs: [u64; Priority::ALL.len()],
    stamp: u64,
    arrivals: u64,
    /// Moments are counted from the first arrival, and never go back.
    epoch: Option<Instant>,
    latest: u64,
    /// The watchman woken last.
    lookout: Option<Index>,
    /// Up to which stamp, and since when, somebody at the door has known that calls went unanswered.
    doubt: Option<(u64, Instant)>,
    shedder: Option<Shedder>,
}

const fn stamped(stamp: u64) -> Key {
    (0, stamp)
}

impl Line {
    pub(super) fn len(&self) -> usize {
        self.displaceable.len()
    }

    /// What stands before a newcomer of this priority at the least, in units of cost.
    pub(super) fn cost_ahead(&self, priority: Priority) -> u64 {
        let mut sum = 0_u64;
        for cost in &self.costs[..=priority as usize] {
            sum = sum.saturating_add(*cost);
        }
        sum
    }

    /// Whether a newcomer would overtake nobody: those passed over keep a place, not a claim.
    pub(super) fn is_clear(&self, slots: usize) -> bool {
        self.asleep.is_empty() && self.watching.is_empty() && self.called.len() < slots
    }

    pub(super) fn shedding(&self) -> Option<CoDel> {
        self.shedder.as_ref().map(|shedder| shedder.codel)
    }

    /// Sheds on these terms from now on.
    pub(super) fn set_shedding(&mut self, codel: Option<CoDel>) {
        if self.shedding() != codel {
            let now = self.epoch.map_or(0, |epoch| time::nanos_since(epoch, Instant::now()));
            self.shedder = codel.map(|codel| Shedder::new(codel, now));
        }
    }

    /// Nobody stands in line, those passed over excepted.
    fn is_empty(&self) -> bool {
        self.asleep.is_empty() && self.watching.is_empty() && self.called.is_empty()
    }

    /// Places a newcomer at the end of its priority, asleep.
    pub(super) fn join(&mut self, now: Instant, priority: Priority, cost: u32, ageing: Duration, critical_first: bool) -> Index {
        let epoch = *self.epoch.get_or_insert(now);
        self.latest = self.latest.max(time::nanos_since(epoch, now));
        self.arrivals += 1;
        let is_first = self.is_empty();
        let since = self.shedder.as_mut().map_or(self.latest, |shedder| {
            // Not `now`, which may be the beginning of a call that has stood in another line since.
            let since = time::nanos_since(epoch, Instant::now());
            if is_first {
                shedder.first_joins(since);
            }
            since
        });
        let level = priority as u8;
        let index = self.vacant.pop().unwrap_or_else(|| {
            self.waiters.push(None);
            self.waiters.len() - 1
        });
        let moment = match priority {
            Priority::Critical if critical_first => 0,
            _ => u128::from(self.latest).saturating_add(ageing.as_nanos().saturating_mul(u128::from(level))),
        };
        let rank = Rank { moment, number: self.arrivals, index };
        self.waiters[index] = Some(Waiter { rank, since, level, cost, role: Role::Asleep, slow: false, waker: None });
        self.asleep.insert(rank.key(), index);
        self.displaceable.insert((u128::from(level), rank.number), index);
        self.costs[usize::from(level)] += u64::from(cost);
        self.give_way(rank);
        index
    }

    /// Who waits for a moment gives way to somebody who stands before it now, and keeps its place behind.
    fn give_way(&mut self, newcomer: Rank) {
        let Some((stamp, index)) = self.called.last() else { return };
        let Some(waiter) = &mut self.waiters[index] else { return };
        if newcomer.is_before(waiter.rank) && waiter.waker.is_some() && matches!(waiter.role, Role::Called { due: Some(_), .. }) {
            waiter.role = Role::Asleep;
            self.asleep.insert(waiter.rank.key(), index);
            self.called.remove(stamp);
        }
    }

    /// Makes room for a newcomer by sending away the newest of the least important, if that is less important than the newcomer.
    pub(super) fn displace(&mut self, priority: Priority, wakes: &mut Wakes) -> bool {
        let Some(((level, _), index)) = self.displaceable.last() else { return false };
        if level <= priority as u128 {
            return false;
        }
        self.withdraw(index);
        if let Some(waiter) = &mut self.waiters[index] {
            waiter.role = Role::Evicted;
            wakes.push(waiter.waker.take());
        }
        true
    }

    /// A waiter is gone. Its waker is returned, to be dropped where no lock is held.
    pub(super) fn leave(&mut self, index: Index) -> Option<Waker> {
        self.withdraw(index);
        let waiter = self.waiters[index].take()?;
        self.vacant.push(index);
        waiter.waker
    }

    /// Takes a waiter out of the line, its slot excepted.
    fn withdraw(&mut self, index: Index) {
        let Some(&Waiter { rank, level, cost, role, .. }) = self.waiters[index].as_ref() else { return };
        match role {
            Role::Asleep => _ = self.asleep.remove(rank.key()),
            Role::Watching { .. } => self.relieve(rank),
            Role::Called { stamp, .. } => _ = self.called.remove(stamped(stamp)),
            Role::Passed => {}
            Role::Evicted => return,
        }
        if !matches!(role, Role::Passed) {
            self.costs[usize::from(level)] -= u64::from(cost);
        }
        self.displaceable.remove((u128::from(level), rank.number));
    }

    fn relieve(&mut self, watchman: Rank) {
        self.watching.remove(watchman.key());
        if self.lookout == Some(watchman.index) {
            self.lookout = self.watching.last().map(|(_, index)| index);
        }
    }

    /// Something happened: a release, an arrival, a departure. Calls up whom there is room for, and where the watchman woken by an
    /// earlier event has not come either, wakes one more, so that every event reaches one waiter further.
    pub(super) fn stir(&mut self, slots: usize, now: Option<Instant>, wakes: &mut Wakes) -> bool {
        let silent = self.lookout.filter(|&index| self.is_silent(index, now));
        let more = self.call_up(slots, wakes);
        if silent.is_some() && self.lookout == silent && !self.called.is_empty() {
            self.post_watchman(wakes);
        }
        more
    }

    fn is_silent(&self, index: Index, now: Option<Instant>) -> bool {
        self.waiters[index].as_ref().is_some_and(|waiter| match waiter.role {
            Role::Watching { until, .. } => waiter.waker.is_none() || until.is_some_and(|until| now.is_some_and(|now| until <= now)),
            _ => false,
        })
    }

    /// Calls up the first in line while there are slots for more, and posts a watchman behind them. True when there is more to do
    /// once the wakers collected so far have been called.
    pub(super) fn call_up(&mut self, slots: usize, wakes: &mut Wakes) -> bool {
        while self.called.len() < slots {
            let Some(first) = self.first() else { break };
            if !wakes.has_room() {
                return true;
            }
            self.call(first, wakes);
        }
        if !self.called.is_empty() && self.watching.is_empty() {
            self.post_watchman(wakes);
        }
        false
    }

    /// The first in line of those not called up.
    fn first(&self) -> Option<Rank> {
        match (self.watching.first(), self.asleep.first()) {
            (Some(watching), Some(asleep)) => Some(Rank::of(watching).min(Rank::of(asleep))),
            (one, other) => one.or(other).map(Rank::of),
        }
    }

    fn call(&mut self, rank: Rank, wakes: &mut Wakes) {
        self.asleep.remove(rank.key());
        self.relieve(rank);
        self.stamp += 1;
        self.called.insert(stamped(self.stamp), rank.index);
        if let Some(waiter) = &mut self.waiters[rank.index] {
            waiter.role = Role::Called { stamp: self.stamp, due: None };
            wakes.push(waiter.waker.take());
        }
    }

    fn stand_down(&mut self, watchman: Rank) {
        self.relieve(watchman);
        self.asleep.insert(watchman.key(), watchman.index);
        self.set_role(watchman.index, Role::Asleep);
    }

    fn post_watchman(&mut self, wakes: &mut Wakes) {
        let Some(rank) = self.asleep.first().map(Rank::of) else { return };
        self.asleep.remove(rank.key());
        self.watching.insert(rank.key(), rank.index);
        self.lookout = Some(rank.index);
        if let Some(waiter) = &mut self.waiters[rank.index] {
            waiter.role = Role::Watching { since: None, until: None };
            wakes.push(waiter.waker.take());
        }
    }

    /// A waiter is polled. `waker` is taken if it has to wait on.
    pub(super) fn poll(&mut self, index: Index, here: Here, waker: &mut Option<Waker>, supply: &mut dyn Source, wakes: &mut Wakes) -> Step {
        let Some(waiter) = &mut self.waiters[index] else { return Step::Evicted };
        // It is here: nothing below needs to wake it.
        wakes.spent = waiter.waker.take();
        match waiter.role {
            Role::Evicted => {
                self.leave(index);
                return Step::Evicted;
            }
            Role::Passed => {
                waiter.role = Role::Asleep;
                waiter.slow = true;
                let rank = waiter.rank;
                self.asleep.insert(rank.key(), index);
                self.costs[usize::from(waiter.level)] += u64::from(waiter.cost);
                self.give_way(rank);
            }
            _ => {}
        }
        self.call_up(supply.slots(), wakes);
        let step = self.advance(index, here, supply, wakes);
        if let (Step::Pending(_) | Step::Watch(_), false, Some(waiter)) = (step, wakes.again, &mut self.waiters[index]) {
            waiter.waker = waker.take();
        }
        step
    }

    fn advance(&mut self, index: Index, here: Here, supply: &mut dyn Source, wakes: &mut Wakes) -> Step {
        let now = here.now;
        loop {
            let Some(waiter) = &mut self.waiters[index] else { return Step::Evicted };
            match waiter.role {
                Role::Called { stamp, .. } => {
                    self.called.remove(stamped(stamp));
                    let (cost, since, measured) = (waiter.cost, waiter.since, !waiter.slow);
                    if measured && self.sheds(since, now) {
                        self.set_role(index, Role::Asleep);
                        self.leave(index);
                        return Step::Shed;
                    }
                    let Some(waiter) = &mut self.waiters[index] else { return Step::Evicted };
                    match supply.take(now, cost) {
                        Take::Taken(()) => {
                            // Out of `called` already: only the slot and the books remain.
                            waiter.role = Role::Asleep;
                            self.leave(index);
                            self.taken(since, now, measured);
                            return Step::Taken;
                        }
                        Take::At(due) => {
                            let rank = waiter.rank;
                            if self.first().is_some_and(|first| first.is_before(rank)) {
                                // Somebody more important came after the call and before this poll: the next moment is theirs.
                                self.set_role(index, Role::Asleep);
                                self.asleep.insert(rank.key(), index);
                                self.call_up(supply.slots(), wakes);
                                continue;
                            }
                            self.stamp += 1;
                            self.set_role(index, Role::Called { stamp: self.stamp, due: Some(due) });
                            self.called.insert(stamped(self.stamp), index);
                            return Step::Pending(Some(due));
                        }
                        Take::NotNow => {
                            waiter.role = Role::Asleep;
                            self.asleep.insert(waiter.rank.key(), index);
                            return Step::Pending(None);
                        }
                    }
                }
                Role::Watching { since, until } => {
                    let rank = waiter.rank;
                    let Some(((_, stamp), silent)) = self.called.first() else {
                        self.stand_down(rank);
                        return Step::Pending(None);
                    };
                    match self.due(silent) {
                        Some(due) if due > now => {
                            // One timer beside that of the first in line is enough.
                            let other = self.watching.first().map(|(_, first)| first).filter(|first| *first != index);
                            if other.is_some_and(|other| !self.is_silent(other, Some(now))) {
                                self.stand_down(rank);
                                return Step::Pending(None);
                            }
                            self.set_role(index, Role::Watching { since: None, until: Some(due) });
                            return Step::Watch(due);
                        }
                        _ if since.is_some_and(|since| stamp <= since) => {
                            if let Some(until) = until.filter(|&until| here.courteous && now < until) {
                                return Step::Watch(until);
                            }
                            // It had its turn between two of ours and did not take it: parked somewhere, unpolled.
                            self.pass_over(stamp);
                            self.call(rank, wakes);
                        }
                        _ => {
                            // Once more around the executor, so that whoever is awake goes first; and longer where that proves little.
                            let slow = self.waiters[silent].as_ref().is_some_and(|waiter| waiter.slow);
                            let longer = if slow { Some(PATIENCE) } else { here.threads.then_some(GLANCE) };
                            let until = longer.and_then(|longer| now.checked_add(longer));
                            self.set_role(index, Role::Watching { since: Some(self.stamp), until });
                            wakes.again = true;
                            return Step::Pending(None);
                        }
                    }
                }
                Role::Asleep | Role::Passed | Role::Evicted => return Step::Pending(None),
            }
        }
    }

    /// Whether one whose turn it is has waited too long. Somebody has to be behind it, to take the turn in its stead.
    fn sheds(&mut self, since: u64, now: Instant) -> bool {
        let behind = self.first().is_some();
        let (Some(shedder), Some(epoch), true) = (&mut self.shedder, self.epoch, behind) else { return false };
        shedder.sheds(since, time::nanos_since(epoch, now))
    }

    fn taken(&mut self, since: u64, now: Instant, measured: bool) {
        let is_empty = self.is_empty();
        if let (Some(shedder), Some(epoch), true) = (&mut self.shedder, self.epoch, measured) {
            shedder.taken(since, time::nanos_since(epoch, now), is_empty);
        }
    }

    fn due(&self, index: Index) -> Option<Instant> {
        match self.waiters[index].as_ref()?.role {
            Role::Called { due, .. } => due,
            _ => None,
        }
    }

    fn set_role(&mut self, index: Index, role: Role) {
        if let Some(waiter) = &mut self.waiters[index] {
            waiter.role = role;
        }
    }

    fn pass_over(&mut self, stamp: u64) {
        let Some(index) = self.called.remove(stamped(stamp)) else { return };
        if let Some(waiter) = &mut self.waiters[index] {
            waiter.role = Role::Passed;
            self.costs[usize::from(waiter.level)] -= u64::from(waiter.cost);
        }
    }

    /// Somebody at the door finds the way barred. Those whose call has gone unanswered since somebody found the same [`PATIENCE`] ago
    /// are passed over: an arrival that cannot wait has no other way to tell.
    pub(super) fn doubt(&mut self, now: Instant) {
        let Some(oldest) = self.silent_call(now) else { return };
        match self.doubt {
            Some((doubted, since)) if oldest <= doubted => {
                if now.saturating_duration_since(since) >= PATIENCE {
                    while let Some(stamp) = self.silent_call(now).filter(|stamp| *stamp <= doubted) {
                        self.pass_over(stamp);
                    }
                }
            }
            _ => self.doubt = Some((self.stamp, now)),
        }
    }

    /// Who was called up first of those who could take and have not come.
    fn silent_call(&self, now: Instant) -> Option<u64> {
        let ((_, stamp), index) = self.called.first()?;
        self.due(index).is_none_or(|due| due <= now).then_some(stamp)
    }

    /// The supply changed its times: those who wait for a moment ask again.
    pub(super) fn retime(&mut self, wakes: &mut Wakes) {
        for index in self.called.indices().chain(self.lookout).take(8) {
            if let Some(waiter) = &mut self.waiters[index] {
                wakes.push(waiter.waker.take());
            }
        }
    }
}
