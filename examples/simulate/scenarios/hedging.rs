//! 4. Hedging: a second attempt beside a slow first one, at latencies with three kinds of tail.

use super::{Entry, Findings, Lab, ms, secs};
use crate::figure::{Axis, Figure, Ink, Line, Panel};
use std::time::Duration;
use steadfast::testing::sim::{Dependency, Latency, Load, Report, Scenario};
use steadfast::{Hedge, Pipeline, PipelineBuilder};

pub(crate) const ENTRY: Entry = Entry {
    name: "hedging",
    about: "a second attempt beside a slow first one: lognormal, Pareto and bimodal latency",
    lasts: secs(3 * 2 * SECONDS as u64),
    in_guide: true,
    run,
};

/// 60,000 calls.
const SECONDS: u32 = 300;

pub(crate) fn scenario(latency: Latency, pipeline: fn() -> PipelineBuilder) -> Scenario {
    // So many servers that nobody waits: what is slow is slow by itself.
    let service = Dependency::new(100_000, latency);
    Scenario::new("hedging", Load::poisson(200.0), service).through(pipeline).lasting(secs(SECONDS.into()))
}

fn plain() -> PipelineBuilder {
    Pipeline::builder("service")
}

fn hedged() -> PipelineBuilder {
    Pipeline::builder("service").hedge(Hedge::at_percentile(0.95).idempotent())
}

fn millis(latency: Option<Duration>) -> f64 {
    latency.map_or(f64::NAN, |latency| latency.as_secs_f64() * 1e3)
}

fn run(lab: &Lab) -> Findings {
    let kinds = [
        ("lognormal", Latency::lognormal(ms(20), 1.0)),
        ("Pareto", Latency::pareto(ms(10), 1.5)),
        ("bimodal", Latency::bimodal(Latency::lognormal(ms(15), 0.4), Latency::lognormal(ms(400), 0.4), 0.03)),
    ];
    let (mut numbers, mut tables, mut panels) = (Vec::new(), Vec::new(), Vec::new());
    for (name, latency) in kinds {
        let (alone, both) = (lab.run(scenario(latency.clone(), plain), 0), lab.run(scenario(latency, hedged), 0));
        // The first seconds know no percentile yet.
        let settled = 10..SECONDS;
        let at = |report: &Report, quantile| millis(report.latency(quantile, settled.clone()));
        for (text, quantile) in [("p50", 0.5), ("p99", 0.99), ("p99.9", 0.999)] {
            numbers.push((format!("{name}: {text} alone, ms"), at(&alone, quantile)));
            numbers.push((format!("{name}: {text} hedged, ms"), at(&both, quantile)));
        }
        numbers.push((format!("{name}: load hedged"), both.load(settled.clone())));
        // One call in so many is slower.
        let x = Axis::log(2.0, 1_000.0, &[(2.0, "50 %"), (10.0, "90 %"), (100.0, "99 %"), (1_000.0, "99.9 %")]);
        let y = Axis::log(10.0, 1_200.0, &[(10.0, "10 ms"), (100.0, "100 ms"), (1_000.0, "1 s")]);
        let curve = |report: &Report| {
            let rarities = (0..=54).map(|step| 2.0 * 500_f64.powf(f64::from(step) / 54.0));
            rarities.map(|rarity| (rarity, at(report, 1.0 - 1.0 / rarity))).collect::<Vec<_>>()
        };
        panels.push(
            Panel::new(format!("{name}: so many calls take at most .."), x, y)
                .line(Line::new("", Ink::Red, curve(&alone)))
                .line(Line::new("", Ink::Blue, curve(&both)))
                .note(2.4, 640.0, Ink::Red, "alone")
                .note(2.4, 420.0, Ink::Blue, format!("hedged: {:.1} % more load", 100.0 * (both.load(settled.clone()) - 1.0))),
        );
        tables.push((format!("{}_alone", name.to_lowercase()), alone.to_csv()));
        tables.push((format!("{}_hedged", name.to_lowercase()), both.to_csv()));
    }
    let (before, after) = (numbers[4].1, numbers[5].1);
    let figure = Figure {
        title: format!("One call in twenty asked twice, and of a thousand the slowest takes {after:.0} ms in place of {before:.0}"),
        subtitle: "200 calls a second to a service that is slow now and then, for no reason of the call's own.\nHedged: a second attempt when the first takes longer than 95 % do; the first success wins.".into(),
        panels,
        side_by_side: true,
    };
    Findings { figure, tables, numbers }
}
