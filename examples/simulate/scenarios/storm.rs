//! 1. Retry storm: three times the load for ten seconds, and then?

use super::{Entry, Findings, Lab, ms, per_second, secs, smooth};
use crate::figure::{Axis, Figure, Ink, Line, Panel};
use steadfast::testing::sim::{Dependency, Latency, Load, Report, Scenario};
use steadfast::{Pipeline, PipelineBuilder, Retry};

pub(crate) const ENTRY: Entry = Entry {
    name: "storm",
    about: "three times the load for 10 s, with retries alone and with the preset",
    lasts: secs(4 * 240),
    in_guide: true,
    run,
};

/// The windows of the figures to hold.
pub(crate) const WINDOWS: [std::ops::Range<u32>; 5] = [30..60, 60..70, 70..90, 120..150, 200..240];

/// Poisson 80/s, 10 workers, exponential service of 0.1 s on average, FIFO; what was abandoned is done all the same.
pub(crate) fn scenario(pipeline: fn() -> PipelineBuilder) -> Scenario {
    Scenario::new("storm", Load::poisson(80.0).times(3.0, 60..70), Dependency::new(10, Latency::exponential(ms(100))))
        .through(pipeline)
        .lasting(secs(240))
}

/// What many a client does: 1 s timeout, 3 retries with full jitter, and nothing else.
pub(crate) fn retries_alone() -> PipelineBuilder {
    Pipeline::builder("retries").attempt_timeout(ms(1_000)).retry(Retry::exponential(3, ms(100)).without_budget())
}

/// The preset, with the client's timeout of 1 s and its retries.
pub(crate) fn preset() -> PipelineBuilder {
    Pipeline::http("preset").attempt_timeout(ms(1_000)).retry(Retry::exponential(3, ms(100)))
}

fn run(lab: &Lab) -> Findings {
    let alone = lab.run(scenario(retries_alone), 0);
    let presets: Vec<Report> = (0..3).map(|later| lab.run(scenario(preset), later)).collect();
    let mut numbers = Vec::new();
    for window in WINDOWS {
        let mean = |value: &dyn Fn(&Report) -> f64| presets.iter().map(value).sum::<f64>() / presets.len() as f64;
        let name = format!("{}-{} s", window.start, window.end);
        numbers.push((format!("retries alone, goodput {name}"), alone.goodput(window.clone())));
        numbers.push((format!("retries alone, load {name}"), alone.load(window.clone())));
        numbers.push((format!("preset, goodput {name}"), mean(&|report| report.goodput(window.clone()))));
        numbers.push((format!("preset, served {name}"), mean(&|report| report.served(window.clone()))));
        numbers.push((format!("preset, load {name}"), mean(&|report| report.load(window.clone()))));
    }
    let preset = &presets[0];
    let time = || Axis::linear(0.0, 240.0, 30.0, " s");
    let offered = smooth(&per_second(preset, |bucket| bucket.offered), 3);
    let answers = Panel::new("answers per second", time(), Axis::linear(0.0, 250.0, 50.0, ""))
        .band(60.0, 70.0, "3x")
        .line(Line::new("calls", Ink::Grey, offered.clone()).filled())
        .line(Line::new("retries alone", Ink::Red, smooth(&per_second(&alone, |bucket| bucket.good), 3)))
        .line(Line::new("http preset", Ink::Blue, smooth(&per_second(preset, |bucket| bucket.good), 3)));
    let load = Panel::new("requests per second at the service", time(), Axis::linear(0.0, 1000.0, 250.0, ""))
        .band(60.0, 70.0, "3x")
        .line(Line::new("calls", Ink::Grey, offered).filled())
        .line(Line::new("retries alone", Ink::Red, smooth(&per_second(&alone, |bucket| bucket.requests), 3)))
        .line(Line::new("http preset", Ink::Blue, smooth(&per_second(preset, |bucket| bucket.requests), 3)));
    let figure = Figure {
        title: "Ten busy seconds, and with retries alone the service never answers again".into(),
        subtitle: "80 calls a second to a service that bears 100; three times as many from 60 s to 70 s.\nEvery call: 1 s timeout, 3 retries with full jitter. What a client gave up is worked on all the same.".into(),
        panels: vec![answers, load],
        side_by_side: false,
    };
    Findings { figure, tables: vec![("retries_alone".into(), alone.to_csv()), ("preset".into(), preset.to_csv())], numbers }
}
