//! A figure: what is to be seen, as plain data.

/// Few colours, the same thing always in the same one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ink {
    /// Ours, or the good case.
    Blue,
    /// What goes wrong.
    Red,
    Green,
    Amber,
    Violet,
    /// What everything is measured by: the load that was offered, a capacity.
    Grey,
}

#[derive(Clone, Debug)]
pub(crate) struct Line {
    /// Written at its end.
    pub(crate) name: String,
    pub(crate) ink: Ink,
    pub(crate) points: Vec<(f64, f64)>,
    /// The area under it is filled: for what everything is measured by.
    pub(crate) filled: bool,
    /// It keeps its value until the next point.
    pub(crate) steps: bool,
}

/// A stretch of time in which something is different.
#[derive(Clone, Debug)]
pub(crate) struct Band {
    pub(crate) from: f64,
    pub(crate) to: f64,
    pub(crate) text: String,
}

#[derive(Clone, Debug)]
pub(crate) struct Panel {
    /// What is up, and in which unit.
    pub(crate) what: String,
    pub(crate) x: Axis,
    pub(crate) y: Axis,
    pub(crate) lines: Vec<Line>,
    pub(crate) bands: Vec<Band>,
    /// Words at a place in the picture, ending there or beginning there.
    pub(crate) notes: Vec<(f64, f64, Ink, String)>,
}

#[derive(Clone, Debug)]
pub(crate) struct Axis {
    pub(crate) from: f64,
    pub(crate) to: f64,
    pub(crate) log: bool,
    pub(crate) ticks: Vec<(f64, String)>,
}

impl Axis {
    /// From here to there, with a tick every `step`.
    pub(crate) fn linear(from: f64, to: f64, step: f64, unit: &str) -> Self {
        let count = ((to - from) / step).round() as usize;
        let ticks = (0..=count).map(|n| from + step * n as f64).map(|value| (value, number(value) + unit)).collect();
        Self { from, to, log: false, ticks }
    }

    /// Logarithmic, with these ticks.
    pub(crate) fn log(from: f64, to: f64, ticks: &[(f64, &str)]) -> Self {
        Self { from, to, log: true, ticks: ticks.iter().map(|&(value, text)| (value, text.to_string())).collect() }
    }

    pub(crate) fn place(&self, value: f64) -> f64 {
        let scale = |value: f64| if self.log { value.max(f64::MIN_POSITIVE).ln() } else { value };
        ((scale(value) - scale(self.from)) / (scale(self.to) - scale(self.from))).clamp(-0.05, 1.05)
    }
}

fn number(value: f64) -> String {
    let whole = value.round();
    if (value - whole).abs() < 1e-9 {
        let digits = format!("{}", whole.abs() as u64);
        let mut text = String::new();
        for (place, digit) in digits.chars().enumerate() {
            if place > 0 && (digits.len() - place) % 3 == 0 {
                text.push(',');
            }
            text.push(digit);
        }
        if whole < 0.0 { format!("-{text}") } else { text }
    } else {
        format!("{value:.1}")
    }
}

#[derive(Clone, Debug)]
pub(crate) struct Figure {
    /// The finding, in a sentence.
    pub(crate) title: String,
    /// What was done to find it.
    pub(crate) subtitle: String,
    /// From top to bottom, or side by side.
    pub(crate) panels: Vec<Panel>,
    pub(crate) side_by_side: bool,
}

impl Line {
    pub(crate) fn new(name: impl Into<String>, ink: Ink, points: impl IntoIterator<Item = (f64, f64)>) -> Self {
        Self { name: name.into(), ink, points: points.into_iter().collect(), filled: false, steps: false }
    }

    pub(crate) fn filled(mut self) -> Self {
        self.filled = true;
        self
    }

    pub(crate) fn steps(mut self) -> Self {
        self.steps = true;
        self
    }
}

impl Panel {
    pub(crate) fn new(what: impl Into<String>, x: Axis, y: Axis) -> Self {
        Self { what: what.into(), x, y, lines: Vec::new(), bands: Vec::new(), notes: Vec::new() }
    }

    pub(crate) fn line(mut self, line: Line) -> Self {
        self.lines.push(line);
        self
    }

    pub(crate) fn band(mut self, from: f64, to: f64, text: &str) -> Self {
        self.bands.push(Band { from, to, text: text.into() });
        self
    }

    pub(crate) fn note(mut self, x: f64, y: f64, ink: Ink, text: impl Into<String>) -> Self {
        self.notes.push((x, y, ink, text.into()));
        self
    }
}
