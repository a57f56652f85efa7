//! 6. Priorities: twice the load that the service bears, for a minute. Who gets through?

use super::{Entry, Findings, Lab, ms, secs};
use crate::figure::{Axis, Figure, Ink, Line, Panel};
use steadfast::testing::sim::{Dependency, Latency, Load, Scenario};
use steadfast::{Pipeline, PipelineBuilder, Priority};

pub(crate) const ENTRY: Entry = Entry {
    name: "priorities",
    about: "twice the load a service bears for a minute, in five priorities",
    lasts: secs(170),
    in_guide: true,
    run,
};

const MIX: [(Priority, f64); 5] =
    [(Priority::Critical, 0.1), (Priority::High, 0.2), (Priority::Normal, 0.4), (Priority::Low, 0.2), (Priority::Background, 0.1)];

pub(crate) fn scenario() -> Scenario {
    // 80 a second, and 200 from 60 s to 120 s, to a service that bears 100.
    let load = Load::poisson(80.0).times(2.5, 60..120).mix(MIX);
    Scenario::new("priorities", load, Dependency::new(10, Latency::exponential(ms(100)))).through(pipeline).lasting(secs(170))
}

fn pipeline() -> PipelineBuilder {
    Pipeline::http("api")
}

fn run(lab: &Lab) -> Findings {
    let report = lab.run(scenario(), 0);
    let mut numbers: Vec<(String, f64)> =
        MIX.iter().map(|(priority, _)| (format!("{priority:?}: served 60-120 s"), report.served_of(*priority, 60..120))).collect();
    numbers.push(("all: served 60-120 s".into(), report.served(60..120)));
    numbers.push(("goodput per second 60-120 s".into(), report.sum(60..120, |bucket| bucket.good) as f64 / 60.0));
    let inks = [Ink::Blue, Ink::Green, Ink::Violet, Ink::Amber, Ink::Red];
    let mut panel =
        Panel::new("share of the calls that were answered", Axis::linear(0.0, 150.0, 30.0, " s"), Axis::linear(0.0, 100.0, 25.0, " %"))
            .band(60.0, 120.0, "twice the load that the service bears")
            .note(63.0, 93.0, Ink::Blue, "Critical, High")
            .note(63.0, 81.0, Ink::Violet, "Normal")
            .note(63.0, 7.0, Ink::Red, "Low, Background");
    for ((priority, _), ink) in MIX.into_iter().zip(inks).rev() {
        let place = priority as usize;
        let shares = report.buckets()[..150].chunks(2).map(|two| {
            let (served, offered) = two.iter().fold((0, 0), |sum, b| (sum.0 + b.served_by[place], sum.1 + b.offered_by[place]));
            (two[0].start.as_secs_f64() + 1.0, if offered == 0 { 100.0 } else { 100.0 * served as f64 / offered as f64 })
        });
        panel = panel.line(Line::new("", ink, shares));
    }
    let figure = Figure {
        title: format!("Twice the load that the service bears, and {:.0} % of the critical calls are answered", numbers[0].1 * 100.0),
        subtitle: "200 calls a second to a service that bears 100: a tenth of them critical, two fifths normal.\nThe http preset: a limit that finds itself, and a short queue in which the more important goes first.".into(),
        panels: vec![panel],
        side_by_side: false,
    };
    Findings { figure, tables: vec![("run".into(), report.to_csv())], numbers }
}
