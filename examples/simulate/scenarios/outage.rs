//! 3. Outage and recovery: the service is down for five minutes. What does it get, and how soon is everything well again?

use super::{Entry, Findings, Lab, ms, per_second, secs, smooth};
use crate::figure::{Axis, Figure, Ink, Line, Panel};
use steadfast::testing::sim::{Dependency, Latency, Load, Report, Scenario};
use steadfast::{CircuitBreaker, Pipeline, PipelineBuilder, Retry, Throttle};

pub(crate) const ENTRY: Entry = Entry {
    name: "outage",
    about: "a service is down for 300 s: with and without throttle and circuit breaker",
    lasts: secs(6 * RUNS * 480),
    in_guide: true,
    run,
};

/// Of how many runs the numbers are the mean.
const RUNS: u64 = 3;
const BEGIN: u32 = 60;
pub(crate) const END: u32 = 360;

pub(crate) fn scenario(pipeline: fn() -> PipelineBuilder) -> Scenario {
    let service = Dependency::new(10, Latency::exponential(ms(100))).queue(500).hangs(BEGIN..END);
    Scenario::new("outage", Load::poisson(80.0), service).through(pipeline).lasting(secs(480))
}

fn base() -> PipelineBuilder {
    Pipeline::builder("service").attempt_timeout(ms(1_000)).retry(Retry::exponential(3, ms(100)))
}

fn retries_alone() -> PipelineBuilder {
    base().retry(Retry::exponential(3, ms(100)).without_budget())
}

fn breaker() -> PipelineBuilder {
    base().circuit_breaker(CircuitBreaker::failure_rate(0.5))
}

fn throttle() -> PipelineBuilder {
    base().throttle(Throttle::new())
}

/// As the book has it.
fn textbook() -> PipelineBuilder {
    base().throttle(Throttle::new().fast_recovery(false))
}

fn both() -> PipelineBuilder {
    throttle().circuit_breaker(CircuitBreaker::failure_rate(0.5))
}

/// After how many seconds from its end 99 % of the calls of the next ten seconds are answered.
pub(crate) fn back_after(report: &Report) -> f64 {
    let found = (END..460).find(|&from| report.served(from..from + 10) >= 0.99);
    found.map_or(f64::INFINITY, |second| f64::from(second - END))
}

fn run(lab: &Lab) -> Findings {
    type Contestant = (&'static str, Ink, fn() -> PipelineBuilder);
    let contestants: [Contestant; 6] = [
        ("retries alone", Ink::Red, retries_alone),
        ("retry budget", Ink::Amber, base),
        ("textbook throttle", Ink::Violet, textbook),
        ("circuit breaker", Ink::Green, breaker),
        ("throttle and breaker", Ink::Grey, both),
        ("throttle", Ink::Blue, throttle),
    ];
    let mut numbers = Vec::new();
    let mut runs = Vec::new();
    for (name, ink, pipeline) in contestants {
        let mut reports: Vec<Report> = (0..RUNS).map(|later| lab.run(scenario(pipeline), later)).collect();
        let mean = |value: &dyn Fn(&Report) -> f64| reports.iter().map(value).sum::<f64>() / RUNS as f64;
        numbers.push((format!("{name}: requests per call while it hangs"), mean(&|report| report.load(BEGIN + 20..END))));
        numbers.push((format!("{name}: seconds until 99 % are answered again"), mean(&back_after)));
        runs.push((name, ink, reports.swap_remove(0)));
    }
    let time = || Axis::linear(0.0, 480.0, 60.0, " s");
    let mut load = Panel::new("requests per second at the service", time(), Axis::linear(0.0, 450.0, 150.0, "")).band(
        f64::from(BEGIN),
        f64::from(END),
        "the service hangs",
    );
    let zoom = Axis::linear(340.0, 460.0, 20.0, " s");
    let mut answers =
        Panel::new("answers per second, from 340 s on", zoom, Axis::linear(0.0, 100.0, 25.0, "")).band(340.0, f64::from(END), "");
    let offered = smooth(&per_second(&runs[0].2, |bucket| bucket.offered), 5);
    let late = |points: Vec<(f64, f64)>| points.into_iter().filter(|(second, _)| (340.0..460.0).contains(second));
    load = load.line(Line::new("calls", Ink::Grey, offered.clone()).filled());
    answers = answers.line(Line::new("calls", Ink::Grey, late(offered)).filled());
    for (name, ink, report) in &runs {
        // Two at once are hardly to be told from the throttle alone.
        if *name != "throttle and breaker" {
            load = load.line(Line::new(*name, *ink, smooth(&per_second(report, |bucket| bucket.requests), 5)));
            answers = answers.line(Line::new(*name, *ink, late(smooth(&per_second(report, |bucket| bucket.good), 3))));
        }
    }
    let after = |name: &str| {
        let wanted = format!("{name}: seconds until 99 % are answered again");
        numbers.iter().find(|(known, _)| *known == wanted).map_or(f64::NAN, |(_, value)| *value)
    };
    let figure = Figure {
        title: format!("After five minutes down all is well in {:.0} s; with retries alone, never", after("throttle")),
        subtitle: "80 calls a second with 3 retries each to a service that bears 100, and hangs from 60 s to 360 s.\nIt keeps 500 requests in its queue, and when it is back it works on them first, though nobody waits for them.".into(),
        panels: vec![load, answers],
        side_by_side: false,
    };
    let tables = runs.iter().map(|(name, _, report)| (name.replace(' ', "_"), report.to_csv())).collect();
    Findings { figure, tables, numbers }
}
