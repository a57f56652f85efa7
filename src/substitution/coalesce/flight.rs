//! One key in flight: who leads, who follows, and how one takes over from the other.
//!
//! # Implementation details
//!
//! Two locks, the map's before the flight's. A flight that is *done* takes nobody in any more, and whoever finds one in the map puts a
//! new one in its place; so the order in which it is done and taken out does not matter. Under neither lock runs code of anybody else:
//! keys are hashes, answers are cloned and dropped outside, and wakers are cloned before and woken after.
//!
//! Leadership is *put on the table*, not handed over: a vacancy wakes the first follower, but whoever is polled first takes it. So a
//! follower that is parked somewhere cannot hold up the others; one that is dropped instead of coming wakes the next; and every
//! follower looks by itself once in a while.

use super::{CoalesceConfig, CoalesceStats};
use crate::admission::keyed::{Hash, Secret};
use crate::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use crate::sync::{Counter, Mutex, Padded, lock};
use crate::time;
use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::task::{Wake, Waker};
use std::time::Duration;
use tokio::time::Instant;

#[cfg(not(steadfast_loom))]
const PARTS: usize = 8;
#[cfg(steadfast_loom)]
const PARTS: usize = 1;

type Flights<T, E> = HashMap<Hash, Arc<Flight<T, E>>, std::hash::BuildHasherDefault<AsIs>>;

/// The keys are hashes already.
#[derive(Default)]
pub(super) struct AsIs(u64);

impl std::hash::Hasher for AsIs {
    fn write(&mut self, _bytes: &[u8]) {}
    fn write_u64(&mut self, word: u64) {
        self.0 = word;
    }
    fn finish(&self) -> u64 {
        self.0
    }
}

/// What the clones of a group share.
pub(super) struct Group<T, E> {
    secret: Secret,
    parts: [Padded<Mutex<Flights<T, E>>>; PARTS],
    in_flight: AtomicUsize,
    share_errors: AtomicBool,
    max_keys: AtomicUsize,
    /// In nanoseconds; the maximum is for ever.
    patience: AtomicU64,
    max_wait: AtomicU64,
    counts: Counts,
}

#[derive(Default)]
struct Counts {
    led: Counter,
    shared: Counter,
    handed_over: Counter,
    impatient: Counter,
    alone: Counter,
}

struct Flight<T, E> {
    state: Mutex<State<T, E>>,
}

struct State<T, E> {
    line: Line,
    answer: Option<Arc<Result<T, E>>>,
}

/// Who leads and who follows. Nothing in it depends on what is answered.
struct Line {
    leader: Option<Leader>,
    /// Takes nobody in any more.
    done: bool,
    next: u64,
    /// In the order in which they came.
    followers: VecDeque<(u64, Option<Waker>)>,
}

struct Leader {
    id: u64,
    since: Instant,
    beat: Arc<Beat>,
}

/// Between a leader and its operation: whether it was called, and whether it came.
#[derive(Default)]
pub(super) struct Beat {
    /// Called since it was polled last.
    called: AtomicBool,
    polls: AtomicU64,
    waker: Mutex<Option<Waker>>,
}

impl Wake for Beat {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.called.store(true, Ordering::Release);
        let waker = lock(&self.waker).take();
        if let Some(waker) = waker {
            waker.wake();
        }
    }
}

impl Beat {
    /// The leader is here.
    pub(super) fn poll(&self, waker: &Waker) {
        self.polls.fetch_add(1, Ordering::Relaxed);
        self.called.store(false, Ordering::Release);
        let waker = waker.clone();
        let before = lock(&self.waker).replace(waker);
        drop(before);
    }

    /// `Some` when it was called and has not come; the number tells one time from another.
    fn missing(&self) -> Option<u64> {
        self.called.load(Ordering::Acquire).then(|| self.polls.load(Ordering::Relaxed))
    }
}

impl<T, E> Group<T, E> {
    pub(super) fn new(config: CoalesceConfig) -> Self {
        let group = Self {
            secret: Secret::random(),
            parts: std::array::from_fn(|_| Padded(Mutex::new(HashMap::default()))),
            in_flight: AtomicUsize::new(0),
            share_errors: AtomicBool::new(true),
            max_keys: AtomicUsize::new(0),
            patience: AtomicU64::new(0),
            max_wait: AtomicU64::new(0),
            counts: Counts::default(),
        };
        group.set(&config);
        group
    }

    pub(super) fn set(&self, config: &CoalesceConfig) {
        self.share_errors.store(config.share_errors, Ordering::Relaxed);
        self.max_keys.store(config.max_keys, Ordering::Relaxed);
        self.patience.store(time::nanos(config.patience), Ordering::Relaxed);
        self.max_wait.store(time::nanos(config.max_wait), Ordering::Relaxed);
    }

    pub(super) fn config(&self) -> CoalesceConfig {
        CoalesceConfig {
            share_errors: self.share_errors.load(Ordering::Relaxed),
            max_keys: self.max_keys.load(Ordering::Relaxed),
            patience: time::from_nanos(self.patience.load(Ordering::Relaxed)),
            max_wait: time::from_nanos(self.max_wait.load(Ordering::Relaxed)),
        }
    }

    pub(super) fn hash<K: std::hash::Hash + ?Sized>(&self, key: &K) -> Hash {
        self.secret.digest(key)
    }

    /// How often a follower looks after its leader, and for how long at most.
    pub(super) fn limits(&self) -> [Duration; 2] {
        [&self.patience, &self.max_wait].map(|time| time::from_nanos(time.load(Ordering::Relaxed)))
    }

    pub(super) fn ran_alone(&self) {
        self.counts.alone.add(1);
    }

    pub(super) fn in_flight(&self) -> usize {
        self.in_flight.load(Ordering::Relaxed)
    }

    pub(super) fn stats(&self) -> CoalesceStats {
        let Counts { led, shared, handed_over, impatient, alone } = &self.counts;
        CoalesceStats {
            led: led.get(),
            shared: shared.get(),
            handed_over: handed_over.get(),
            impatient: impatient.get(),
            alone: alone.get(),
        }
    }

    fn part(&self, hash: Hash) -> &Mutex<Flights<T, E>> {
        &self.parts[hash.high as usize % PARTS].0
    }

    /// A seat in the flight of this key, the leader's if there is none; `None` where there are too many flights.
    pub(super) fn join(&self, hash: Hash, now: Instant) -> Option<Seat<'_, T, E>> {
        let mut flights = lock(self.part(hash));
        if let Some(flight) = flights.get(&hash) {
            let mut state = lock(&flight.state);
            if !state.line.done {
                let id = state.line.join();
                drop(state);
                let flight = Arc::clone(flight);
                return Some(Seat { group: self, hash, flight, id, role: Role::Follower, seen: None });
            }
        }
        let max = self.max_keys.load(Ordering::Relaxed);
        let known = flights.contains_key(&hash);
        if !known && self.in_flight.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |n| (n < max).then_some(n + 1)).is_err() {
            return None;
        }
        let beat = Arc::new(Beat::default());
        let leader = Leader { id: 0, since: now, beat: Arc::clone(&beat) };
        let line = Line { leader: Some(leader), done: false, next: 1, followers: VecDeque::new() };
        let flight = Arc::new(Flight { state: Mutex::new(State { line, answer: None }) });
        let before = flights.insert(hash, Arc::clone(&flight));
        drop(flights);
        drop(before); // its answer may be the last of its kind
        self.counts.led.add(1);
        Some(Seat { group: self, hash, flight, id: 0, role: Role::leader(beat), seen: None })
    }

    /// A flight that is done is taken out, unless another one has taken its place.
    fn take_out(&self, hash: Hash, flight: &Arc<Flight<T, E>>) {
        let mut flights = lock(self.part(hash));
        let gone = if flights.get(&hash).is_some_and(|there| Arc::ptr_eq(there, flight)) { flights.remove(&hash) } else { None };
        drop(flights);
        if gone.is_some() {
            self.in_flight.fetch_sub(1, Ordering::Relaxed);
        }
    }
}

impl Line {
    fn join(&mut self) -> u64 {
        let id = self.next;
        self.next += 1;
        self.followers.push_back((id, None));
        id
    }

    fn follower(&mut self, id: u64) -> Option<&mut Option<Waker>> {
        let place = self.followers.binary_search_by_key(&id, |(id, _)| *id).ok()?;
        self.followers.get_mut(place).map(|(_, waker)| waker)
    }

    /// The waker, if it was on the list and had left one.
    #[inline]
    fn forget(&mut self, id: u64) -> Option<Waker> {
        let place = self.followers.binary_search_by_key(&id, |(id, _)| *id).ok()?;
        self.followers.remove(place)?.1
    }

    /// The leader is gone: its place is free, and the first who follows is woken. `None` in the first place: nobody follows, so it is done.
    fn vacate(&mut self) -> Option<Waker> {
        self.leader = None;
        self.call_up()
    }

    fn call_up(&mut self) -> Option<Waker> {
        self.done = self.followers.is_empty();
        self.followers.iter_mut().find_map(|(_, waker)| waker.take())
    }

    fn lead(&mut self, id: u64, now: Instant) -> Arc<Beat> {
        let beat = Arc::new(Beat::default());
        self.leader = Some(Leader { id, since: now, beat: Arc::clone(&beat) });
        beat
    }
}

pub(super) enum Role {
    Leader {
        beat: Arc<Beat>,
        /// What its operation is given to call it.
        waker: Waker,
    },
    Follower,
    Gone,
}

impl Role {
    fn leader(beat: Arc<Beat>) -> Self {
        let waker = Waker::from(Arc::clone(&beat));
        Self::Leader { beat, waker }
    }
}

/// A leader that did not come when it was called, as a follower saw it: who, and after how many polls.
type Missed = (u64, u64);

/// A place in a flight. Dropped, it hands over, or is missed by nobody.
pub(super) struct Seat<'a, T, E> {
    pub(super) group: &'a Group<T, E>,
    hash: Hash,
    flight: Arc<Flight<T, E>>,
    id: u64,
    pub(super) role: Role,
    seen: Option<Missed>,
}

/// What a follower finds.
pub(super) enum Found<T, E> {
    Answer(Arc<Result<T, E>>),
    /// The place of the leader was free, and is taken.
    Lead,
    /// The leader is on it, since then.
    Wait(Instant),
}

impl<T, E> Seat<'_, T, E> {
    /// Asks after the answer, and leaves a waker if there is none yet. Who `is_late` does not lead: it would run out of time at once, and so
    /// would all those behind it, one after another.
    pub(super) fn look(&mut self, waker: &Waker, now: Instant, is_late: bool) -> Found<T, E> {
        let mut waker = Some(waker.clone());
        let mut state = lock(&self.flight.state);
        if let Some(answer) = state.answer.clone() {
            let mine = state.line.forget(self.id);
            drop(state);
            drop(mine);
            self.role = Role::Gone;
            self.group.counts.shared.add(1);
            return Found::Answer(answer);
        }
        if let Some(leader) = &state.line.leader {
            let since = leader.since;
            if let Some(mine) = state.line.follower(self.id) {
                std::mem::swap(mine, &mut waker);
            }
            drop(state);
            return Found::Wait(since);
        }
        if is_late {
            return Found::Wait(now);
        }
        let mine = state.line.forget(self.id);
        let beat = state.line.lead(self.id, now);
        drop(state);
        drop(mine);
        self.role = Role::leader(beat);
        self.group.counts.handed_over.add(1);
        self.group.counts.led.add(1);
        Found::Lead
    }

    /// Looks whether the leader still comes when it is called, and has not been on it for too long. Takes its place if not.
    pub(super) fn lose_patience(&mut self, now: Instant) -> bool {
        let max_wait = time::from_nanos(self.group.max_wait.load(Ordering::Relaxed));
        let mut state = lock(&self.flight.state);
        let Some(leader) = &state.line.leader else { return false };
        let missed = leader.beat.missing().map(|polls| (leader.id, polls));
        let over = time::after(leader.since, max_wait).is_some_and(|end| end <= now);
        if !over && (missed.is_none() || missed != self.seen) {
            self.seen = missed;
            return false;
        }
        let mine = state.line.forget(self.id);
        let beat = state.line.lead(self.id, now);
        drop(state);
        drop(mine);
        self.role = Role::leader(beat);
        self.group.counts.impatient.add(1);
        self.group.counts.led.add(1);
        true
    }

    /// The leader's answer: to all who follow, if it is one to share.
    pub(super) fn finish(&mut self, answer: Result<T, E>, concern: impl Fn(&E) -> bool) -> Result<T, E>
    where
        T: Clone,
        E: Clone,
    {
        let share_errors = self.group.share_errors.load(Ordering::Relaxed);
        if answer.as_ref().is_err_and(|error| !share_errors || !concern(error)) {
            self.leave();
            return answer;
        }
        let mut state = lock(&self.flight.state);
        // Another one may have answered for it.
        let nobody = state.line.followers.is_empty();
        if state.answer.is_none() && !nobody {
            drop(state);
            let shared = Arc::new(answer.clone());
            state = lock(&self.flight.state);
            if state.answer.is_none() {
                state.answer = Some(shared);
            }
        }
        state.line.done = true;
        // They stay on the list, to be served when they are polled; but they need no further call.
        let mut followers = std::mem::take(&mut state.line.followers);
        drop(state);
        self.role = Role::Gone;
        self.group.take_out(self.hash, &self.flight);
        followers.iter_mut().filter_map(|(_, waker)| waker.take()).for_each(Waker::wake);
        answer
    }

    /// Leaves without an answer.
    pub(super) fn leave(&mut self) {
        let role = std::mem::replace(&mut self.role, Role::Gone);
        let mut state = lock(&self.flight.state);
        let line = &mut state.line;
        let (mut mine, mut wake) = (None, None);
        match role {
            Role::Gone => return,
            Role::Leader { .. } if line.leader.as_ref().is_some_and(|leader| leader.id == self.id) => wake = line.vacate(),
            Role::Leader { .. } => {} // another one leads since
            Role::Follower => {
                mine = line.forget(self.id);
                // It may have been the one that was called.
                if line.leader.is_none() && !line.done {
                    wake = line.call_up();
                }
            }
        }
        let done = line.done;
        drop(state);
        drop(mine);
        if done {
            self.group.take_out(self.hash, &self.flight);
        }
        if let Some(waker) = wake {
            waker.wake();
        }
    }
}

impl<T, E> Drop for Seat<'_, T, E> {
    fn drop(&mut self) {
        self.leave();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::hash::{BuildHasher, BuildHasherDefault};

    #[test]
    fn h110_keys_are_hashes_already_and_are_told_apart_as_they_are() {
        let keys = [(0, 0), (0, 1), (0, u64::MAX), (7, 9)].map(|(high, low)| Hash { high, low });
        assert_eq!(keys.map(|key| BuildHasherDefault::<AsIs>::default().hash_one(key)), [0, 1, u64::MAX, 9]);
    }
}
