//! The simulator, and what its scenarios show: the figures to hold.
//!
//! All of them: `cargo test --release --features testing --test simulator`.

#[path = "../examples/simulate/figure.rs"]
mod figure;
#[path = "../examples/simulate/plot.rs"]
mod plot;
#[path = "../examples/simulate/scenarios/mod.rs"]
#[expect(dead_code, reason = "the example writes tables and lists scenarios")]
mod scenarios;

use scenarios::{ALL, Findings, Lab, day, storm};
use std::sync::Arc;
use std::time::Duration;
use steadfast::testing::sim::{self, Dependency, Failure, Latency, Load, Scenario};
use steadfast::{Bulkhead, CircuitBreaker, Pipeline, Priority, Retry, Verdict};

const fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

const fn secs(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

/// The findings of a scenario with the guide's seed.
fn findings(name: &str) -> Findings {
    let lab = Lab { seed: 1, tell: Arc::new(|_| ()) };
    let entry = ALL.iter().find(|entry| entry.name == name).expect("known");
    let findings = (entry.run)(&lab);
    println!("{}", findings.figure.title);
    findings.numbers.iter().for_each(|(name, value)| println!("  {name:<60}{value:>10.3}"));
    the_guide_shows(entry.name, &findings);
    findings
}

/// What is in the guide is what this run gave. The figure's very lines depend on the last bits of `ln` and `cos`, which are a matter of
/// the platform; the numbers do not.
fn the_guide_shows(name: &str, findings: &Findings) {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/src/guide/figures/");
    let anew = "draw the guide's figures anew: cargo run --release --example simulate -- --guide";
    let known = std::fs::read_to_string(format!("{folder}numbers.csv")).expect(anew);
    let shown: Vec<&str> = known.lines().filter(|line| line.starts_with(&format!("{name},"))).collect();
    let now: Vec<String> = findings.numbers.iter().map(|(what, value)| format!("{name},{what:?},{value:.3}")).collect();
    assert_eq!(shown, now, "{anew}");
    if cfg!(all(target_os = "linux", target_arch = "x86_64")) {
        let shown = std::fs::read_to_string(format!("{folder}{name}.svg")).expect(anew);
        assert!(shown == plot::svg(&findings.figure).expect("drawn"), "{name}.svg: {anew}");
    }
}

#[test]
fn the_same_seed_gives_the_same_report_to_the_last_byte() {
    let scenario = storm::scenario(storm::preset).lasting(secs(100));
    let first = sim::run(&scenario, 7).expect("sound").to_csv();
    // In a runtime, too: it has a thread and a clock of its own.
    let again = tokio::runtime::Runtime::new().expect("runtime").block_on(async { sim::run(&scenario, 7).expect("sound").to_csv() });
    assert!(first == again);
    assert!(first != sim::run(&scenario, 8).expect("sound").to_csv(), "another seed is another day");
    assert_eq!(first.lines().count(), 101);
}

#[test]
fn one_stream_of_chance_does_not_shift_another() {
    let scenario = |load| Scenario::new("streams", load, Dependency::new(10, Latency::exponential(ms(50)))).lasting(secs(20));
    let run = |load| sim::run(&scenario(load), 3).expect("sound");
    let plain = run(Load::poisson(100.0));
    let mixed = run(Load::poisson(100.0).mix([(Priority::High, 1.0), (Priority::Low, 1.0)]));
    // Who matters how much is drawn elsewhere than who comes when, and how long it takes.
    assert_eq!(plain.to_csv(), mixed.to_csv());
    assert!(mixed.sum(0..20, |bucket| bucket.offered_by[Priority::Low as usize]) > 800);
}

/// Queueing theory knows what ten servers at 80 % load do (Erlang's C formula): the model must do the same.
#[test]
fn the_dependency_is_an_m_m_c_queue() {
    let scenario = Scenario::new("M/M/10", Load::poisson(80.0), Dependency::new(10, Latency::exponential(ms(100)))).lasting(secs(1_500));
    let report = sim::run(&scenario, 1).expect("sound");
    let answered: f64 = report.buckets().iter().flat_map(|bucket| &bucket.latencies).map(|&micros| f64::from(micros) / 1e6).sum();
    let mean = answered / report.sum(0..1_500, |bucket| bucket.good) as f64;
    // C(10, 8) = 0.409; wait = C / (100 - 80) = 20.5 ms; and half a millisecond until tokio's clock ticks.
    assert!((mean - 0.1209).abs() < 0.003, "{mean}");
    let rate = report.sum(0..1_500, |bucket| bucket.offered) as f64 / 1_500.0;
    assert!((rate - 80.0).abs() < 0.9, "{rate}");
    assert_eq!(report.load(0..1_500), 1.0);
}

#[test]
#[cfg_attr(debug_assertions, ignore = "slow without --release")]
fn s1_retries_alone_never_answer_again_and_the_preset_holds() {
    let found = findings("storm");
    for window in ["70-90", "120-150", "200-240"] {
        assert!(found.number(&format!("retries alone, goodput {window} s")) < 0.01);
        assert!(found.number(&format!("retries alone, load {window} s")) > 3.8);
    }
    for (window, least) in [("30-60", 0.98), ("60-70", 0.40), ("70-90", 0.98), ("120-150", 0.99), ("200-240", 0.99)] {
        assert!(found.number(&format!("preset, goodput {window} s")) >= least, "{window}");
        assert!(found.number(&format!("preset, served {window} s")) >= least, "{window}");
        assert!(found.number(&format!("preset, load {window} s")) <= 1.1, "{window}");
    }
}

/// As the guide says: its queue is full of calls that have not the time left.
#[test]
#[cfg_attr(debug_assertions, ignore = "slow without --release")]
fn s1_a_long_queue_is_no_help() {
    let long = || {
        let base = Pipeline::builder("long queue").total_timeout(secs(10)).attempt_timeout(secs(1)).retry(Retry::exponential(3, ms(100)));
        base.bulkhead(Bulkhead::new(20).queue(10_000))
    };
    let served = |seed| sim::run(&storm::scenario(long).lasting(secs(100)), seed).expect("sound").served(70..90);
    let mean = (1..=3).map(served).sum::<f64>() / 3.0;
    assert!((0.1..0.33).contains(&mean), "{mean}");
}

#[test]
#[cfg_attr(debug_assertions, ignore = "slow without --release")]
fn s2_jitter_makes_the_contest_short_and_cheap() {
    let found = findings("jitter");
    let time = |name: &str| found.number(&format!("{name}: completion with 200 clients, ms"));
    let tries = |name: &str| found.number(&format!("{name}: tries with 200 clients"));
    for jittered in ["equal", "full", "decorrelated"] {
        assert!(time(jittered) < time("no jitter") / 8.0, "{jittered}");
        assert!(tries(jittered) < tries("no jitter") / 2.0, "{jittered}");
        assert!(tries(jittered) < tries("no pause") / 3.0, "{jittered}");
    }
    assert!(time("full") < time("equal"));
}

#[test]
#[cfg_attr(debug_assertions, ignore = "slow without --release")]
fn s3_the_throttle_is_back_within_ten_seconds() {
    let found = findings("outage");
    let back = |name: &str| found.number(&format!("{name}: seconds until 99 % are answered again"));
    let load = |name: &str| found.number(&format!("{name}: requests per call while it hangs"));
    assert!(back("throttle") <= 10.0 && load("throttle") < 0.05);
    assert!(back("circuit breaker") <= 30.0 && load("circuit breaker") < 0.01);
    assert!(back("retry budget").is_finite() && load("retry budget") < 1.15);
    assert!(back("retries alone").is_infinite() && load("retries alone") > 3.9);
    assert!(back("textbook throttle").is_infinite(), "not within 100 s");
}

#[test]
#[cfg_attr(debug_assertions, ignore = "slow without --release")]
fn s4_hedges_halve_the_slowest_in_a_thousand() {
    let found = findings("hedging");
    for tail in ["lognormal", "Pareto", "bimodal"] {
        let at = |what: &str| found.number(&format!("{tail}: {what}"));
        assert!(at("p99.9 hedged, ms") <= at("p99.9 alone, ms") / 2.0, "{tail}");
        assert!(at("p50 hedged, ms") <= at("p50 alone, ms") + 1.0, "{tail}");
        assert!(at("load hedged") <= 1.06, "{tail}");
    }
}

#[test]
#[cfg_attr(debug_assertions, ignore = "slow without --release")]
fn s5_the_adaptive_limit_follows_the_capacity() {
    let found = findings("adaptive");
    for servers in [20, 10, 40] {
        assert!(found.number(&format!("default: answers / capacity, {servers} servers")) > 0.97, "{servers}");
        let limit = found.number(&format!("default: mean limit / {servers} servers"));
        assert!((1.0..1.8).contains(&limit), "{servers}: {limit}");
    }
}

#[test]
#[cfg_attr(debug_assertions, ignore = "slow without --release")]
fn s6_critical_calls_are_answered_at_twice_the_load() {
    let found = findings("priorities");
    assert!(found.number("Critical: served 60-120 s") >= 0.99);
    assert!(found.number("goodput per second 60-120 s") > 97.0, "and nothing of the service's strength is lost");
}

#[test]
#[cfg_attr(debug_assertions, ignore = "slow without --release")]
fn s7_budgets_keep_two_layers_of_retries_from_multiplying() {
    let found = findings("layers");
    assert!(found.number("without budgets: load 65-115 s") > 15.5);
    assert!(found.number("with budgets: load 65-115 s") < 1.3);
    assert!(found.number("only the inner layer, with a budget: load 65-115 s") < 1.15);
}

#[test]
#[cfg_attr(debug_assertions, ignore = "slow without --release")]
fn h69_three_layers_of_three_tries_are_hardly_more_than_one() {
    let requests = sim::virtually(1, async || {
        let layer = |name: &str| Pipeline::builder(name).retry(Retry::exponential(2, ms(10))).build().expect("sound");
        let (edge, service, database) = (layer("edge"), layer("service"), layer("database"));
        let requests = std::cell::Cell::new(0_u32);
        for _ in 0..1_000 {
            let called = edge
                .call(|| async {
                    let inner = service.call(|| async {
                        let innermost = database.call(|| async {
                            requests.set(requests.get() + 1);
                            Err::<(), _>("down")
                        });
                        innermost.await.map_err(|_| "no database")
                    });
                    inner.await.map_err(|_| "no service")
                })
                .await;
            assert!(called.is_err());
        }
        requests.get()
    });
    assert!((1_000..=1_130).contains(&requests), "{requests}");
}

#[test]
#[cfg_attr(debug_assertions, ignore = "slow without --release")]
fn h70_e15_an_overload_ends_with_its_cause() {
    let service = Dependency::new(100, Latency::exponential(ms(100)));
    let scenario = Scenario::new("metastable", Load::poisson(800.0).times(2.5, 20..30), service)
        .through(|| Pipeline::http("service").attempt_timeout(ms(1_000)))
        .lasting(secs(75));
    let report = sim::run(&scenario, 1).expect("sound");
    assert!(report.goodput(60..70) >= 0.95, "{}", report.goodput(60..70));
    assert!(report.served(35..60) >= 0.95, "within five seconds already: {}", report.served(35..60));
    assert!(report.load(20..75) <= 1.1, "{}", report.load(20..75));
}

/// Every kind of incident twice: noticed within the breaker's window, over within two of its open times, at hardly any more load.
fn e02(incidents: u32, per_second: f64, seconds: u32) {
    let incidents = day::incidents(incidents, seconds);
    let report = sim::run(&day::scenario(&incidents, per_second, seconds), 1).expect("sound");
    for incident in incidents {
        let after = day::aftermath(&report, incident);
        println!("{after:?}");
        assert!(after.noticed <= Some(10), "{after:?}");
        // 5, 10, 20 and 40 s it is open, if it lasts so long.
        assert!(after.recovered <= 2 * 40, "{after:?}");
        assert!(after.load <= 1.1, "{after:?}");
    }
}

#[test]
#[cfg_attr(debug_assertions, ignore = "slow without --release")]
fn e02_an_hour_of_incidents() {
    e02(14, 100.0, 4_200);
}

#[test]
#[ignore = "17 million calls: a minute, with --release"]
fn e02_a_day_of_incidents() {
    e02(50, 200.0, 86_400);
}

#[test]
fn h71_clients_that_failed_together_do_not_come_back_together() {
    let most = sim::virtually(1, async || {
        let begun = tokio::time::Instant::now();
        let mut clients = tokio::task::JoinSet::new();
        for seed in 0..1_000 {
            // Each is a process of its own.
            let pipeline = Pipeline::builder("client").retry(Retry::exponential(1, secs(1)).seed(seed).without_budget()).build();
            clients.spawn(async move {
                let tries = std::sync::Mutex::new(Vec::new());
                let pipeline = pipeline.expect("sound");
                let fail = || async {
                    tries.lock().expect("one task").push(begun.elapsed());
                    Err::<(), _>("down")
                };
                assert!(pipeline.call(fail).await.is_err());
                tries.into_inner().expect("one task")[1]
            });
        }
        let mut retries: Vec<Duration> = clients.join_all().await;
        retries.sort_unstable();
        (0..retries.len()).map(|from| retries[from..].iter().take_while(|at| **at < retries[from] + ms(10)).count()).max()
    });
    assert!(most <= Some(30), "of 1,000 within 10 ms: {most:?}");
}

#[test]
fn herds_come_at_once_and_clients_wait_for_their_answers() {
    let quick = || Dependency::new(1_000, Latency::constant(ms(100)));
    let herd = Scenario::new("herd", Load::nobody().herd(500, 3), quick()).lasting(secs(5));
    let report = sim::run(&herd, 1).expect("sound");
    assert_eq!(report.sum(3..4, |bucket| bucket.offered), 500);
    assert_eq!(report.sum(0..5, |bucket| bucket.offered), 500);
    assert_eq!(report.latency(0.99, 0..5), Some(ms(100)));

    let clients = Scenario::new("clients", Load::clients(10, Latency::constant(ms(100))), quick()).lasting(secs(10));
    let report = sim::run(&clients, 1).expect("sound");
    assert_eq!(report.sum(1..9, |bucket| bucket.offered), 8 * 10 * 5, "one in 200 ms each");
}

#[test]
fn bad_days_are_as_bad_as_said() {
    let service = Dependency::new(10, Latency::constant(ms(100)))
        .queue(20)
        .outage(10..12)
        .hangs(20..22)
        .slow(2.0, 30..32)
        .errors(1.0, 40..42)
        .servers(5, 50)
        .servers(20, 55);
    let scenario = Scenario::new("bad days", Load::even(90.0).times(10.0, 60..61), service)
        .through(|| {
            Pipeline::builder("plain").attempt_timeout(secs(1)).classify(|failure: &Failure| match failure {
                Failure::Down | Failure::Full | Failure::Failed => Verdict::transient(),
                _ => Verdict::permanent(),
            })
        })
        .lasting(secs(65));
    let report = sim::run(&scenario, 1).expect("sound");
    assert_eq!(report.served(0..9), 1.0);
    assert_eq!(report.served(10..12), 0.0, "down");
    assert!(report.sum(20..22, |bucket| bucket.done) <= 10, "what ran is finished, and nothing else begins");
    assert!(report.sum(30..32, |bucket| bucket.done) <= 110, "half as quick: {}", report.sum(30..32, |bucket| bucket.done));
    assert_eq!(report.served(40..42), 0.0, "every request fails");
    assert!((0.5..0.62).contains(&report.goodput(51..55)), "half the servers: {}", report.goodput(51..55));
    assert_eq!(report.served(56..59), 1.0, "twice the servers");
    assert!((0.2..0.3).contains(&report.goodput(60..61)), "200 of 900: {}", report.goodput(60..61));
}

#[test]
fn abandoned_work_is_done_for_nobody_unless_it_is_dropped() {
    let run = |drops| {
        let service = Dependency::new(10, Latency::constant(ms(100))).drops_abandoned(drops);
        let scenario = Scenario::new("abandoned", Load::even(200.0), service)
            .through(|| Pipeline::builder("plain").attempt_timeout(ms(500)))
            .lasting(secs(20));
        sim::run(&scenario, 1).expect("sound")
    };
    let (done_for_nobody, dropped) = (run(false), run(true));
    assert_eq!(done_for_nobody.goodput(10..20), 0.0, "ten servers, all busy for nobody");
    assert_eq!(done_for_nobody.sum(10..20, |bucket| bucket.wasted), 1_000);
    let waiting = |report: &sim::Report| report.buckets()[19].waiting;
    assert!(waiting(&dropped) <= 110, "half a second of calls: {}", waiting(&dropped));
    assert!(waiting(&done_for_nobody) > 1_900, "a hundred more each second: {}", waiting(&done_for_nobody));
}

#[test]
fn policies_are_seen_bucket_by_bucket() {
    let scenario = Scenario::new("seen", Load::poisson(100.0), Dependency::new(10, Latency::constant(ms(50))).outage(5..10))
        .through(|| {
            let breaker = CircuitBreaker::failure_rate(0.5).window(secs(1)).open_for(secs(2));
            Pipeline::builder("service").circuit_breaker(breaker).bulkhead(Bulkhead::new(30)).retry(Retry::exponential(1, ms(10)))
        })
        .lasting(secs(20));
    let report = sim::run(&scenario, 1).expect("sound");
    let states: Vec<&str> = report.buckets().iter().map(|bucket| bucket.circuit.map_or("", |state| state.as_str())).collect();
    assert!(states[..5].iter().all(|state| *state == "closed") && states.contains(&"open") && states[19] == "closed", "{states:?}");
    assert_eq!(report.buckets()[3].limit, Some(30.0));
    assert!(report.buckets()[6].budget < report.buckets()[3].budget);
    assert!(report.sum(7..8, |bucket| bucket.refused) > 80);
    assert!(report.to_csv().lines().nth(8).is_some_and(|line| line.contains(",open,30.0,0,,")));
}

#[test]
fn loads_that_are_no_numbers_do_no_harm() {
    let calls = |load: Load| {
        let scenario = Scenario::new("odd", load, Dependency::new(10, Latency::constant(ms(1)))).lasting(secs(3));
        sim::run(&scenario, 1).expect("sound").sum(0..3, |bucket| bucket.offered)
    };
    for rate in [0.0, -1.0, f64::NAN, f64::NEG_INFINITY] {
        assert_eq!((calls(Load::poisson(rate)), calls(Load::even(rate))), (0, 0), "{rate}");
    }
    assert_eq!(calls(Load::even(100.0).times(f64::NAN, 0..1).times(0.0, 1..2).wave(f64::NAN, 0)), 199, "a second of silence");
    assert!(calls(Load::poisson(100.0).times(f64::INFINITY, 0..3).times(-5.0, 1..2).mix([(Priority::Low, f64::NAN)])) < 300);
    // Refused at once, they begin again a millisecond later.
    let down = Dependency::new(1, Latency::constant(ms(1))).outage(0..9);
    let eager = Scenario::new("eager", Load::clients(2, Latency::constant(ms(0))), down).lasting(secs(1));
    assert_eq!(sim::run(&eager, 1).expect("sound").sum(0..1, |bucket| bucket.failed), 2 * 999);
}

#[test]
fn settings_that_cannot_work_are_an_error() {
    let scenario = Scenario::new("unsound", Load::poisson(1.0), Dependency::new(1, Latency::constant(ms(1))))
        .through(|| Pipeline::builder("").bulkhead(Bulkhead::new(0)));
    assert!(sim::run(&scenario, 1).is_err());
}
