//! The table: its parts, each under a lock of its own, and what is asked of it.

use super::config::PerKeyConfig;
use super::hash::{Hash, Secret};
use super::permit::{Held, KeyPermit, KeyWaiter};
use super::settings::Settings;
use super::shard::{Ask, Counts, Grant, Live, No, Shard};
use crate::admission::{BulkheadPermit, Entry, Reservation};
use crate::call::Call;
use crate::outcome::{Outcome, Rejected, RejectedKind};
use crate::sync::atomic::{AtomicUsize, Ordering};
use crate::sync::{Mutex, MutexGuard, Padded, lock};
use crate::time;
use std::num::NonZeroUsize;
use std::sync::{Arc, TryLockError};
use std::time::Duration;
use tokio::time::Instant;

/// Keys of a full part, where there are many: few enough that to double its index is a matter of microseconds.
const PART: usize = 8 * 1024;
/// A table of few keys has this many parts at most, so that threads seldom meet.
const FEW: usize = 16;
const MANY: usize = 1024;

/// Where an entry is.
#[derive(Clone, Copy, Debug)]
pub(super) struct At {
    pub(super) shard: u32,
    pub(super) slot: u32,
}

pub(super) struct Table {
    secret: Secret,
    epoch: Instant,
    shards: Box<[Padded<Mutex<Shard>>]>,
    keys: Padded<AtomicUsize>,
    max_keys: AtomicUsize,
    /// Which part is asked next for room that another one has not.
    hand: AtomicUsize,
    /// Held by who changes them.
    settings: Mutex<Arc<Settings>>,
}

impl Table {
    pub(super) fn new(config: PerKeyConfig) -> Self {
        let max_keys = config.max_keys;
        let few = max_keys / FEW;
        let parts = few.clamp(1, FEW).max(max_keys / PART).min(MANY);
        let parts = 1_usize << NonZeroUsize::new(parts).map_or(0, NonZeroUsize::ilog2);
        let settings = Arc::new(Settings::new(config, 0));
        let overflow = u32::try_from(max_keys / parts / 64).unwrap_or(u32::MAX / 64).max(1);
        let top = (128 / parts).max(8);
        let shards = (0..parts).map(|_| Padded(Mutex::new(Shard::new(Arc::clone(&settings), overflow, top)))).collect();
        Self {
            secret: Secret::random(),
            epoch: Instant::now(),
            shards,
            keys: Padded(AtomicUsize::new(0)),
            max_keys: AtomicUsize::new(max_keys),
            hand: AtomicUsize::new(0),
            settings: Mutex::new(settings),
        }
    }

    #[inline]
    pub(super) fn nanos(&self, now: Instant) -> u64 {
        time::nanos_since(self.epoch, now)
    }

    #[inline]
    pub(super) fn hash(&self, key: &str) -> (Hash, u32) {
        let hash = self.secret.hash(key.as_bytes());
        let shard = (hash.low >> 32) as usize & (self.shards.len() - 1);
        (hash, shard as u32)
    }

    #[inline]
    pub(super) fn shard(&self, shard: u32) -> MutexGuard<'_, Shard> {
        lock(&self.shards[shard as usize & (self.shards.len() - 1)].0)
    }

    /// The entry that speaks for a key, and whether a newcomer shares it.
    #[cold]
    fn admit(&self, shard: &mut Shard, own: u32, hash: Hash, nanos: u64) -> (u32, bool) {
        shard.sweep(2, nanos, &self.keys.0);
        let mut room = self.reserve();
        if !room && (shard.make_room(nanos, &self.keys.0) || self.room_elsewhere(own, nanos)) {
            room = self.reserve();
        }
        if room { (shard.add(hash, nanos), false) } else { shard.shared_bucket(hash) }
    }

    #[inline]
    fn reserve(&self) -> bool {
        let max = self.max_keys.load(Ordering::Relaxed);
        self.keys.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |keys| (keys < max).then_some(keys + 1)).is_ok()
    }

    /// Asks one other part, which changes each time. Not for long: whoever holds it may be asking us.
    fn room_elsewhere(&self, own: u32, nanos: u64) -> bool {
        let mask = self.shards.len() - 1;
        let mut other = self.hand.fetch_add(1, Ordering::Relaxed) & mask;
        if other == own as usize {
            other = (other + 1) & mask;
        }
        if other == own as usize {
            return false;
        }
        match self.shards[other].0.try_lock() {
            Ok(mut shard) => shard.make_room(nanos, &self.keys.0),
            Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner().make_room(nanos, &self.keys.0),
            Err(TryLockError::WouldBlock) => false,
        }
    }

    /// The door: `granted` where all is had at once, `otherwise` what [`not_at_once`](Self::not_at_once) has an answer to.
    ///
    /// Two functions and not a value for both, for that would be moved, which costs more than the check.
    #[inline(always)]
    pub(super) fn ask<'a, R>(
        &'a self,
        key: &str,
        cost: u32,
        now: Instant,
        granted: impl FnOnce(KeyPermit<'a>) -> R,
        otherwise: impl FnOnce(Door<'a>) -> R,
    ) -> R {
        let (hash, own) = self.hash(key);
        let nanos = self.nanos(now);
        let mut shard = self.shard(own);
        // Before the key is looked for: it may be one of those that go.
        if shard.is_turn_to_sweep() {
            shard.sweep(2, nanos, &self.keys.0);
        }
        let (slot, newcomer) = match shard.find(hash) {
            Some(slot) => (slot, false),
            None => self.admit(&mut shard, own, hash, nanos),
        };
        let at = At { shard: own, slot };
        match shard.ask(slot, Ask { cost, nanos, waited: false }) {
            Ok(Some(grant)) => {
                drop(shard);
                granted(KeyPermit::new(self, at, hash, grant, cost, nanos))
            }
            Ok(None) => otherwise(Door { shard, at, hash, newcomer, nanos, no: None }),
            Err(no) => otherwise(Door { shard, at, hash, newcomer, nanos, no: Some(no) }),
        }
    }

    /// `patient`: may wait, and then the whole `call` is asked for.
    #[cold]
    pub(super) fn not_at_once<'a, 'k>(
        &'a self,
        door: Door<'a>,
        key: &str,
        patient: bool,
        call: impl FnOnce() -> Call<'k>,
    ) -> Entry<KeyPermit<'a>, KeyWaiter<'a>> {
        let Door { mut shard, at, hash, newcomer, nanos, no } = door;
        // More than ever fits is too much for anybody.
        let hopeless = no.is_some_and(|no| no.kind == RejectedKind::RateLimited && no.wait == u64::MAX);
        if newcomer && !hopeless {
            let grant = shard.welcome(at.slot);
            return Entry::Granted(KeyPermit::new(self, at, hash, grant, 0, nanos));
        }
        match no {
            Some(no) => self.refused(shard, at, no, (hash, key), call, patient),
            None => {
                let live = shard.live(at.slot);
                self.ask_live(shard, at, live, (hash, key), call(), patient)
            }
        }
    }

    fn refused<'a, 'k>(
        &'a self,
        mut shard: MutexGuard<'a, Shard>,
        at: At,
        no: No,
        who: (Hash, &str),
        call: impl FnOnce() -> Call<'k>,
        patient: bool,
    ) -> Entry<KeyPermit<'a>, KeyWaiter<'a>> {
        let settings = &shard.settings;
        let may_wait = match no.kind {
            RejectedKind::RateLimited => settings.limiter_waits,
            RejectedKind::BulkheadFull => settings.bulkhead_waits,
            _ => false,
        };
        if patient && may_wait {
            let call = call();
            let limit = settings.config.rate_limit.as_ref().map_or(Duration::ZERO, |limiter| limiter.max_wait);
            let wait = if no.kind == RejectedKind::RateLimited { no.wait } else { 0 };
            let too_long = wait > time::nanos(limit) || wait == u64::MAX;
            let earliest = self.nanos(call.attempt.started).saturating_add(wait);
            let too_late = call.attempt.deadline.is_some_and(|deadline| self.nanos(deadline) <= earliest);
            if !too_long && !too_late {
                let live = shard.wake_up(at.slot, self.epoch);
                return self.ask_live(shard, at, live, who, call, patient);
            }
        }
        shard.refused(at.slot, who.0, Some(who.1));
        Entry::Refused(no.into())
    }

    /// Asks the live policies of a key. Not under the lock: they wake other callers.
    #[cold]
    fn ask_live<'a>(
        &'a self,
        mut shard: MutexGuard<'a, Shard>,
        at: At,
        live: Option<Arc<Live>>,
        who: (Hash, &str),
        call: Call<'_>,
        patient: bool,
    ) -> Entry<KeyPermit<'a>, KeyWaiter<'a>> {
        let Some(live) = live else { return Entry::Refused(Rejected::new(RejectedKind::BulkheadFull)) };
        shard.pin(at.slot);
        drop(shard);
        let pin = Pin { table: self, at, hash: who.0 };
        let call = Call { key: None, ..call };
        match self.had_at_once(&pin, &live, &call, patient) {
            Ok(Some((grant, units))) => Entry::Granted(pin.granted(grant, units, Instant::now())),
            Ok(None) => Entry::Wait(KeyWaiter::new(Box::pin(self.wait(pin, live, call)))),
            Err(rejected) => {
                self.shard(at.shard).refused(at.slot, who.0, Some(who.1));
                Entry::Refused(rejected)
            }
        }
    }

    /// All that can be said at once, with nothing allocated for it. `None`: it has to wait.
    fn had_at_once(&self, pin: &Pin<'_>, live: &Live, call: &Call<'_>, patient: bool) -> Result<Option<(Grant, u32)>, Rejected> {
        let reservation = match &live.limiter {
            None => None,
            Some(limiter) if patient => match limiter.enter(call.cost, call.priority, call.attempt.started, || *call) {
                Entry::Granted(reservation) => Some(reservation),
                Entry::Refused(rejected) => return Err(rejected),
                Entry::Wait(_) => return Ok(None),
            },
            Some(limiter) => Some(limiter.reserve(call)?),
        };
        let place = match &live.bulkhead {
            None => None,
            Some(bulkhead) if patient => match bulkhead.enter(|| *call) {
                Entry::Granted(place) => Some(place),
                Entry::Refused(rejected) => return Err(rejected),
                Entry::Wait(_) => return Ok(None),
            },
            Some(bulkhead) => Some(bulkhead.try_acquire()?),
        };
        pin.admitted(reservation, place, call.attempt.started).map(Some)
    }

    async fn wait<'a>(&'a self, pin: Pin<'a>, live: Arc<Live>, call: Call<'static>) -> Result<KeyPermit<'a>, Rejected> {
        match Self::stand_in_line(&pin, &live, call).await {
            Ok((grant, units, now)) => Ok(pin.granted(grant, units, now)),
            Err(rejected) => {
                self.shard(pin.at.shard).refused(pin.at.slot, pin.hash, None);
                Err(rejected)
            }
        }
    }

    async fn stand_in_line(pin: &Pin<'_>, live: &Live, mut call: Call<'static>) -> Result<(Grant, u32, Instant), Rejected> {
        let reservation = match &live.limiter {
            None => None,
            Some(limiter) => match limiter.enter(call.cost, call.priority, call.attempt.started, || call) {
                Entry::Granted(reservation) => Some(reservation),
                Entry::Refused(rejected) => return Err(rejected),
                Entry::Wait(waiter) => Some(waiter.await?),
            },
        };
        call.attempt.started = Instant::now();
        let place = match &live.bulkhead {
            None => None,
            Some(bulkhead) => Some(bulkhead.acquire(&call).await?),
        };
        let now = Instant::now();
        let (grant, units) = pin.admitted(reservation, place, now)?;
        Ok((grant, units, now))
    }

    pub(super) fn settle(&self, held: &Held<'_>, outcome: Outcome, now: Instant) {
        let nanos = self.nanos(now);
        let age = nanos.saturating_sub(held.started);
        let live = self.shard(held.at.shard).settle(held.at.slot, held.grant.ticket(), held.grant.place(), outcome, age, nanos);
        give_back(live);
    }

    // ---- settings, and what can be read ----

    pub(super) fn config(&self) -> PerKeyConfig {
        lock(&self.settings).config.clone()
    }

    /// Goes on under other settings, which were checked. `false`, and nothing happens, where they are of other policies.
    pub(super) fn set(&self, config: &PerKeyConfig) -> bool {
        let mut settings = lock(&self.settings);
        if !settings.fits(config) {
            return false;
        }
        if settings.config != *config {
            *settings = Arc::new(settings.after(config.clone(), self.nanos(Instant::now())));
            self.max_keys.store(config.max_keys, Ordering::Relaxed);
            self.parts().for_each(|shard| self.shard(shard).set(&settings));
        }
        true
    }

    /// Wakes those who wait, for their time may be another.
    pub(super) fn tell(&self) {
        for live in self.parts().flat_map(|shard| self.shard(shard).all_live()) {
            if let Some(limiter) = &live.limiter {
                limiter.tell();
            }
            if let Some(bulkhead) = &live.bulkhead {
                bulkhead.tell();
            }
        }
    }

    fn parts(&self) -> std::ops::Range<u32> {
        0..self.shards.len() as u32
    }

    pub(super) fn len(&self) -> usize {
        self.keys.0.load(Ordering::Relaxed)
    }

    pub(super) fn max_keys(&self) -> usize {
        self.max_keys.load(Ordering::Relaxed)
    }

    #[inline]
    pub(super) fn counts(&self) -> Counts {
        self.parts().fold(Counts::default(), |sum, shard| {
            let counts = self.shard(shard).counts;
            Counts {
                forgotten_idle: sum.forgotten_idle + counts.forgotten_idle,
                forgotten_for_room: sum.forgotten_for_room + counts.forgotten_for_room,
                shared: sum.shared + counts.shared,
                rejected: sum.rejected + counts.rejected,
            }
        })
    }

    pub(super) fn forget(&self, key: &str) -> bool {
        let (hash, own) = self.hash(key);
        let mut shard = self.shard(own);
        let found = shard.find(hash);
        if let Some(slot) = found {
            shard.forget(slot, &self.keys.0);
        }
        found.is_some()
    }

    #[inline]
    pub(super) fn most_rejected(&self) -> Vec<super::RejectedKey> {
        let mut all = Vec::new();
        self.parts().for_each(|shard| self.shard(shard).most_rejected(&mut all));
        all
    }

    #[cfg(all(test, not(steadfast_loom)))]
    pub(super) fn bytes(&self) -> usize {
        let parts = self.parts().map(|shard| self.shard(shard).bytes());
        size_of::<Self>() + size_of_val(&*self.shards) + parts.sum::<usize>()
    }

    #[cfg(all(test, not(steadfast_loom)))]
    pub(super) fn check(&self) {
        let keys: usize = self.parts().map(|shard| self.shard(shard).check()).sum();
        assert_eq!(keys, self.len());
    }
}

/// A key that did not get all at once, its part of the table still locked.
pub(super) struct Door<'a> {
    shard: MutexGuard<'a, Shard>,
    at: At,
    hash: Hash,
    /// It shares a bucket for the first time.
    newcomer: bool,
    nanos: u64,
    /// Why not; `None` where its live policies have to be asked.
    no: Option<No>,
}

/// Gives a place back to live policies, under no lock.
fn give_back(live: Option<Arc<Live>>) {
    if let Some(bulkhead) = live.as_ref().and_then(|live| live.bulkhead.as_ref()) {
        bulkhead.give_back();
    }
}

/// Keeps an entry, and its live policies, from being let go.
struct Pin<'a> {
    table: &'a Table,
    at: At,
    hash: Hash,
}

impl<'a> Pin<'a> {
    /// Units and place are had; the breaker has the last word. Also says how many units may be handed back.
    fn admitted(
        &self,
        reservation: Option<Reservation<'_>>,
        place: Option<BulkheadPermit<'_>>,
        now: Instant,
    ) -> Result<(Grant, u32), Rejected> {
        let ask = Ask { cost: 0, nanos: self.table.nanos(now), waited: true };
        let asked = self.table.shard(self.at.shard).ask(self.at.slot, ask);
        let grant = asked?.ok_or_else(|| Rejected::new(RejectedKind::CircuitOpen))?;
        // It comes back by way of the entry, see `Shard::unpin`.
        std::mem::forget(place);
        Ok(match reservation.map_or((0, 0), Reservation::kept) {
            (0, _) => (grant, 0),
            (units, then) => (grant.with_units(then), units),
        })
    }

    fn granted(self, grant: Grant, units: u32, now: Instant) -> KeyPermit<'a> {
        let (table, at, hash) = (self.table, self.at, self.hash);
        if grant.settles() {
            std::mem::forget(self); // the permit keeps it now
        }
        KeyPermit::new(table, at, hash, grant, units, table.nanos(now))
    }
}

impl Drop for Pin<'_> {
    fn drop(&mut self) {
        let live = self.table.shard(self.at.shard).unpin(self.at.slot, false);
        give_back(live);
    }
}
