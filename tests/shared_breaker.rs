//! A circuit that several processes share: here, several breakers over one store that does what it is told.
#![cfg(feature = "store")]
#![expect(clippy::unwrap_used, reason = "a test may panic")]

use bytes::Bytes;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use steadfast::store::{CacheStats, Capabilities, Entry, Key, MemoryStore, SetOptions, SharedBreaker, Store, StoreError, StoreErrorKind};
use steadfast::{CircuitBreaker, CircuitBreakerConfig, CircuitState, Outcome, Pipeline, Rejected, RejectedKind, TransitionCause, Verdict};
use tokio::time::{Instant, sleep};

const MS: Duration = Duration::from_millis(1);
const SECOND: Duration = Duration::from_secs(1);
/// Longer than it takes to hear of anything.
const SOON: Duration = Duration::from_millis(600);
/// How long one that heard of an open circuit may wait in vain for the store.
const SLACK: Duration = Duration::from_millis(2 * 500 + 3 * 250);

static_assertions::assert_impl_all!(SharedBreaker: Send, Sync, std::fmt::Debug);

#[derive(Clone, Copy, PartialEq)]
enum Mode {
    Up,
    Down,
    Hung,
}

/// What the breakers share. Clones share it.
#[derive(Clone)]
struct Wire(Arc<Inner>);

struct Inner {
    store: MemoryStore,
    mode: Mutex<Mode>,
    steps: AtomicU32,
    leases: bool,
}

impl Wire {
    fn new() -> Self {
        Self::with(true)
    }

    fn with(leases: bool) -> Self {
        Self(Arc::new(Inner { store: MemoryStore::new(), mode: Mutex::new(Mode::Up), steps: AtomicU32::new(0), leases }))
    }

    fn set_mode(&self, mode: Mode) {
        *self.0.mode.lock().unwrap() = mode;
    }

    fn steps(&self) -> u32 {
        self.0.steps.load(Ordering::SeqCst)
    }

    async fn reach(&self) -> Result<&MemoryStore, StoreError> {
        self.0.steps.fetch_add(1, Ordering::SeqCst);
        let mode = *self.0.mode.lock().unwrap();
        match mode {
            Mode::Up => Ok(&self.0.store),
            Mode::Down => Err(StoreError::new(StoreErrorKind::Unavailable)),
            Mode::Hung => std::future::pending().await,
        }
    }
}

impl Store for Wire {
    async fn get(&self, key: &Key) -> Result<Option<Entry>, StoreError> {
        self.reach().await?.get(key).await
    }
    async fn set(&self, key: &Key, value: Bytes, options: SetOptions) -> Result<bool, StoreError> {
        self.reach().await?.set(key, value, options).await
    }
    async fn delete(&self, key: &Key) -> Result<bool, StoreError> {
        self.reach().await?.delete(key).await
    }
    async fn clear(&self) -> Result<u64, StoreError> {
        self.reach().await?.clear().await
    }
    fn stats(&self) -> CacheStats {
        self.0.store.stats()
    }
    fn capabilities(&self) -> Capabilities {
        if self.0.leases { Capabilities::ALL } else { Capabilities::NONE }
    }
}

fn config() -> CircuitBreakerConfig {
    CircuitBreaker::consecutive_failures(2).open_for(5 * SECOND).open_jitter(0.0).probes(1)
}

/// One process.
struct Process {
    breaker: CircuitBreaker,
    shared: SharedBreaker,
}

impl Process {
    fn new(wire: &Wire) -> Self {
        Self::with(wire, config())
    }

    fn with(wire: &Wire, config: CircuitBreakerConfig) -> Self {
        let breaker = config.build().unwrap();
        let shared = SharedBreaker::new("dependency", &breaker).store(wire.clone()).build().unwrap();
        Self { breaker, shared }
    }

    fn call(&self, verdict: Verdict) -> Result<(), Rejected> {
        self.breaker.try_acquire().map(|permit| permit.settle(Outcome::Judged(verdict)))
    }

    fn trip(&self) {
        for _ in 0..2 {
            self.call(Verdict::transient()).unwrap();
        }
        assert_eq!(self.breaker.state(), CircuitState::Open);
    }

    /// As its own machine has it: open until a call made it half-open.
    fn is_open(&self) -> bool {
        self.breaker.check_at(Instant::now()).is_err()
    }
}

fn states(processes: &[Process]) -> Vec<CircuitState> {
    processes.iter().map(|process| process.breaker.state()).collect()
}

#[tokio::test(start_paused = true)]
async fn open_in_one_is_open_in_all_and_so_is_closed() {
    let wire = Wire::new();
    let all = [Process::new(&wire), Process::new(&wire), Process::new(&wire)];
    let mut told = all[1].breaker.subscribe();
    sleep(SOON).await;
    all[0].trip();
    sleep(SOON).await;
    assert_eq!(states(&all), [CircuitState::Open; 3]);
    let heard = told.next().await.unwrap();
    assert_eq!((heard.from, heard.to, heard.cause), (CircuitState::Closed, CircuitState::Open, TransitionCause::Shared));
    let left = all[1].breaker.next_probe_in().unwrap();
    assert!((4 * SECOND..5 * SECOND + SLACK).contains(&left), "{left:?}");

    // Only one of them has calls; so it is the one to probe.
    sleep(5 * SECOND).await;
    assert!(all.iter().all(Process::is_open), "nobody probes before it has the lease");
    assert!(all[2].call(Verdict::Success).is_err());
    sleep(SOON).await;
    assert!(all[0].is_open() && all[1].is_open());
    all[2].call(Verdict::Success).unwrap();
    assert_eq!(all[2].breaker.state(), CircuitState::Closed);
    sleep(SOON).await;
    assert_eq!(states(&all), [CircuitState::Closed; 3]);
    assert_eq!(all.each_ref().map(|process| process.shared.stats().leases), [0, 0, 1]);
    assert_eq!(all.each_ref().map(|process| process.shared.stats().said), [1, 0, 1]);
    assert!(all.iter().all(|process| process.shared.stats().connected && process.shared.stats().errors == 0));
}

#[tokio::test(start_paused = true)]
async fn one_that_comes_later_is_open_at_once() {
    let wire = Wire::new();
    let first = Process::new(&wire);
    first.trip();
    sleep(2 * SECOND).await;
    let second = Process::new(&wire);
    sleep(MS).await;
    assert!(second.is_open());
    // And one that comes when somebody should probe waits for its lease, too.
    sleep(4 * SECOND).await;
    let third = Process::new(&wire);
    sleep(MS).await;
    assert!(third.is_open());
    assert!(third.call(Verdict::Success).is_err());
    sleep(SOON).await;
    third.call(Verdict::Success).unwrap();
    sleep(SOON).await;
    assert_eq!(states(&[first, second, third]), [CircuitState::Closed; 3]);
}

/// What is out at a time over all of them, while all have calls and each probe takes a while.
async fn most_probes(all: &[Process], time: Duration) -> u32 {
    sleep(SOON).await;
    let (end, mut most) = (Instant::now() + time, 0);
    let mut out: Vec<(Instant, steadfast::CircuitPermit<'_>)> = Vec::new();
    while Instant::now() < end {
        for process in all {
            if let Ok(permit) = process.breaker.try_acquire() {
                assert!(permit.is_probe());
                out.push((Instant::now() + 300 * MS, permit));
            }
        }
        most = most.max(out.len());
        let over = |(done, _): &mut (Instant, _)| *done <= Instant::now();
        out.extract_if(.., over).for_each(|(_, permit)| permit.settle(Outcome::Judged(Verdict::transient())));
        sleep(20 * MS).await;
    }
    u32::try_from(most).unwrap()
}

#[tokio::test(start_paused = true)]
async fn probes_are_bounded_over_all_of_them() {
    for probes in [1, 3] {
        let wire = Wire::new();
        let all = [(); 5].map(|()| Process::with(&wire, config().probes(probes).max_open(5 * SECOND)));
        all[0].trip();
        assert_eq!(most_probes(&all, 30 * SECOND).await, probes);
        let rounds: u64 = all.iter().map(|process| process.shared.stats().leases).sum();
        assert!((4..=6).contains(&rounds), "{rounds} rounds in 30 s");
    }
}

#[tokio::test(start_paused = true)]
async fn without_leases_each_has_its_own_probes() {
    let wire = Wire::with(false);
    let all = [(); 5].map(|()| Process::new(&wire));
    all[0].trip();
    assert_eq!(most_probes(&all, 8 * SECOND).await, 5);
}

#[tokio::test(start_paused = true)]
async fn the_open_time_grows_over_all_of_them() {
    let wire = Wire::new();
    let all = [Process::new(&wire), Process::new(&wire)];
    all[0].trip();
    sleep(SOON).await;
    let mut open = Vec::new();
    for round in 0..3 {
        // By turns.
        let process = &all[round % 2];
        let began = Instant::now();
        while process.call(Verdict::transient()).is_err() {
            sleep(100 * MS).await;
        }
        open.push(began.elapsed().as_secs());
        sleep(SOON).await;
    }
    assert!((4..=5).contains(&open[0]) && (9..=10).contains(&open[1]) && (19..=20).contains(&open[2]), "{open:?}");
}

#[tokio::test(start_paused = true)]
async fn who_has_no_calls_leaves_the_probing_to_others() {
    let wire = Wire::new();
    let all = [Process::new(&wire), Process::new(&wire)];
    all[0].trip();
    assert!(all[0].call(Verdict::Success).is_err());
    sleep(5 * SECOND + SOON).await;
    assert_eq!(all[0].shared.stats().leases, 1);
    // It has the lease, and not a call comes any more.
    let began = Instant::now();
    while all[1].call(Verdict::Success).is_err() {
        sleep(100 * MS).await;
    }
    assert!(began.elapsed() < 4 * SECOND, "{:?}", began.elapsed());
    assert!(all[0].is_open());
    sleep(SOON).await;
    assert_eq!(states(&all), [CircuitState::Closed; 2]);
}

#[tokio::test(start_paused = true)]
async fn the_lease_of_one_that_died_ends() {
    let wire = Wire::new();
    let [dead, alive] = [Process::new(&wire), Process::new(&wire)];
    dead.trip();
    assert!(dead.call(Verdict::Success).is_err());
    sleep(5 * SECOND + SOON).await;
    assert_eq!(dead.shared.stats().leases, 1);
    drop(dead);
    let began = Instant::now();
    while alive.call(Verdict::Success).is_err() {
        sleep(100 * MS).await;
    }
    assert!(began.elapsed() <= 4 * 500 * MS + 2 * 250 * MS + SOON, "{:?}", began.elapsed());
}

#[tokio::test(start_paused = true)]
async fn a_long_probe_keeps_the_lease() {
    let wire = Wire::new();
    let all = [(); 2].map(|()| Process::with(&wire, config().probe_lease(60 * SECOND)));
    all[0].trip();
    assert!(all[0].call(Verdict::Success).is_err());
    sleep(5 * SECOND + SOON).await;
    let probe = all[0].breaker.try_acquire().unwrap();
    for _ in 0..200 {
        assert!(all[1].call(Verdict::Success).is_err());
        sleep(100 * MS).await;
    }
    probe.settle(Outcome::Judged(Verdict::Success));
    sleep(SOON).await;
    assert_eq!(states(&all), [CircuitState::Closed; 2]);
}

#[tokio::test(start_paused = true)]
async fn when_the_store_is_away_each_goes_on_with_its_own_state() {
    for mode in [Mode::Down, Mode::Hung] {
        let wire = Wire::new();
        let all = [Process::new(&wire), Process::new(&wire)];
        sleep(SOON).await;
        wire.set_mode(mode);
        all[0].trip();
        sleep(2 * SECOND).await;
        assert_eq!(states(&all), [CircuitState::Open, CircuitState::Closed]);
        let stats = all[0].shared.stats();
        assert!(!stats.connected && stats.errors > 0);
        // Its own open time, and not a moment longer: nobody has ever said otherwise.
        sleep(3 * SECOND - MS).await;
        assert!(all[0].is_open());
        sleep(2 * MS).await;
        all[0].call(Verdict::Success).unwrap();
        assert_eq!(states(&all), [CircuitState::Closed; 2]);
        // Back: what happens from then on is shared again.
        wire.set_mode(Mode::Up);
        sleep(SECOND).await;
        assert_eq!(states(&all), [CircuitState::Closed; 2]);
        all[1].trip();
        sleep(SOON).await;
        assert_eq!(states(&all), [CircuitState::Open; 2]);
        assert!(all[0].shared.stats().connected);
    }
}

#[tokio::test(start_paused = true)]
async fn a_store_that_goes_away_while_it_is_open_costs_no_more_than_the_slack() {
    let wire = Wire::new();
    let all = [Process::new(&wire), Process::new(&wire)];
    all[0].trip();
    sleep(SECOND).await;
    wire.set_mode(Mode::Hung);
    let began = Instant::now();
    for process in &all {
        while process.call(Verdict::Success).is_err() {
            sleep(50 * MS).await;
        }
        assert!(began.elapsed() <= 4 * SECOND + SLACK + 100 * MS, "{:?}", began.elapsed());
    }
    // It has forgotten all when it is back: nobody minds.
    wire.0.store.clear().await.unwrap();
    wire.set_mode(Mode::Up);
    sleep(2 * SECOND).await;
    assert_eq!(states(&all), [CircuitState::Closed; 2]);
}

#[tokio::test(start_paused = true)]
async fn an_outage_of_the_store_is_caught_up_with() {
    let wire = Wire::new();
    let all = [Process::new(&wire), Process::new(&wire)];
    sleep(SOON).await;
    wire.set_mode(Mode::Down);
    all[0].trip();
    sleep(2 * SECOND).await;
    wire.set_mode(Mode::Up);
    sleep(2 * SOON).await;
    assert!(all[1].is_open(), "said late, and for what is left of it");
    let left = all[1].breaker.next_probe_in().unwrap();
    assert!(left <= 3 * SECOND + SLACK, "{left:?}");
}

#[tokio::test(start_paused = true)]
async fn calls_never_ask_the_store() {
    let wire = Wire::new();
    let process = Process::new(&wire);
    let pipeline = Pipeline::builder("p").circuit_breaker(process.breaker.clone()).build().unwrap();
    sleep(SOON).await;
    let before = wire.steps();
    for _ in 0..10_000 {
        pipeline.call(|| async { Ok::<_, Rejected>(()) }).await.unwrap();
    }
    process.trip();
    for _ in 0..10_000 {
        let refused = pipeline.call(|| async { Ok::<_, Rejected>(()) }).await.unwrap_err();
        assert_eq!(refused.kind(), Some(RejectedKind::CircuitOpen));
    }
    assert_eq!(wire.steps(), before);
    // And the task asks but twice a second, while nothing happens.
    let quiet = Process::new(&Wire::new());
    sleep(100 * SECOND).await;
    drop(quiet);
    let wire = Wire::new();
    let _process = Process::new(&wire);
    sleep(100 * SECOND).await;
    assert!((200..=225).contains(&wire.steps()), "{}", wire.steps());
}

#[tokio::test(start_paused = true)]
async fn what_is_done_by_hand() {
    let wire = Wire::new();
    let all = [Process::new(&wire), Process::new(&wire)];
    sleep(SOON).await;
    // Of this process alone.
    for hand in [CircuitBreaker::isolate, CircuitBreaker::disable, CircuitBreaker::metrics_only] {
        hand(&all[0].breaker);
        let state = all[0].breaker.state();
        sleep(SOON).await;
        assert_eq!(states(&all), [state, CircuitState::Closed]);
        // What the others say meanwhile is for when it is over.
        all[1].breaker.force_open();
        sleep(SOON).await;
        assert_eq!(states(&all), [state, CircuitState::Open]);
        all[0].breaker.force_close();
        sleep(SOON).await;
        assert_eq!(states(&all), [CircuitState::Open; 2]);
        // For all.
        all[0].breaker.force_close();
        sleep(SOON).await;
        assert_eq!(states(&all), [CircuitState::Closed; 2]);
    }
    all[0].breaker.open_for(Duration::MAX);
    sleep(SOON).await;
    assert_eq!(states(&all), [CircuitState::Open, CircuitState::Closed]);
    all[0].breaker.open_for(30 * SECOND);
    sleep(SOON).await;
    assert_eq!(states(&all), [CircuitState::Open; 2]);
    sleep(25 * SECOND).await;
    assert!(all[1].is_open());
    all[1].breaker.force_close();
    sleep(SOON).await;
    assert_eq!(states(&all), [CircuitState::Closed; 2]);
}

#[tokio::test(start_paused = true)]
async fn what_is_older_is_not_followed() {
    let wire = Wire::new();
    let process = Process::new(&wire);
    let record = |kind: u8, version: u64| {
        let mut bytes = vec![kind];
        bytes.extend_from_slice(&version.to_le_bytes());
        bytes.extend_from_slice(&0_u32.to_le_bytes());
        Bytes::from(bytes)
    };
    let key = Key::of_parts(["breaker1", "dependency"]).unwrap();
    let open = SetOptions::new().ttl(605 * SECOND);
    wire.0.store.set(&key, record(1, 100), open.clone()).await.unwrap();
    sleep(SOON).await;
    assert_eq!(process.breaker.state(), CircuitState::Open);
    wire.0.store.set(&key, record(2, 101), open.clone()).await.unwrap();
    sleep(SOON).await;
    assert_eq!(process.breaker.state(), CircuitState::Closed);
    // Of somebody slow, and of a server that has forgotten the last seconds; of nobody of ours; and without an end.
    for bytes in [record(1, 100), record(1, 99), record(7, 200), Bytes::from_static(b"text"), Bytes::new()] {
        wire.0.store.set(&key, bytes, open.clone()).await.unwrap();
        sleep(SOON).await;
        assert_eq!(process.breaker.state(), CircuitState::Closed);
    }
    wire.0.store.set(&key, record(1, 300), SetOptions::new()).await.unwrap();
    sleep(SOON).await;
    assert_eq!(process.breaker.state(), CircuitState::Closed);
    // Whatever is there, what happens here is said.
    process.trip();
    let other = Process::new(&wire);
    sleep(SOON).await;
    assert_eq!(other.breaker.state(), CircuitState::Open);
}

#[tokio::test(start_paused = true)]
async fn h103_a_clock_a_month_ahead_silences_nobody() {
    let wire = Wire::new();
    let old = Process::new(&wire);
    let month = u64::try_from(std::time::UNIX_EPOCH.elapsed().unwrap().as_millis()).unwrap() + 30 * 86_400_000;
    let mut bytes = vec![2];
    bytes.extend_from_slice(&month.to_le_bytes());
    bytes.extend_from_slice(&0_u32.to_le_bytes());
    let key = Key::of_parts(["breaker1", "dependency"]).unwrap();
    wire.0.store.set(&key, bytes.into(), SetOptions::new().ttl(2 * SECOND)).await.unwrap();
    sleep(SOON).await;
    // While it is there, others go on from it; when it is over, whatever comes is new.
    let one = Process::new(&wire);
    one.trip();
    sleep(SOON).await;
    assert!(old.is_open());
    one.breaker.force_close();
    sleep(SOON).await;
    assert!(!old.is_open());
    wire.0.store.clear().await.unwrap();
    sleep(SOON).await;
    let newcomer = Process::new(&wire);
    newcomer.trip();
    sleep(SOON).await;
    assert!(old.is_open() && one.is_open());
}

#[tokio::test(start_paused = true)]
async fn who_trips_together_agrees() {
    let wire = Wire::new();
    let all = [(); 8].map(|()| Process::new(&wire));
    sleep(SOON).await;
    all.iter().for_each(Process::trip);
    sleep(SOON).await;
    assert_eq!(states(&all), [CircuitState::Open; 8]);
    assert_eq!(most_probes(&all, 6 * SECOND).await, 1);
}

#[tokio::test(start_paused = true)]
async fn a_ramp_is_for_those_who_hear_of_it_too() {
    let wire = Wire::new();
    let all = [(); 2].map(|()| Process::with(&wire, config().ramp(10 * SECOND)));
    all[0].trip();
    sleep(SOON).await;
    all[0].breaker.half_open();
    all[0].call(Verdict::Success).unwrap();
    sleep(SOON).await;
    assert!(all.iter().all(|process| process.breaker.snapshot().ramp_left.is_some()));
}

#[tokio::test(start_paused = true)]
async fn dropped_it_goes_on_alone() {
    let wire = Wire::new();
    let all = [Process::new(&wire), Process::new(&wire)];
    sleep(SOON).await;
    let [one, Process { breaker, shared }] = all;
    drop(shared);
    one.trip();
    sleep(SOON).await;
    assert_eq!(breaker.state(), CircuitState::Closed);
}

#[test]
fn a93_every_fault_is_named_at_once() {
    let breaker = config().build().unwrap();
    let error = SharedBreaker::new("", &breaker).every(Duration::ZERO).deadline(Duration::ZERO).build().unwrap_err();
    let fields: Vec<_> = error.faults().iter().map(|fault| fault.field().to_owned()).collect();
    assert_eq!(fields, ["name", "store", "every", "deadline", "runtime"]);
}

/// Dice that always fall the same.
struct Dice(u64);

impl Dice {
    fn below(&mut self, n: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut x = self.0;
        x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (x ^ (x >> 31)) % n
    }
}

/// Minutes of calls that take their time, of a dependency and a store that come and go, of operators who meddle: nobody ever has more probes than may be while
/// the store is there, and when all is well again, all circuits close.
#[tokio::test(start_paused = true)]
async fn whatever_happens_all_close_when_all_is_well() {
    for seed in 0..40 {
        let (mut dice, wire, calm) = (Dice(seed), Wire::new(), seed % 2 == 0);
        let all = [(); 4].map(|()| Process::with(&wire, config().probes(2).open_for(SECOND).max_open(4 * SECOND).probe_lease(20 * SECOND)));
        let mut well = true;
        let mut out: Vec<(Instant, steadfast::CircuitPermit<'_>)> = Vec::new();
        for _ in 0..1_200 {
            well ^= dice.below(60) == 0;
            if !calm && dice.below(80) == 0 {
                wire.set_mode([Mode::Up, Mode::Down, Mode::Hung][dice.below(3) as usize]);
            }
            if !calm && dice.below(200) == 0 {
                let breaker = &all[dice.below(4) as usize].breaker;
                match dice.below(4) {
                    0 => breaker.force_open(),
                    1 => breaker.force_close(),
                    2 => drop(breaker.half_open()),
                    _ => breaker.reset(),
                }
            }
            let verdict = if well { Verdict::Success } else { Verdict::transient() };
            for process in &all {
                if dice.below(3) == 0
                    && let Ok(permit) = process.breaker.try_acquire()
                {
                    out.push((Instant::now() + Duration::from_millis(dice.below(400)), permit));
                }
            }
            if calm {
                let probes = out.iter().filter(|(_, permit)| permit.is_probe()).count();
                assert!(probes <= 2, "seed {seed}: {probes} probes at a time");
            }
            let over = |(done, _): &mut (Instant, _)| *done <= Instant::now();
            for (_, permit) in out.extract_if(.., over) {
                if dice.below(20) > 0 {
                    permit.settle(Outcome::Judged(verdict));
                } // else its caller has left
            }
            sleep(50 * MS).await;
        }
        drop(out);
        wire.set_mode(Mode::Up);
        for _ in 0..200 {
            for process in &all {
                let _ = process.call(Verdict::Success);
            }
            sleep(50 * MS).await;
        }
        assert_eq!(states(&all), [CircuitState::Closed; 4], "seed {seed}: {all:?}", all = all.each_ref().map(|process| &process.shared));
    }
}
