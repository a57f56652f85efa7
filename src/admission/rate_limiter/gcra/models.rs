//! Small models that loom plays through in every order of their steps: units are taken and handed back while time passes.
//!
//! `RUSTFLAGS="--cfg steadfast_loom" cargo test --release --lib models::`

use super::{Gcra, Receipt};
use crate::models::model;
use crate::sync::atomic::{AtomicU64, Ordering};
use loom::thread;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

const ONE: NonZeroU32 = NonZeroU32::MIN;
const SECOND: Duration = Duration::from_secs(1);

/// A bucket of so many units, one a second, and a clock of whole seconds that the model moves.
struct World {
    bucket: Gcra,
    epoch: Instant,
    seconds: AtomicU64,
}

impl World {
    fn new(burst: u32) -> Arc<Self> {
        let epoch = Instant::now();
        Arc::new(Self { bucket: Gcra::new(1, SECOND, burst, epoch), epoch, seconds: AtomicU64::new(0) })
    }

    fn at(&self, seconds: u64) -> Instant {
        self.epoch + SECOND * u32::try_from(seconds).expect("few")
    }

    fn now(&self) -> Instant {
        self.at(self.seconds.load(Ordering::SeqCst))
    }

    fn take(&self) -> Option<Receipt> {
        self.bucket.take(ONE, self.now()).ok()
    }

    fn give_back(&self, receipt: Receipt) {
        self.bucket.give_back(receipt, || self.now());
    }

    /// The clock goes on, and then all there is is taken.
    fn take_all_at(&self, seconds: u64) -> usize {
        self.seconds.store(seconds, Ordering::SeqCst);
        std::iter::from_fn(|| self.take()).count()
    }
}

#[test]
fn h49_one_unit_is_granted_once() {
    model(4, || {
        let world = World::new(1);
        let other = Arc::clone(&world);
        let thread = thread::spawn(move || other.take().is_some());
        let mine = world.take().is_some();
        assert!(mine ^ thread.join().expect("no panic"));
        assert!(world.take().is_none());
    });
}

#[test]
fn h06_a_reservation_handed_back_beside_a_full_refill_is_not_granted_on_top_of_it() {
    for burst in [1, 2] {
        model(3, move || {
            let world = World::new(burst);
            let receipt = world.take().expect("full");
            let other = Arc::clone(&world);
            let gives = thread::spawn(move || other.give_back(receipt));
            // By now the bucket is full, with or without what is handed back: it holds a burst, and no more.
            let taken = world.take_all_at(10);
            gives.join().expect("no panic");
            let taken = taken + world.take_all_at(10);
            assert_eq!(taken, burst as usize);
        });
    }
}

#[test]
fn h06_two_that_hand_back_together_hand_back_what_they_took_and_no_more() {
    model(3, || {
        let world = World::new(2);
        let receipts = [(); 2].map(|()| world.take().expect("two"));
        let threads = receipts.map(|receipt| {
            let world = Arc::clone(&world);
            thread::spawn(move || world.give_back(receipt))
        });
        // Half of the time: one unit has come back by itself.
        let early = world.take_all_at(1);
        threads.into_iter().for_each(|thread| thread.join().expect("no panic"));
        let all = early + world.take_all_at(1);
        assert!((1..=2).contains(&all), "{all} of a bucket of two");
    });
}

#[test]
fn h06_handed_back_beside_a_taker_it_is_there_once() {
    model(3, || {
        let world = World::new(1);
        let receipt = world.take().expect("full");
        let other = Arc::clone(&world);
        let gives = thread::spawn(move || other.give_back(receipt));
        let early = usize::from(world.take().is_some());
        gives.join().expect("no panic");
        assert_eq!(early + world.take_all_at(0), 1);
    });
}

#[test]
fn h47_handed_back_beside_a_change_of_the_rate_it_makes_nobody_richer() {
    model(2, || {
        let world = World::new(2);
        let [one, _two] = [(); 2].map(|()| world.take().expect("two"));
        let other = Arc::clone(&world);
        let gives = thread::spawn(move || other.give_back(one));
        world.bucket.set(1, 2 * SECOND, 2, world.now());
        gives.join().expect("no panic");
        assert!(world.bucket.available(world.now()) <= 1, "one of the two is out for good");
    });
}

#[test]
fn h51_a_setting_is_read_whole_while_it_changes() {
    model(3, || {
        let world = World::new(2);
        let old = world.bucket.pace();
        let other = Arc::clone(&world);
        let changes = thread::spawn(move || other.bucket.set(7, 60 * SECOND, 3, other.now()));
        let read = world.bucket.pace();
        changes.join().expect("no panic");
        let new = world.bucket.pace();
        assert_eq!((new.version, new.burst, new.period), (old.version + 2, 3, 60_000_000_000));
        assert!(read == old || read == new, "{read:?} is neither {old:?} nor {new:?}");
    });
}
