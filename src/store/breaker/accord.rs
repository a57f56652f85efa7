//! The task that keeps one circuit and its record together.
//!
//! In each round it looks at the circuit, reads the record, says what happened here since, does what was said there, and sees to the lease when
//! somebody is to probe. It compares states and generations and takes no account of single transitions, so that none can be missed; those only
//! wake it.

use super::record::{FORMAT, Record, Said};
use super::{Books, SharedBreakerConfig};
use crate::admission::{CircuitBreaker, CircuitState, Glance};
use crate::store::{AnyStore, Key, SetOptions, Store, StoreError, StoreErrorKind, Timestamp, Ttl};
use crate::sync::atomic::Ordering;
use crate::time::after;
use bytes::Bytes;
use rand::RngExt;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

/// Ends the wait for the end of an open time after it, in the milliseconds that stores count.
const AFTER: Duration = Duration::from_millis(2);
/// A round that finds that the circuit has moved on begins again, but not for ever.
const AGAIN: u32 = 8;

pub(super) struct Accord {
    breaker: CircuitBreaker,
    store: AnyStore,
    books: Arc<Books>,
    name: Arc<str>,
    key: Key,
    every: Duration,
    deadline: Duration,
    /// Who this is, where somebody holds the lease.
    token: Bytes,
    /// As far as has been dealt with.
    known: (u64, CircuitState),
    /// What happened here, and nobody was told of yet.
    unsaid: Option<Unsaid>,
    /// The version of what was last said here or done.
    heard: u64,
    lease: Option<Lease>,
}

#[derive(Clone, Copy)]
enum Unsaid {
    Open { until: Instant, failed_rounds: u32 },
    Closed,
}

/// Leave to probe for all.
struct Lease {
    key: Key,
    until: Instant,
    /// When a probe was last seen.
    used: Instant,
    done: u64,
}

impl Accord {
    /// `None` without a store or a name, which were faults.
    pub(super) fn new(config: SharedBreakerConfig, books: Arc<Books>) -> Option<Self> {
        Some(Self {
            store: config.store?,
            key: Key::of_parts([FORMAT, &*config.name]).ok()?,
            breaker: config.breaker,
            books,
            name: config.name,
            every: config.every,
            deadline: config.deadline,
            token: Bytes::copy_from_slice(&rand::random::<u128>().to_le_bytes()),
            known: (u64::MAX, CircuitState::Closed),
            unsaid: None,
            heard: 0,
            lease: None,
        })
    }

    pub(super) async fn keep(mut self) {
        let mut changes = self.breaker.subscribe();
        loop {
            let mut wait = self.every.mul_f64(rand::rng().random_range(0.9..=1.0));
            for _ in 0..AGAIN {
                let now = self.look();
                match self.exchange(&now).await {
                    Ok(next) => {
                        self.reached();
                        wait = wait.min(next);
                    }
                    Err(error) => self.missed(&error),
                }
                // What this caused, or what was dealt with.
                while changes.try_next().is_some() {}
                if self.breaker.glance().generation == self.known.0 {
                    break;
                }
            }
            tokio::select! {
                () = tokio::time::sleep(wait) => {}
                change = changes.next() => if change.is_none() { return },
            }
        }
    }

    fn reached(&self) {
        if !self.books.connected.swap(true, Ordering::Relaxed) {
            tracing::info!(name: "steadfast.shared_breaker_connected", target: "steadfast::store", circuit = %self.name, "a shared circuit is shared");
        }
    }

    fn missed(&self, error: &StoreError) {
        self.books.errors.add(1);
        if self.books.connected.swap(false, Ordering::Relaxed) {
            tracing::warn!(name: "steadfast.shared_breaker_outage", target: "steadfast::store", circuit = %self.name, %error, "a shared circuit is on its own");
        }
    }

    /// What happened here since the last look.
    fn look(&mut self) -> Glance {
        let now = self.breaker.glance();
        if now.generation != self.known.0 {
            let was_out = matches!(self.known.1, CircuitState::Open | CircuitState::HalfOpen);
            self.unsaid = match (now.state, now.open_left) {
                (CircuitState::Open, Some(left)) => {
                    after(Instant::now(), left).map(|until| Unsaid::Open { until, failed_rounds: now.failed_rounds })
                }
                (CircuitState::Closed, _) if was_out => Some(Unsaid::Closed),
                _ => None,
            };
            self.known = (now.generation, now.state);
        }
        if now.state != CircuitState::HalfOpen {
            self.lease = None;
        }
        now
    }

    async fn step<T>(&self, step: impl Future<Output = Result<T, StoreError>>) -> Result<T, StoreError> {
        match tokio::time::timeout(self.deadline, step).await {
            Ok(done) => done,
            Err(_) => Err(StoreError::new(StoreErrorKind::OutcomeUnknown).with_detail("no answer within the deadline")),
        }
    }

    /// One round. In how long the next one is due at the latest.
    async fn exchange(&mut self, now: &Glance) -> Result<Duration, StoreError> {
        let entry = self.step(self.store.get(&self.key)).await?;
        if entry.is_none() {
            // All is over that was said, or forgotten: whatever comes is new, also from one whose clock is far behind.
            self.heard = 0;
        }
        let mut record = entry.as_ref().and_then(Record::decode);
        if let Some(unsaid) = self.unsaid {
            record = self.say(unsaid, record).await?;
            self.unsaid = None;
        }
        match record {
            Some(record) if record.version >= self.heard => self.hear(record, now).await,
            _ => Ok(self.every), // nothing, or something old: each for itself
        }
    }

    /// Tells the others, unless they know as much. What is then known to all.
    async fn say(&mut self, unsaid: Unsaid, record: Option<Record>) -> Result<Option<Record>, StoreError> {
        let said = match (unsaid, record) {
            (Unsaid::Open { until, failed_rounds }, _) => {
                let left = until.saturating_duration_since(Instant::now());
                let as_long = |record: Record| matches!(record.said, Said::Open { left: theirs, .. } if theirs + AFTER >= left);
                if left.is_zero() || record.is_some_and(as_long) {
                    return Ok(record);
                }
                Said::Open { left, failed_rounds }
            }
            // What somebody else has found out since is newer.
            (Unsaid::Closed, Some(record)) if record.version == self.heard && record.said != Said::Closed => Said::Closed,
            (Unsaid::Closed, _) => return Ok(record),
        };
        let before = record.map_or(0, |record| record.version).max(self.heard);
        let record = Record { version: before.saturating_add(1).max(Timestamp::now().as_millis()), said };
        let (bytes, ttl) = record.encode();
        self.step(self.store.set(&self.key, bytes, SetOptions::new().ttl(ttl))).await?;
        self.books.said.add(1);
        self.heard = record.version;
        Ok(Some(record))
    }

    /// Longer than this task needs to look again: so long does an open circuit wait for it.
    fn slack(&self) -> Duration {
        2 * self.every + 3 * self.deadline
    }

    async fn hear(&mut self, record: Record, now: &Glance) -> Result<Duration, StoreError> {
        let new = record.version > self.heard;
        match record.said {
            Said::Closed if new => self.close(record.version, now),
            Said::Closed => {}
            Said::Open { left, .. } if !left.is_zero() => {
                let next = self.every.min(left + AFTER);
                match now.state {
                    CircuitState::Closed | CircuitState::HalfOpen | CircuitState::Open if new => self.open(record, left, now),
                    CircuitState::Open => self.breaker.hold_open(now.generation, left + self.slack()),
                    _ => {}
                }
                return Ok(next);
            }
            Said::Open { .. } => return self.probe(record, new, now).await,
        }
        Ok(self.every)
    }

    /// Somebody is to probe: who gets the lease, if there is a call for it.
    async fn probe(&mut self, record: Record, new: bool, now: &Glance) -> Result<Duration, StoreError> {
        if !self.store.capabilities().if_absent {
            self.heard = record.version;
            return Ok(self.every); // no lease to be had: each for itself
        }
        match now.state {
            CircuitState::Closed if new => self.open(record, Duration::ZERO, now),
            CircuitState::Open => {
                self.heard = record.version;
                if now.refused > 0 && self.lease(&record, now).await? {
                    if let Some(generation) = self.breaker.follow_half_open(now.generation) {
                        self.known = (generation, CircuitState::HalfOpen);
                        self.books.leases.add(1);
                    }
                } else {
                    self.breaker.hold_open(now.generation, self.slack());
                }
            }
            CircuitState::HalfOpen => {
                self.heard = record.version;
                self.go_on_probing(&record, now).await?;
            }
            _ => {}
        }
        Ok(self.every)
    }

    async fn go_on_probing(&mut self, record: &Record, now: &Glance) -> Result<(), StoreError> {
        let (moment, ttl) = (Instant::now(), self.lease_ttl());
        match &mut self.lease {
            Some(lease) if moment + self.deadline < lease.until => {
                if now.probes_out > 0 || now.probes_done != lease.done {
                    (lease.used, lease.done) = (moment, now.probes_done);
                }
                let key = lease.key.clone();
                if moment.saturating_duration_since(lease.used) > 2 * self.every {
                    // No calls here: let somebody else.
                    self.open(*record, Duration::ZERO, now);
                    self.lease = None;
                    return self.step(self.store.delete(&key)).await.map(drop);
                }
                self.step(self.store.set(&key, self.token.clone(), SetOptions::new().ttl(ttl))).await?;
                if let Some(lease) = &mut self.lease {
                    lease.until = moment + ttl;
                }
            }
            // Half-open without a lease, or with one that may be over.
            _ => {
                if !self.lease(record, now).await? {
                    self.open(*record, Duration::ZERO, now);
                }
            }
        }
        Ok(())
    }

    /// As long as a few rounds take: so long does nobody probe when its holder dies.
    fn lease_ttl(&self) -> Duration {
        4 * self.every + 2 * self.deadline
    }

    async fn lease(&mut self, record: &Record, now: &Glance) -> Result<bool, StoreError> {
        let key = self.key.within("probe").within(&record.version.to_string());
        let (asked, ttl) = (Instant::now(), self.lease_ttl());
        let mut until = asked + ttl;
        let options = SetOptions::new().ttl(ttl).if_absent();
        if !self.step(self.store.set(&key, self.token.clone(), options)).await? {
            // Perhaps it was had, and the answer was lost.
            let held = self.step(self.store.get(&key)).await?.filter(|held| held.value == self.token);
            let Some(Ttl::After(left)) = held.map(|held| held.ttl()) else { return Ok(false) };
            until = asked + left;
        }
        self.lease = Some(Lease { key, until, used: asked, done: now.probes_done });
        Ok(true)
    }

    /// Open for so long, and then as long as it takes to look again.
    fn open(&mut self, record: Record, left: Duration, now: &Glance) {
        let Said::Open { failed_rounds, .. } = record.said else { return };
        if let Some(generation) = self.breaker.follow_open(now.generation, left + self.slack(), failed_rounds) {
            self.followed(record.version, generation, CircuitState::Open);
        }
    }

    fn close(&mut self, version: u64, now: &Glance) {
        if now.state == CircuitState::Closed {
            self.heard = version;
        } else if let Some(generation) = self.breaker.follow_close(now.generation) {
            self.followed(version, generation, CircuitState::Closed);
        }
    }

    fn followed(&mut self, version: u64, generation: u64, state: CircuitState) {
        if generation != self.known.0 {
            self.books.followed.add(1);
        }
        (self.heard, self.known) = (version, (generation, state));
    }
}
