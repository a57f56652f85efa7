//! The machine by itself: moments in milliseconds, calls one by one.

use super::*;
use crate::admission::throttle::Throttle;
use crate::call::Priority::{Background, Critical, Normal};

const YES: Outcome = Outcome::Judged(Verdict::Success);
const NO: Outcome = Outcome::TimedOut;

struct Bench {
    machine: Machine,
    start: Instant,
}

impl Bench {
    fn new(config: ThrottleConfig) -> Self {
        let start = Instant::now();
        Self { machine: Machine::starting(config.seed(7), 4, start), start }
    }

    /// One that accepted nothing of 20 calls at 0 ms, and a call at 3 s.
    fn recovering(config: ThrottleConfig) -> Self {
        let bench = Self::new(config);
        bench.tell(NO, 20, 0);
        bench.tell(YES, 1, 3_000);
        assert_eq!(bench.mode(), RECOVERING);
        bench
    }

    fn at(&self, millis: u64) -> Instant {
        self.start + Duration::from_millis(millis)
    }

    fn mode(&self) -> u64 {
        mode_of(self.machine.face.word.load(Ordering::Relaxed))
    }

    /// So many calls that nobody held back came to this.
    fn tell(&self, outcome: Outcome, calls: usize, millis: u64) {
        for _ in 0..calls {
            let word = self.machine.face.word.load(Ordering::Relaxed);
            let started = turn(self.machine.nanos(self.start));
            self.machine.settle(Ticket::new(word, started, Lent::Nothing), outcome, self.at(millis));
        }
    }

    fn ticket(&self, priority: Priority, millis: u64) -> Option<Ticket> {
        self.machine.acquire(priority, self.at(millis))
    }

    fn take(&self, priority: Priority, millis: u64) -> Option<Lent> {
        self.ticket(priority, millis).map(Ticket::lent)
    }

    fn takes<const N: usize>(&self, priority: Priority, millis: u64) -> [Option<Lent>; N] {
        std::array::from_fn(|_| self.take(priority, millis))
    }

    fn requests(&self, millis: u64) -> u64 {
        self.machine.snapshot(self.at(millis)).requests
    }
}

const HELD_BACK: Option<Lent> = None;
const FREE: Option<Lent> = Some(Lent::Nothing);
const CREDIT: Option<Lent> = Some(Lent::Credit);
const PROBE: Option<Lent> = Some(Lent::Probe);

fn counts(accepts: u64, failures: u64) -> Counts {
    Counts { accepts, failures, refused: 0 }
}

// ---- the rules, with figures worked out by hand ----

#[test]
fn down_is_less_than_half_of_what_steady_overload_accepts() {
    // Of 20 at least. K = 2: steady overload accepts a half, so down is less than a quarter.
    let rules = Rules::new(Throttle::new());
    let down =
        [(5, 15), (5, 16), (0, 19), (0, 20), (100, 300), (100, 301)].map(|(accepts, failures)| rules.is_down(counts(accepts, failures)));
    assert_eq!(down, [false, true, false, true, false, true]);
}

#[test]
fn room_is_more_than_halfway_from_steady_overload_to_all_and_no_chance() {
    // Likelihood ratio of a share a to steady overload s: n * (a ln(a/s) + (1-a) ln((1-a)/(1-s))) >= 8.
    // K = 2, s = 1/2: all accepted needs 8 / ln 2 = 11.5 calls; three quarters (halfway), 8 / 0.1308 = 61.2.
    let rules = Rules::new(Throttle::new());
    let room = |accepts, failures| rules.has_room(counts(accepts, failures));
    assert_eq!([room(0, 0), room(11, 0), room(12, 0)], [false, false, true]);
    assert_eq!([room(45, 15), room(48, 16), room(299, 101), room(0, 100)], [false, true, false, false]);
    // K = 4, s = 1/4: halfway is 5/8, where 8 / 0.3128 = 25.6 calls are needed.
    let rules = Rules::new(Throttle::new().accept_multiplier(4.0));
    let room = |accepts, failures| rules.has_room(counts(accepts, failures));
    assert_eq!([room(15, 9), room(20, 12), room(249, 151)], [false, true, false]);
}

#[test]
fn overload_on_the_way_back_needs_a_hundred_calls_or_next_to_no_accepts() {
    let rules = Rules::new(Throttle::new());
    let overloaded = |accepts, failures, refused| rules.is_overloaded(Counts { accepts, failures, refused });
    assert_eq!([overloaded(50, 50, 0), overloaded(49, 51, 0), overloaded(49, 50, 0)], [false, true, false]);
    assert_eq!([overloaded(0, 19, 0), overloaded(0, 20, 0), overloaded(5, 15, 0), overloaded(5, 16, 0)], [false, true, false, true]);
    assert!(!overloaded(60, 40, 10_000), "what was refused meanwhile says nothing");
}

#[test]
fn one_accept_lets_k_more_go_at_least_two_and_at_most_a_thousand() {
    let credit = |k| Rules::new(Throttle::new().accept_multiplier(k)).credit();
    assert_eq!([1.05, 2.0, 2.1, 999.5, f64::MAX].map(credit), [2, 2, 3, 1_000, 1_000]);
}

#[test]
fn a_moment_is_over_when_it_has_come_or_is_further_off_than_it_was_set() {
    assert_eq!([100, 99, 95, 94, 0].map(|now| is_over(100, now, 5)), [true, false, false, true, true]);
}

#[test]
fn a_ticket_tells_its_generation_its_terms_and_what_was_before_it() {
    let millis = |n: u64| n << 20; // as long as a turn
    for generation in [0, 1, 2, (1 << 30) - 1] {
        for lent in [Lent::Nothing, Lent::Credit, Lent::Probe] {
            let ticket = Ticket::new(word_of(generation, RECOVERING), turn(millis(7)), lent);
            assert_eq!((ticket.lent(), ticket.is_probe()), (lent, lent != Lent::Nothing));
            let of = |other| [IDLE, HOLDING, RECOVERING].map(|mode| ticket.is_of(word_of(other, mode)));
            assert_eq!((of(generation), of(generation + 1)), ([true; 3], [false; 3]));
            assert_eq!([0, 6, 7, 8].map(|n| ticket.is_after(millis(n))), [true, true, false, false]);
        }
    }
    // Turns begin again after 52 days.
    let ticket = Ticket::new(0, turn(millis((1 << 32) + 1)), Lent::Nothing);
    assert_eq!([(1 << 32) - 1, 1 << 32, (1 << 32) + 1, (1 << 32) + 2].map(|n| ticket.is_after(millis(n))), [true, true, false, false]);
}

// ---- into it ----

#[test]
fn what_is_not_enough_to_hold_back_changes_nothing() {
    let bench = Bench::new(Throttle::new());
    bench.tell(NO, 19, 0);
    assert_eq!(bench.mode(), IDLE);
    bench.tell(YES, 30, 0);
    bench.tell(NO, 11, 0);
    assert_eq!(bench.mode(), IDLE, "half of 60");
    bench.tell(NO, 1, 0);
    assert_eq!(bench.mode(), HOLDING);
}

#[test]
fn not_each_failure_is_looked_at_but_one_in_256_of_what_is_counted() {
    // From 512 calls on two failures in a row are let pass unseen: the 513th and 514th.
    let bench = Bench::new(Throttle::new().min_requests(513));
    let held_back_from = (1..=1_000).find(|_| {
        bench.tell(NO, 1, 0);
        bench.mode() == HOLDING
    });
    assert_eq!(held_back_from, Some(515));
}

#[test]
fn a_view_of_the_whole_holds_for_one_call_in_256_and_a_fiftieth_of_a_bucket() {
    let overloaded = || {
        let bench = Bench::new(Throttle::new().fast_recovery(false));
        bench.tell(NO, 512, 0);
        assert_eq!(bench.take(Background, 0), HELD_BACK);
        bench.tell(YES, 600, 0);
        bench
    };
    // Two calls more go by what was, and then all is well.
    let bench = overloaded();
    assert_eq!((bench.takes(Background, 0), bench.mode()), ([HELD_BACK, HELD_BACK, FREE], IDLE));
    // A bucket of 30 s is 3 s.
    let bench = overloaded();
    assert_eq!([59, 60].map(|millis| bench.take(Background, millis)), [HELD_BACK, FREE]);
    // Other settings are not judged by a view of before.
    let bench = overloaded();
    assert!(bench.machine.reconfigure(&bench.machine.config().max_rejection(0.9)));
    assert_eq!(bench.take(Background, 0), FREE);
}

// ---- while calls are held back ----

/// Half of what comes is to be held back, and that is what `Normal` calls bear: `Background` never goes, `Critical` always.
fn half_is_held_back(config: ThrottleConfig) -> Bench {
    let bench = Bench::new(config);
    bench.tell(YES, 25, 0);
    bench.tell(NO, 75, 0);
    (0..500).for_each(|_| bench.machine.tallies.get().shard().mix_in(Normal));
    assert_eq!(bench.mode(), HOLDING);
    bench
}

#[test]
fn what_is_certain_is_not_left_to_chance() {
    let bench = half_is_held_back(Throttle::new().fast_recovery(false));
    for _ in 0..20 {
        assert_eq!((bench.take(Background, 0), bench.take(Critical, 0)), (HELD_BACK, FREE));
    }
    assert_eq!(bench.machine.random.bits(), Random::new(Some(7)).bits());
    let through = (0..1_000).filter(|_| bench.take(Normal, 0) == FREE).count();
    assert!((10..500).contains(&through), "{through}");
    // Nor on the way back.
    let bench = Bench::recovering(Throttle::new());
    let taken: [_; 6] = bench.takes(Normal, 3_000);
    assert_eq!(taken, [CREDIT, CREDIT, PROBE, HELD_BACK, HELD_BACK, HELD_BACK]);
    assert_eq!(bench.machine.random.bits(), Random::new(Some(7)).bits());
}

#[test]
fn a_probe_goes_when_nothing_went_for_an_interval_give_or_take_an_eighth() {
    let bench = half_is_held_back(Throttle::new());
    let background = |millis| bench.take(Background, millis);
    let critical = |millis| assert_eq!(bench.take(Critical, millis), FREE);
    assert_eq!([0, 500].map(background), [PROBE, HELD_BACK], "none ever went");
    critical(500);
    assert_eq!([1_000, 1_499, 1_500].map(background), [HELD_BACK, HELD_BACK, PROBE]);
    // What goes within an eighth of the last is not written down.
    critical(1_625);
    assert_eq!([2_499, 2_500].map(background), [HELD_BACK, PROBE]);
    critical(2_626);
    assert_eq!([3_500, 3_625, 3_626].map(background), [HELD_BACK, HELD_BACK, PROBE]);
    // The textbook knows no probes.
    let bench = half_is_held_back(Throttle::new().fast_recovery(false));
    assert_eq!([0, 1_000, 9_000].map(|millis| bench.take(Background, millis)), [HELD_BACK; 3]);
}

#[test]
fn an_accept_ends_an_outage_three_intervals_after_it_began_and_no_sooner() {
    let bench = Bench::new(Throttle::new());
    bench.tell(NO, 20, 0);
    bench.tell(YES, 1, 2_999);
    assert_eq!((bench.mode(), bench.requests(2_999)), (HOLDING, 21));
    bench.tell(YES, 1, 3_000);
    assert_eq!((bench.mode(), bench.requests(3_000)), (RECOVERING, 0), "what was before is forgotten");
    let textbook = Bench::new(Throttle::new().fast_recovery(false));
    textbook.tell(NO, 20, 0);
    textbook.tell(YES, 1, 9_000);
    assert_eq!((textbook.mode(), textbook.requests(9_000)), (HOLDING, 21));
}

/// A good time at 0 s and an outage at 10 s, of which the window still holds about the same: the share says steady overload.
fn after_a_good_time() -> Bench {
    let bench = Bench::new(Throttle::new());
    bench.tell(YES, 200, 0);
    bench.tell(NO, 205, 10_000);
    bench.tell(YES, 1, 11_000);
    assert_eq!(bench.mode(), HOLDING);
    bench
}

#[test]
fn an_accept_after_ten_failures_in_a_row_over_three_intervals_ends_an_outage() {
    let bench = after_a_good_time();
    bench.tell(NO, 10, 11_500);
    bench.tell(YES, 1, 14_000);
    assert_eq!(bench.mode(), HOLDING, "ten, but 2.5 s");
    bench.tell(NO, 9, 14_100);
    bench.tell(YES, 1, 18_000);
    assert_eq!(bench.mode(), HOLDING, "nearly 4 s, but nine");
    bench.tell(NO, 1, 18_100);
    bench.tell(NO, 9, 19_000);
    bench.tell(YES, 1, 21_100);
    assert_eq!(bench.mode(), RECOVERING);
}

#[test]
fn who_has_looked_in_vain_looks_again_an_eighth_of_an_interval_later() {
    let bench = after_a_good_time();
    bench.tell(YES, 1, 13_500);
    assert_eq!(bench.mode(), HOLDING);
    bench.tell(NO, 1_000, 13_550);
    bench.tell(YES, 1, 13_624);
    assert_eq!(bench.mode(), HOLDING);
    bench.tell(YES, 1, 13_625);
    assert_eq!(bench.mode(), RECOVERING, "far less is accepted than in steady overload");
}

#[test]
fn where_far_more_is_accepted_than_in_steady_overload_it_is_over() {
    let bench = Bench::new(Throttle::new());
    bench.tell(YES, 20, 0);
    bench.tell(NO, 21, 0);
    bench.tell(YES, 41, 1_000); // and one more: 62 of 83 are just less than three quarters
    bench.tell(YES, 1, 3_000);
    assert_eq!(bench.mode(), HOLDING);
    bench.tell(YES, 1, 3_125);
    assert_eq!(bench.mode(), RECOVERING);
}

// ---- the way back ----

#[test]
fn on_the_way_back_two_go_for_each_accept_and_eight_places_are_for_critical_calls() {
    let bench = Bench::recovering(Throttle::new());
    let first = bench.ticket(Normal, 3_000).expect("lent on the first accept");
    assert_eq!(bench.takes(Normal, 3_000), [CREDIT, PROBE, HELD_BACK]);
    assert_eq!(bench.takes(Critical, 3_000), [CREDIT, CREDIT, CREDIT, CREDIT, CREDIT, CREDIT, CREDIT, CREDIT, HELD_BACK]);
    assert_eq!([3_999, 4_000].map(|millis| bench.take(Background, millis)), [HELD_BACK, PROBE]);
    // What critical calls took is made up for before others go.
    bench.machine.settle(first, YES, bench.at(4_000));
    assert_eq!(bench.take(Normal, 4_000), HELD_BACK);
    assert_eq!(bench.takes(Critical, 4_000), [CREDIT, CREDIT, HELD_BACK]);
    (0..5).for_each(|_| bench.machine.settle(first, YES, bench.at(4_000)));
    assert_eq!((bench.takes(Normal, 4_000), bench.mode()), ([CREDIT, CREDIT, HELD_BACK], RECOVERING));
}

#[test]
fn a_whole_round_trip_without_a_refusal_ends_it_and_begins_to_count_anew() {
    let bench = Bench::recovering(Throttle::new());
    let early = bench.ticket(Critical, 3_000).expect("lent");
    assert_eq!(bench.takes(Normal, 3_001), [CREDIT, PROBE, HELD_BACK]);
    bench.machine.settle(early, YES, bench.at(3_100));
    assert_eq!((bench.mode(), bench.machine.snapshot(bench.at(3_100)).probability), (RECOVERING, 0.0), "somebody was refused meanwhile");
    let late = bench.ticket(Critical, 3_100).expect("lent");
    bench.machine.settle(late, YES, bench.at(3_200));
    assert_eq!((bench.mode(), bench.requests(3_200)), (IDLE, 0));
}

#[test]
fn the_way_back_ends_where_the_dependency_is_overloaded_still() {
    let bench = Bench::recovering(Throttle::new());
    assert_eq!(bench.takes(Normal, 3_000), [CREDIT, CREDIT, PROBE, HELD_BACK, HELD_BACK]);
    bench.tell(NO, 19, 3_000);
    assert_eq!(bench.mode(), RECOVERING);
    bench.tell(NO, 1, 3_000);
    assert_eq!((bench.mode(), bench.requests(3_000)), (HOLDING, 22), "and what was counted stays");
}

#[test]
fn u9_on_the_way_back_the_cap_is_kept_too() {
    let bench = Bench::recovering(Throttle::new().max_rejection(0.75));
    assert_eq!(bench.takes(Normal, 3_000), [CREDIT, CREDIT, PROBE]);
    let through = (0..2_000).filter(|_| bench.take(Background, 3_000) == FREE).count();
    assert!((400..600).contains(&through), "a quarter: {through}");
}

#[test]
fn what_a_call_that_said_nothing_went_on_serves_another() {
    let bench = Bench::recovering(Throttle::new());
    let [credit, probe] = [0, 0].map(|_| {
        let ticket = bench.ticket(Normal, 3_000).expect("lent");
        let _ = bench.take(Normal, 3_000);
        ticket
    });
    assert_eq!((credit.lent(), probe.lent(), bench.take(Normal, 3_000)), (Lent::Credit, Lent::Probe, HELD_BACK));
    bench.machine.give_back(credit, false);
    assert_eq!(bench.takes(Normal, 3_000), [CREDIT, HELD_BACK]);
    bench.machine.give_back(probe, false);
    assert_eq!(bench.take(Normal, 3_000), HELD_BACK, "one that was made is spent");
    bench.machine.give_back(probe, true);
    assert_eq!(bench.takes(Normal, 3_000), [PROBE, HELD_BACK]);
}

#[test]
fn what_was_sent_before_an_outage_was_forgotten_says_nothing_after() {
    let bench = Bench::new(Throttle::new());
    let (mut millis, mut before) = (0, Vec::new());
    for _ in 0..5 {
        // Held back, on the way back, and let go again.
        bench.tell(NO, 20, millis);
        before.push(bench.ticket(Critical, millis + 2_500).expect("a probe is due"));
        bench.tell(YES, 1, millis + 3_000);
        assert_eq!(bench.mode(), RECOVERING);
        let last = bench.ticket(Normal, millis + 3_100).expect("lent");
        before.push(last);
        bench.machine.settle(last, YES, bench.at(millis + 3_200));
        assert_eq!((bench.mode(), bench.requests(millis + 3_200)), (IDLE, 0));
        for ticket in &before {
            [YES, NO, Outcome::NotAttempted]
                .into_iter()
                .for_each(|outcome| bench.machine.settle(*ticket, outcome, bench.at(millis + 3_300)));
        }
        assert_eq!((bench.mode(), bench.requests(millis + 3_300)), (IDLE, 0));
        bench.tell(YES, 1, millis + 3_300);
        assert_eq!(bench.requests(millis + 3_300), 1);
        millis += 60_000;
    }
}

// ---- settings ----

#[test]
fn the_first_call_counts_for_a_whole_window_and_no_longer() {
    for millis in [20, 70, 130, 1_100, 30_000] {
        let bench = Bench::new(Throttle::new().window(Duration::from_millis(millis)));
        bench.tell(NO, 1, 0);
        assert_eq!([0, millis - 1, millis].map(|at| bench.requests(at)), [1, 1, 0], "{millis} ms");
    }
}

#[test]
fn over_another_window_it_counts_anew_also_one_that_was_before() {
    let bench = Bench::new(Throttle::new());
    let window = |millis| bench.machine.config().window(Duration::from_millis(millis));
    let (long, short) = (window(30_000), window(100));
    for _ in 0..3 {
        bench.tell(NO, 5, 0);
        assert_eq!([0, 99, 101, 25_000].map(|millis| bench.requests(millis)), [5; 4]);
        assert!(!bench.machine.reconfigure(&short));
        assert_eq!((bench.machine.config(), bench.requests(0)), (short.clone(), 0));
        bench.tell(NO, 7, 0);
        assert_eq!([0, 89, 101, 25_000].map(|millis| bench.requests(millis)), [7, 7, 0, 0]);
        assert!(bench.machine.reconfigure(&short.clone().min_requests(1)));
        assert_eq!(bench.requests(0), 7, "the same window");
        assert!(!bench.machine.reconfigure(&long));
        assert_eq!((bench.machine.config(), bench.requests(0)), (long.clone(), 0));
    }
}
