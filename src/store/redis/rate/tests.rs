//! The scripts beside the arithmetic that they say again: the same steps, the same moments, the same decisions.

#![expect(clippy::unwrap_used, reason = "a test may panic")]

use super::*;
use crate::store::rate::Calendar;
use proptest::prelude::*;
use proptest::strategy::ValueTree;
use redis::{Client, Connection};

#[path = "../../../../tests/redis_server/mod.rs"]
mod redis_server;
use redis_server::RedisServer;

/// The scripts with a clock of the test's.
struct Bench {
    scripts: Scripts,
    server: Connection,
    _process: RedisServer,
}

impl Bench {
    fn new() -> Option<Self> {
        let process = RedisServer::start()?;
        let server = Client::open(process.url()).and_then(|client| client.get_connection()).ok()?;
        let clock = "local now = tonumber(redis.call('GET', 'now'))";
        let real = PRELUDE.lines().filter(|line| line.contains("redis.call('TIME')") || line.starts_with("local now")).count();
        assert_eq!(real, 2, "the clock is in two lines");
        let prelude = PRELUDE
            .replace("local time = redis.call('TIME')", "")
            .replace("local now = tonumber(time[1]) * 1000000 + tonumber(time[2])", clock);
        // Keys end by the real clock, which is not the test's.
        let lasting = "floor(long / 1000) + 2";
        assert_eq!(prelude.matches(lasting).count(), 1, "how long keys last is in one place");
        let prelude = prelude.replace(lasting, "floor(long / 1000) + 1000000000");
        let scripts = Scripts::new(&prelude);
        Some(Self { scripts, server, _process: process })
    }

    fn at(&mut self, now: u64) {
        let _: () = cmd("SET").arg("now").arg(now).query(&mut self.server).unwrap();
    }

    fn run(&mut self, what: &str, now: u64, key: &str, terms: &Terms, units: u32) -> Option<Decision> {
        self.at(now);
        let mut script = self.scripts.of(terms.algorithm).arg(what);
        request(&mut script, key.into(), terms, units);
        let numbers: Vec<i64> = script.invoke(&mut self.server).unwrap();
        assert_eq!(numbers[1], 0, "a key was healed");
        decide(&numbers[2..], now, terms, units)
    }
}

#[derive(Clone, Debug)]
enum Step {
    Take(u32),
    Give(u32),
    Wait(u64),
    Back(u64),
    Quota(usize),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => (0..4_u32).prop_map(Step::Take),
        1 => (5..30_u32).prop_map(Step::Take),
        1 => (1..9_u32).prop_map(Step::Give),
        4 => (0..400_000_u64).prop_map(Step::Wait),
        1 => (0..90_000_000_u64).prop_map(Step::Wait),
        1 => (0..1_200_000_u64).prop_map(Step::Back),
        1 => (2_000_000..9_000_000_u64).prop_map(Step::Back),
        1 => (0..3_usize).prop_map(Step::Quota),
    ]
}

/// Quotas that follow one another: what the scripts clamp is more than the limit of a window, so none has a smaller one.
fn quotas(algorithm: Algorithm) -> [Vec<Quota>; 3] {
    let of = |all: [Quota; 3]| all.map(|quota| quota.algorithm(algorithm)).to_vec();
    let ms = Duration::from_millis;
    let plain = of([Quota::per_second(10), Quota::per(10, ms(700)), Quota::per(10, ms(60_000))]);
    let odd = of([
        Quota::per(7, Duration::from_micros(3_333_333)),
        Quota::per(7, Duration::from_micros(1)),
        Quota::per(7, Duration::from_secs(86_400)),
    ]);
    let big = of([Quota::per_day(u32::MAX), Quota::per(u32::MAX, Duration::from_secs(3_000_000_000)), Quota::per_second(u32::MAX)]);
    match algorithm {
        Algorithm::Gcra | Algorithm::TokenBucket => {
            let burst = vec![plain[0].burst(3), plain[1].burst(25), plain[2].burst(10)];
            [burst, odd, big]
        }
        Algorithm::SlidingLog => [plain.clone(), odd, plain],
        _ => [plain, odd, big],
    }
}

/// One of the numbers that a state is made of: the first is its moment, the second of a counter its period.
fn number_at(state: &State, at: usize) -> u64 {
    state.encode().get(at..).and_then(|bytes| bytes.first_chunk()).map_or(0, |bytes| u64::from_le_bytes(*bytes))
}

#[test]
fn g67_scripts_decide_as_the_arithmetic_does() {
    let Some(mut bench) = Bench::new() else { return };
    let mut runner = proptest::test_runner::TestRunner::deterministic();
    let steps = proptest::collection::vec(step(), 60);
    let mut number = 0;
    for algorithm in Algorithm::ALL {
        let (mut went, mut refused) = (0, 0);
        for quotas in quotas(algorithm) {
            for _ in 0..30 {
                number += 1;
                let key = format!("k{number}");
                let mut now = 1_800_000_000_000_000;
                let mut quota = quotas[0];
                let mut kept: Option<State> = None;
                let steps = steps.new_tree(&mut runner).unwrap().current();
                for (at, step) in steps.iter().enumerate() {
                    let terms = quota.terms(0).unwrap();
                    // Of the big ones, so much that it counts.
                    let many = |units: u32| if quota.limit() == u32::MAX && units > 0 { 600_000_000 + units * 1_234_567 } else { units };
                    match step {
                        Step::Take(units) if many(*units) <= terms.capacity => {
                            let units = many(*units);
                            let asked = kept.clone().unwrap_or_else(|| State::new(&terms, now));
                            let mut state = asked.clone();
                            let expected = state.take(now, &terms, units);
                            let seen = bench.run("take", now, &key, &terms, units);
                            assert_eq!(seen, Some(expected), "{quota}, step {at} of {steps:?}: take {units} at {now} from {asked:?}");
                            // As in any store, what took nothing is not written; unless something had to be put right: a clock set back, another window.
                            let took = expected.allowed && units > 0;
                            let moved = match algorithm {
                                Algorithm::SlidingLog => true,
                                Algorithm::SlidingCounter => {
                                    number_at(&state, 1) < number_at(&asked, 1) || number_at(&state, 9) != number_at(&asked, 9)
                                }
                                Algorithm::FixedWindow => state.encode()[1..17] != asked.encode()[1..17] && state.encode()[17..] != [0; 4],
                                _ => number_at(&state, 1) < number_at(&asked, 1),
                            };
                            // Nor is more spent than can be.
                            let full = algorithm == Algorithm::Gcra
                                && number_at(&state, 9) == 0
                                && number_at(&state, 13) >> 32 == u64::from(terms.capacity);
                            if took || (moved || full) && kept.is_some() {
                                kept = Some(state);
                            }
                            if expected.allowed { went += 1 } else { refused += 1 }
                        }
                        Step::Take(_) => {}
                        Step::Give(units) => {
                            if let Some(state) = &mut kept {
                                state.give_back(now, &terms, many(*units));
                                if state.clone().take(now, &terms, 0).reset_after.is_zero() {
                                    kept = None;
                                }
                            }
                            bench.run("give", now, &key, &terms, many(*units));
                        }
                        Step::Wait(us) => now += us,
                        Step::Back(us) => now -= us,
                        Step::Quota(which) => quota = quotas[*which],
                    }
                }
            }
        }
        assert!(went > 100 && refused > 100, "{algorithm}: {went} went, {refused} did not");
    }
}

#[test]
fn h103_no_clock_but_the_servers_counts() {
    let ours = include_str!("mod.rs");
    assert!(!["Instant", "SystemTime", "Timestamp"].iter().any(|clock| ours.contains(clock)), "a clock of the client's");
    let scripts = [PRELUDE, LEVEL, WINDOWS, LOG, DRIVER].concat();
    assert_eq!(scripts.matches("redis.call('TIME')").count(), 1);
    assert!(!scripts.contains("os.time") && !scripts.contains("os.clock"));
}

#[test]
fn windows_by_the_calendar_are_the_same_dates() {
    let Some(mut bench) = Bench::new() else { return };
    for calendar in Calendar::ALL {
        let terms = Quota::calendar(5, calendar).terms(1).unwrap();
        for number in 0..400_u64 {
            // Every few months from 1970 on, and both sides of a boundary.
            let moment = 1 + number * 97 * 86_400_000_000 + number * 1_234_567;
            let (start, end) = calendar.window(moment);
            for (at, now) in [moment, start, end - 1].into_iter().enumerate() {
                let key = format!("{calendar}:{number}:{at}");
                let decision = bench.run("take", now, &key, &terms, 1).unwrap();
                assert_eq!((decision.remaining, decision.reset_after), (4, Duration::from_micros(end - now)), "{calendar} at {now}");
            }
        }
    }
}
