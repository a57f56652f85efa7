//! 9. Brown-out: the service itself becomes slower, for a minute.

use super::storm::{preset, retries_alone};
use super::{Entry, Findings, Lab, ms, per_second, secs, smooth};
use crate::figure::{Axis, Figure, Ink, Line, Panel};
use steadfast::PipelineBuilder;
use steadfast::testing::sim::{Dependency, Latency, Load, Report, Scenario};

const SEEDS: u64 = 5;

pub(crate) const ENTRY: Entry = Entry {
    name: "brownout",
    about: "each request takes up to five times as long for a minute, with retries alone and with the preset",
    lasts: secs((3 * SEEDS + 1) * 180),
    in_guide: true,
    run,
};

/// The service of the retry storm, so many times slower from 60 s to 120 s.
pub(crate) fn scenario(slower: f64, pipeline: fn() -> PipelineBuilder) -> Scenario {
    let service = Dependency::new(10, Latency::exponential(ms(100))).slow(slower, 60..120);
    Scenario::new("brownout", Load::poisson(80.0), service).through(pipeline).lasting(secs(180))
}

/// The answers a second that the service can give to 80 calls within the timeout of a second, exponential times being what they are.
fn feasible(slower: f64) -> f64 {
    (100.0 / slower).min(80.0) * (1.0 - (-10.0 / slower).exp())
}

fn run(lab: &Lab) -> Findings {
    let answers = |report: &Report| report.sum(70..120, |bucket| bucket.good) as f64 / 50.0;
    let mut numbers = Vec::new();
    let mut shown = None;
    for slower in [2.0, 3.0, 5.0] {
        let runs: Vec<Report> = (0..SEEDS).map(|later| lab.run(scenario(slower, preset), later)).collect();
        let mean = |value: &dyn Fn(&Report) -> f64| runs.iter().map(value).sum::<f64>() / runs.len() as f64;
        numbers.push((format!("preset, {slower} times slower: answers / feasible 70-120 s"), mean(&answers) / feasible(slower)));
        numbers.push((format!("preset, {slower} times slower: served 120-125 s"), mean(&|report| report.served(120..125))));
        numbers.push((format!("preset, {slower} times slower: served 125-140 s"), mean(&|report| report.served(125..140))));
        if slower == 3.0 {
            shown = runs.into_iter().next();
        }
    }
    let alone = lab.run(scenario(3.0, retries_alone), 0);
    numbers.push(("retries alone, 3 times slower: answers / feasible 70-120 s".into(), answers(&alone) / feasible(3.0)));
    numbers.push(("retries alone, 3 times slower: served 125-140 s".into(), alone.served(125..140)));
    let time = || Axis::linear(0.0, 180.0, 30.0, " s");
    let mut rates = Panel::new("answers per second", time(), Axis::linear(0.0, 120.0, 30.0, ""))
        .band(60.0, 120.0, "3x slower")
        .line(Line::new("feasible", Ink::Grey, [(0.0, 80.0), (60.0, feasible(3.0)), (120.0, 80.0), (180.0, 80.0)]).steps().filled());
    rates = rates.line(Line::new("retries alone", Ink::Red, smooth(&per_second(&alone, |bucket| bucket.good), 3)));
    let mut limits = Panel::new("limit: calls at once", time(), Axis::linear(0.0, 60.0, 10.0, "")).band(60.0, 120.0, "3x slower");
    let mut tables = vec![("retries_alone".into(), alone.to_csv())];
    if let Some(report) = &shown {
        rates = rates.line(Line::new("http preset", Ink::Blue, smooth(&per_second(report, |bucket| bucket.good), 3)));
        let seen = report.buckets().iter().filter_map(|bucket| Some((bucket.start.as_secs_f64() + 1.0, bucket.limit?)));
        limits = limits.line(Line::new("http preset", Ink::Blue, seen));
        tables.push(("preset".into(), report.to_csv()));
    }
    let figure = Figure {
        title: "A slow minute: the preset answers most of what can be, and is well with the service".into(),
        subtitle: "80 calls a second to ten servers of 100 ms; from 60 s to 120 s each request takes three times as long.\nEvery call: 1 s timeout, 3 retries with full jitter. What a client gave up is worked on all the same.".into(),
        panels: vec![rates, limits],
        side_by_side: false,
    };
    Findings { figure, tables, numbers }
}
