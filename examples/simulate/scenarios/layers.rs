//! 7. Two layers of retries: a gateway calls a service, which calls a database that fails for a minute.

use super::{Entry, Findings, Lab, ms, per_second, secs, smooth};
use crate::figure::{Axis, Figure, Ink, Line, Panel};
use steadfast::testing::sim::{Dependency, Latency, Load, Scenario};
use steadfast::{Pipeline, PipelineBuilder, Retry};

pub(crate) const ENTRY: Entry = Entry {
    name: "layers",
    about: "a gateway retries, the service behind it retries too, and the database fails for a minute",
    lasts: secs(3 * 180),
    in_guide: true,
    run,
};

pub(crate) fn scenario(outer: fn() -> PipelineBuilder, inner: fn() -> PipelineBuilder) -> Scenario {
    let database = Dependency::new(200, Latency::exponential(ms(20))).errors(1.0, 60..120);
    Scenario::new("layers", Load::poisson(100.0), database).through(outer).through(inner).lasting(secs(180))
}

/// Three retries, and nothing that ends them.
pub(crate) fn without_budget() -> PipelineBuilder {
    Pipeline::builder("layer").retry(Retry::exponential(3, ms(50)).without_budget())
}

/// Three retries, under the budget that is there by default.
pub(crate) fn with_budget() -> PipelineBuilder {
    Pipeline::builder("layer").retry(Retry::exponential(3, ms(50)))
}

/// A layer that leaves the retries to others.
pub(crate) fn none() -> PipelineBuilder {
    Pipeline::builder("layer")
}

fn run(lab: &Lab) -> Findings {
    let without = lab.run(scenario(without_budget, without_budget), 0);
    let with = lab.run(scenario(with_budget, with_budget), 0);
    let once = lab.run(scenario(none, with_budget), 0);
    let numbers = [("without budgets", &without), ("with budgets", &with), ("only the inner layer, with a budget", &once)]
        .map(|(name, report)| (format!("{name}: load 65-115 s"), report.load(65..115)));
    let requests = |report| smooth(&per_second(report, |bucket| bucket.requests), 3);
    let panel =
        Panel::new("requests per second at the database", Axis::linear(0.0, 180.0, 30.0, " s"), Axis::linear(0.0, 2_000.0, 500.0, ""))
            .band(60.0, 120.0, "every request fails")
            .line(Line::new("", Ink::Grey, smooth(&per_second(&with, |bucket| bucket.offered), 3)).filled())
            .line(Line::new("", Ink::Red, requests(&without)))
            .line(Line::new("", Ink::Blue, requests(&with)))
            .note(123.0, 1_600.0, Ink::Red, "without budgets")
            .note(123.0, 260.0, Ink::Blue, "with the default budgets");
    let figure = Figure {
        title: format!("Two layers of three retries make {:.0} times the load; with budgets, {:.2} times", numbers[0].1, numbers[1].1),
        subtitle: "A gateway calls a service, which calls a database: 100 calls a second, up to 3 retries in each of the two layers.\nFor a minute the database fails every request.".into(),
        panels: vec![panel],
        side_by_side: false,
    };
    let tables = [("without_budgets", &without), ("with_budgets", &with), ("inner_layer_only", &once)];
    Findings { figure, tables: tables.map(|(name, report)| (name.into(), report.to_csv())).into(), numbers: numbers.into() }
}
