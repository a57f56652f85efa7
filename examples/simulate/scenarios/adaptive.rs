//! 5. The adaptive limit: finds how much a service bears, also when that is halved, and doubled twice.

use super::{Entry, Findings, Lab, ms, per_second, secs, smooth};
use crate::figure::{Axis, Figure, Ink, Line, Panel};
use steadfast::testing::sim::{Dependency, Latency, Load, Report, Scenario};
use steadfast::{AdaptiveLimit, AdaptiveLimitConfig, Pipeline};

pub(crate) const ENTRY: Entry = Entry {
    name: "adaptive",
    about: "the adaptive limit at a service whose capacity is halved, and then four times as much",
    lasts: secs(3 * 180),
    in_guide: true,
    run,
};

/// How many servers there are, from which second on.
const SERVERS: [(u32, u32); 3] = [(0, 20), (60, 10), (120, 40)];

pub(crate) fn scenario(limit: fn() -> AdaptiveLimitConfig) -> Scenario {
    let [(_, first), (half, fewer), (more, most)] = SERVERS;
    let service = Dependency::new(first, Latency::exponential(ms(100))).servers(fewer, half).servers(most, more);
    // More than it ever bears: 500 calls a second.
    Scenario::new("adaptive", Load::poisson(500.0), service)
        .through(move || Pipeline::builder("service").attempt_timeout(ms(1_000)).adaptive_limit(limit()))
        .lasting(secs(180))
}

fn run(lab: &Lab) -> Findings {
    let runs: [(&str, Ink, Report); 3] = [
        ("AIMD", Ink::Red, lab.run(scenario(AdaptiveLimit::aimd), 0)),
        ("Gradient2", Ink::Amber, lab.run(scenario(AdaptiveLimit::gradient2), 0)),
        ("default", Ink::Blue, lab.run(scenario(AdaptiveLimit::new), 0)),
    ];
    let mut numbers = Vec::new();
    for (name, _, report) in &runs {
        for (from, servers) in SERVERS {
            // Ten seconds after the change it must have been found.
            let settled = report.buckets().iter().filter(|b| (u64::from(from) + 10..u64::from(from) + 60).contains(&b.start.as_secs()));
            let limits: Vec<f64> = settled.filter_map(|bucket| bucket.limit).collect();
            let mean = limits.iter().sum::<f64>() / limits.len() as f64;
            numbers.push((format!("{name}: mean limit / {servers} servers"), mean / f64::from(servers)));
            let good = report.sum(from + 10..from + 60, |bucket| bucket.good) as f64 / 50.0;
            numbers.push((format!("{name}: answers / capacity, {servers} servers"), good / (f64::from(servers) * 10.0)));
        }
    }
    let time = || Axis::linear(0.0, 180.0, 30.0, " s");
    let capacity = |each: f64| {
        let ends = SERVERS.iter().map(move |&(from, servers)| (f64::from(from), f64::from(servers) * each));
        ends.chain([(180.0, f64::from(SERVERS[2].1) * each)])
    };
    let mut limits = Panel::new("limit: calls at once", time(), Axis::linear(0.0, 180.0, 30.0, ""))
        .line(Line::new("servers", Ink::Grey, capacity(1.0)).steps().filled());
    let mut answers = Panel::new("answers per second", time(), Axis::linear(0.0, 400.0, 100.0, ""))
        .line(Line::new("capacity", Ink::Grey, capacity(10.0)).steps().filled());
    for (name, ink, report) in &runs {
        let seen = report.buckets().iter().filter_map(|bucket| Some((bucket.start.as_secs_f64() + 1.0, bucket.limit?)));
        limits = limits.line(Line::new(*name, *ink, seen));
        answers = answers.line(Line::new(*name, *ink, smooth(&per_second(report, |bucket| bucket.good), 3)));
    }
    let ratios = numbers.iter().filter(|(name, _)| name.starts_with("default: mean limit")).map(|(_, ratio)| *ratio);
    let (least, most) = ratios.fold((f64::INFINITY, 0.0), |(least, most), ratio| (f64::min(least, ratio), f64::max(most, ratio)));
    let figure = Figure {
        title: format!("The limit finds what the service bears: {least:.1} to {most:.1} times its servers, however many they are"),
        subtitle: "500 calls a second, more than the service ever bears: 20 servers of 100 ms, 10 from 60 s on, 40 from 120 s on.\nThe limit that wastes nothing is a little above the number of servers; far above it there is only a queue.".into(),
        panels: vec![limits, answers],
        side_by_side: false,
    };
    let tables = runs.iter().map(|(name, _, report)| (name.to_lowercase(), report.to_csv())).collect();
    Findings { figure, tables, numbers }
}
