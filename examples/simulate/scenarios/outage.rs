//! 3. Outage and recovery: the service is down for five minutes. What does it get, and how soon is everything well again?

use super::{Entry, Findings, Lab, ms, per_second, secs, smooth};
use crate::figure::{Axis, Figure, Ink, Line, Panel};
use steadfast::testing::sim::{Dependency, Latency, Load, Report, Scenario};
use steadfast::{Call, CircuitBreaker, Gate, GateFuture, Outcome, Pass, Pipeline, PipelineBuilder, Retry, Throttle, ThrottlePermit};
use tokio::time::Instant;

pub(crate) const ENTRY: Entry = Entry {
    name: "outage",
    about: "a service is down for 300 s: with and without throttle and circuit breaker",
    lasts: secs(4 * 480),
    in_guide: true,
    run,
};

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
    base().gate(Throttling(Throttle::new().build().expect("sound")))
}

fn textbook() -> PipelineBuilder {
    base().gate(Throttling(Throttle::new().fast_recovery(false).build().expect("sound")))
}

fn both() -> PipelineBuilder {
    throttle().circuit_breaker(CircuitBreaker::failure_rate(0.5))
}

struct Throttling(Throttle);
impl Gate for Throttling {
    fn admit<'a>(&'a self, call: Call<'a>) -> GateFuture<'a> {
        let permit = self.0.try_acquire(call.priority_level(), call.attempt().started());
        Box::pin(async move { Ok(Box::new(Through(permit?)) as Box<dyn Pass>) })
    }
}
struct Through<'a>(ThrottlePermit<'a>);
impl Pass for Through<'_> {
    fn settle(self: Box<Self>, outcome: Outcome) {
        self.0.settle_at(outcome, Instant::now());
    }
}

/// After how many seconds from its end 99 % of the calls of the next ten seconds are answered.
pub(crate) fn back_after(report: &Report) -> f64 {
    let found = (END..460).find(|&from| report.served(from..from + 10) >= 0.99);
    found.map_or(f64::INFINITY, |second| f64::from(second - END))
}

fn run(lab: &Lab) -> Findings {
    let runs = [("retries alone", Ink::Red, lab.run(scenario(retries_alone), 0)), ("retry budget", Ink::Amber, lab.run(scenario(base), 0)), ("textbook", Ink::Grey, lab.run(scenario(textbook), 0)),("throttle", Ink::Blue, lab.run(scenario(throttle), 0)),("both", Ink::Violet, lab.run(scenario(both), 0)),("circuit breaker", Ink::Green, lab.run(scenario(breaker), 0))];
    let mut numbers = Vec::new();
    for (name, _, report) in &runs {
        numbers.push((format!("{name}: requests per call while it is down"), report.load(BEGIN + 20..END)));
        numbers.push((format!("{name}: seconds until 99 % are answered again"), back_after(report)));
    }
    let time = || Axis::linear(0.0, 480.0, 60.0, " s");
    let mut load = Panel::new("requests per second at the service", time(), Axis::linear(0.0, 400.0, 100.0, ""))
        .band(f64::from(BEGIN), f64::from(END), "down");
    let mut answers = Panel::new("answers per second", time(), Axis::linear(0.0, 100.0, 25.0, "")).band(f64::from(BEGIN), f64::from(END), "down");
    let offered = smooth(&per_second(&runs[0].2, |bucket| bucket.offered), 5);
    load = load.line(Line::new("calls", Ink::Grey, offered.clone()).filled());
    answers = answers.line(Line::new("calls", Ink::Grey, offered).filled());
    for (name, ink, report) in &runs {
        load = load.line(Line::new(*name, *ink, smooth(&per_second(report, |bucket| bucket.requests), 5)));
        answers = answers.line(Line::new(*name, *ink, smooth(&per_second(report, |bucket| bucket.good), 5)));
    }
    let figure = Figure {
        title: "Down for five minutes".into(),
        subtitle: "80 calls a second, 3 retries each.".into(),
        panels: vec![load, answers],
        side_by_side: false,
    };
    let tables = runs.iter().map(|(name, _, report)| (name.replace(' ', "_"), report.to_csv())).collect();
    Findings { figure, tables, numbers }
}
