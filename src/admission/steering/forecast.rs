//! Forecasts of what will be asked for: Holt's linear method and the seasonal method of Holt and Winters.
//!
//! A forecast is a pure machine: it is told one value for each interval of time, in order, and says what the next ones will be. It
//! knows no clock. [`Steering`](super::Steering) uses it to move a limit before the load does; it works as well alone.
//!
//! With `y` the value seen, `l` the level, `b` the slope, `s` the season of `m` intervals, `f` the damping (1 unless set):
//!
//! ```text
//!                       Holt                              Holt-Winters, additive        .. multiplicative
//!  level                l = a y + (1 - a) (l' + f b')     a (y - s) + ..                a (y / s) + ..
//!  slope                b = t (l - l') + (1 - t) f b'     the same                      the same
//!  season               -                                 s = g (y - l) + (1 - g) s'    s = g (y / l) + (1 - g) s'
//!  in h intervals       l + (f + f^2 + .. + f^h) b        .. + s                        .. times s
//! ```
//!
//! Sources: C. C. Holt, *Forecasting seasonals and trends by exponentially weighted averages*, 1957 (reprinted in the International
//! Journal of Forecasting 20, 2004); P. R. Winters, *Forecasting sales by exponentially weighted moving averages*, Management Science 6,
//! 1960, whose season uses the new level, as R's `HoltWinters` does; the damped slope: E. S. Gardner and E. McKenzie, Management Science
//! 31, 1985. When to use which: R. J. Hyndman and G. Athanasopoulos, *Forecasting: Principles and Practice*, chapter
//! [8](https://otexts.com/fpp3/expsmooth.html).
//!
//! ```
//! use steadfast::steering::{Forecast, Holt};
//!
//! let mut demand = Holt::new(0.8, 0.2);
//! for seen in [100.0, 110.0, 120.0, 130.0] {
//!     demand.observe(seen);
//! }
//! assert_eq!(demand.predict(1), Some(140.0));
//! assert_eq!(demand.predict(3), Some(160.0));
//! ```

use crate::fault::{Fault, check};

/// Longer seasons are a mistake of units: a week of minutes is 10,080 intervals, and a season takes 16 bytes for each.
const LONGEST_SEASON: usize = 100_000;

/// A season that is this little of the level says nothing of the level any more: to divide by it would only enlarge noise.
const FAINT: f64 = 1e-3;

/// No demand is larger; sums and products of such values are finite still.
const LARGEST: f64 = 1e15;

/// What can be learned from: `None` is a gap.
fn usable(value: f64) -> Option<f64> {
    (value.abs() <= LARGEST).then_some(value)
}

/// What will be asked for, from what was.
///
/// One value is observed for each interval of time; how long an interval is, who asks decides. Implement it to bring a model of your
/// own. `Steering` runs it outside all locks, one call at a time.
pub trait Forecast: Send + 'static {
    /// One more interval is over, and this is what was seen in it. A value that is no number, or beyond 10^15, is a gap: time goes on,
    /// and nothing is learned.
    fn observe(&mut self, value: f64);

    /// What it expects of the interval that comes `ahead` intervals after the last one observed; 1 is the next. `None` until it has
    /// seen enough to say.
    fn predict(&self, ahead: u32) -> Option<f64>;

    /// So many intervals are over in which nothing was seen at all. **Default**: observes as many zeros, but at most 1,000, for after
    /// those most models have forgotten everything else. A model with a season must keep its place in it.
    #[inline]
    fn quiet(&mut self, intervals: u64) {
        (0..intervals.min(1_000)).for_each(|_| self.observe(0.0));
    }

    /// Which of its settings cannot work. **Default**: none.
    #[inline]
    fn faults(&self) -> Vec<Fault> {
        Vec::new()
    }
}

/// Where the level and the slope of a series are.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Line {
    level: f64,
    slope: f64,
}

/// How fast a line follows what is seen.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Pace {
    level: f64,
    slope: f64,
    damping: f64,
}

impl Pace {
    /// `level` is what the level would be by the value alone; `None` when the value says nothing.
    fn follow(self, line: Line, level: Option<f64>) -> Line {
        let slope = self.damping * line.slope;
        let expected = line.level + slope;
        let Some(seen) = level else { return Line { level: expected, slope } };
        let level = self.level * seen + (1.0 - self.level) * expected;
        Line { level, slope: self.slope * (level - line.level) + (1.0 - self.slope) * slope }
    }

    #[inline]
    fn ahead(self, line: Line, ahead: u32) -> f64 {
        let steps = f64::from(ahead.max(1));
        let f = self.damping;
        let slopes = if f >= 1.0 { steps } else { f * (1.0 - f.powf(steps)) / (1.0 - f) };
        line.level + slopes * line.slope
    }

    #[inline]
    fn faults(self) -> Vec<Fault> {
        let mut faults = Vec::new();
        check::fraction(&mut faults, "level", self.level);
        weight(&mut faults, "slope", self.slope);
        check::fraction(&mut faults, "damped", self.damping);
        faults
    }

    /// As it is, or as near to it as works.
    #[inline]
    fn sane(self) -> Self {
        let share = |value: f64| if value.is_finite() { value.clamp(0.0, 1.0) } else { 1.0 };
        Self { level: share(self.level), slope: share(self.slope), damping: share(self.damping) }
    }
}

/// What a series is said to start with has to be something that can be seen.
#[inline]
fn started(faults: &mut Vec<Fault>, line: Option<Line>) {
    for (field, value) in line.map_or([("", 0.0); 2], |line| [("starting.level", line.level), ("starting.slope", line.slope)]) {
        if usable(value).is_none() {
            faults.push(Fault::new(field, format!("{value} is no demand; it must be finite and at most 10^15")));
        }
    }
}

/// A weight: 0 is allowed, and keeps what was there at first for good.
#[inline]
fn weight(faults: &mut Vec<Fault>, field: &str, value: f64) {
    if value != 0.0 {
        check::fraction(faults, field, value);
    }
}

/// Holt's linear method: a level and a slope, each following what is seen. For demand without a rhythm.
///
/// It has something to say after two values.
#[derive(Clone, Debug, PartialEq)]
pub struct Holt {
    pace: Pace,
    first: Option<f64>,
    line: Option<Line>,
}

impl Holt {
    /// How much of each new value goes into the level and, of its change, into the slope: 0 to 1. Larger ones follow faster and are
    /// thrown off by less. 0.5 and 0.1 are a fair start for demand counted by the second.
    #[must_use]
    pub const fn new(level: f64, slope: f64) -> Self {
        Self { pace: Pace { level, slope, damping: 1.0 }, first: None, line: None }
    }

    /// The slope is worth less the further ahead one looks: each interval this much of what the one before it was. Slopes of demand
    /// rarely last, so long forecasts are better with 0.8 to 0.98. **Default**: 1, a straight line.
    #[must_use]
    pub const fn damped(mut self, share: f64) -> Self {
        self.pace.damping = share;
        self
    }

    /// Begins with what is known already, and so has something to say at once.
    #[must_use]
    pub const fn starting(mut self, level: f64, slope: f64) -> Self {
        self.line = Some(Line { level, slope });
        self
    }

    /// The level now, without its slope.
    #[must_use]
    pub fn level(&self) -> Option<f64> {
        self.line.map(|line| line.level)
    }

    /// By how much the level changes in one interval.
    #[must_use]
    pub fn slope(&self) -> Option<f64> {
        self.line.map(|line| line.slope)
    }
}

impl Forecast for Holt {
    #[inline]
    fn observe(&mut self, value: f64) {
        let seen = usable(value);
        match (self.line, self.first, seen) {
            (Some(line), ..) => {
                let next = self.pace.sane().follow(line, seen);
                // Values at the end of the range of numbers: begin anew rather than stay infinite for ever.
                self.line = (next.level.is_finite() && next.slope.is_finite()).then_some(next);
                self.first = None;
            }
            (None, Some(first), Some(value)) => self.line = Some(Line { level: value, slope: value - first }),
            (None, None, first) => self.first = first,
            (None, Some(_), None) => {}
        }
    }

    #[inline]
    fn predict(&self, ahead: u32) -> Option<f64> {
        self.line.map(|line| self.pace.sane().ahead(line, ahead)).filter(|value| value.is_finite())
    }

    #[inline]
    fn faults(&self) -> Vec<Fault> {
        let mut faults = self.pace.faults();
        started(&mut faults, self.line);
        faults
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Season {
    Additive,
    Multiplicative,
}

/// The method of Holt and Winters: a level, a slope, and a season that comes again. For demand by the hour, the weekday, the batch job.
///
/// It has something to say after two whole seasons, or at once when it is told [where to start](Self::starting).
#[derive(Clone, Debug, PartialEq)]
pub struct HoltWinters {
    kind: Season,
    length: usize,
    pace: Pace,
    season_weight: f64,
    /// The first two seasons, until they are complete.
    early: Vec<f64>,
    line: Option<Line>,
    season: Vec<f64>,
    /// The place in the season of the next value.
    next: usize,
}

impl HoltWinters {
    /// A season of so many intervals that adds the same at every level: "50 more at noon". At least 2, at most 100,000.
    #[must_use]
    pub const fn additive(season: usize) -> Self {
        Self::new(Season::Additive, season)
    }

    /// A season of so many intervals that grows with the level: "twice as much at noon". At least 2, at most 100,000. Most demand is
    /// like that; but where a season falls silent altogether, the additive one has less to divide by.
    #[must_use]
    pub const fn multiplicative(season: usize) -> Self {
        Self::new(Season::Multiplicative, season)
    }

    const fn new(kind: Season, length: usize) -> Self {
        let pace = Pace { level: 0.2, slope: 0.05, damping: 1.0 };
        Self { kind, length, pace, season_weight: 0.2, early: Vec::new(), line: None, season: Vec::new(), next: 0 }
    }

    /// How much of each new value goes into the level, and of its change into the slope, and how much into its place in the season: 0 to
    /// 1. **Default**: 0.2, 0.05, 0.2.
    #[must_use]
    pub const fn weights(mut self, level: f64, slope: f64, season: f64) -> Self {
        self.pace.level = level;
        self.pace.slope = slope;
        self.season_weight = season;
        self
    }

    /// As [`Holt::damped`]. **Default**: 1.
    #[must_use]
    pub const fn damped(mut self, share: f64) -> Self {
        self.pace.damping = share;
        self
    }

    /// Begins with what is known already: yesterday's [`level`](Self::level), [`slope`](Self::slope) and [`season`](Self::season), say.
    /// The first value of the season is that of the first value to be observed.
    #[must_use]
    pub fn starting(mut self, level: f64, slope: f64, season: impl Into<Vec<f64>>) -> Self {
        self.line = Some(Line { level, slope });
        self.season = season.into();
        self
    }

    /// The level now, without slope and season.
    #[must_use]
    pub fn level(&self) -> Option<f64> {
        self.line.map(|line| line.level)
    }

    /// By how much the level changes in one interval.
    #[must_use]
    pub fn slope(&self) -> Option<f64> {
        self.line.map(|line| line.slope)
    }

    /// The season, from the place of the next value on: what it adds to the level, or what it multiplies it by. Empty until it is known.
    #[must_use]
    #[inline]
    pub fn season(&self) -> Vec<f64> {
        let (before, after) = self.season.split_at(self.next.min(self.season.len()));
        [after, before].concat()
    }

    #[inline]
    fn works(&self) -> bool {
        (2..=LONGEST_SEASON).contains(&self.length) && (self.line.is_none() || self.season.len() == self.length)
    }

    /// What is left of a value, or a level of what was seen, without its season. `None` where the season is too faint to tell.
    fn without(&self, value: f64, season: f64) -> Option<f64> {
        match self.kind {
            Season::Additive => Some(value - season),
            Season::Multiplicative => (season >= FAINT).then(|| value / season),
        }
    }

    /// What a value says of its place in the season.
    fn season_of(&self, value: f64, level: f64) -> Option<f64> {
        match self.kind {
            Season::Additive => Some(value - level),
            Season::Multiplicative => (level > 1e-9).then(|| (value / level).max(0.0)),
        }
    }

    /// The first line and season, from two complete seasons: the line through their means, and the average distance from it.
    #[inline]
    fn begin(&mut self) {
        let early = std::mem::take(&mut self.early);
        let count = early.len() as f64;
        let half = count / 2.0;
        let mean = |values: &[f64]| values.iter().sum::<f64>() / values.len() as f64;
        let (first, second) = early.split_at(self.length);
        let slope = (mean(second) - mean(first)) / half;
        let centre = mean(&early);
        let at = |i: usize| centre + slope * (i as f64 - (count - 1.0) / 2.0);
        let neutral = if self.kind == Season::Additive { 0.0 } else { 1.0 };
        let place = |i: usize| self.season_of(early[i], at(i)).unwrap_or(neutral);
        let season: Vec<f64> = (0..self.length).map(|i| f64::midpoint(place(i), place(i + self.length))).collect();
        // A season is about the line: its mean is none of its business.
        let mean = mean(&season);
        self.season = match self.kind {
            Season::Additive => season.iter().map(|value| value - mean).collect(),
            Season::Multiplicative if mean > f64::EPSILON => season.iter().map(|value| value / mean).collect(),
            Season::Multiplicative => vec![1.0; self.length],
        };
        self.line = Some(Line { level: at(early.len() - 1), slope });
        self.next = 0;
        self.forget_unless_finite();
    }

    /// Values at the end of the range of numbers: begin anew rather than stay infinite for ever.
    #[inline]
    fn forget_unless_finite(&mut self) {
        let whole = self.line.is_some_and(|line| line.level.is_finite() && line.slope.is_finite());
        if !whole || !self.season.iter().all(|value| value.is_finite()) {
            (self.line, self.season, self.next) = (None, Vec::new(), 0);
        }
    }
}

impl Forecast for HoltWinters {
    #[inline]
    fn observe(&mut self, value: f64) {
        if !self.works() {
            return;
        }
        let Some(line) = self.line else {
            // Until there is a line, a gap is filled with what was there a season, or an interval, before.
            let before = self.early.len().checked_sub(self.length).and_then(|i| self.early.get(i)).or(self.early.last());
            let value = usable(value).or(before.copied()).unwrap_or(0.0);
            self.early.push(value);
            if self.early.len() == 2 * self.length {
                self.begin();
            }
            return;
        };
        let (pace, place) = (self.pace.sane(), self.season[self.next]);
        let seen = usable(value);
        let level = seen.and_then(|value| self.without(value, place));
        let line = pace.follow(line, level);
        if seen.is_some_and(|value| value > 0.0 && level.is_none() && self.season_of(value, line.level).is_none()) {
            // A silence so long that neither level nor season is left to learn by: begin anew, with this.
            (self.line, self.season, self.next) = (None, Vec::new(), 0);
            return self.observe(value);
        }
        if let Some(new) = seen.and_then(|value| self.season_of(value, line.level)) {
            let weight = if self.season_weight.is_finite() { self.season_weight.clamp(0.0, 1.0) } else { 0.0 };
            self.season[self.next] = weight * new + (1.0 - weight) * place;
        }
        self.line = Some(line);
        let changed = self.season[self.next];
        self.next = (self.next + 1) % self.length;
        if !(line.level.is_finite() && line.slope.is_finite() && changed.is_finite()) {
            (self.line, self.season, self.next) = (None, Vec::new(), 0);
        }
    }

    #[inline]
    fn predict(&self, ahead: u32) -> Option<f64> {
        let line = self.line.filter(|_| self.works())?;
        let ahead = ahead.max(1);
        let level = self.pace.sane().ahead(line, ahead);
        let place = self.season[(self.next + ahead as usize - 1) % self.length];
        let value = match self.kind {
            Season::Additive => level + place,
            Season::Multiplicative => level * place,
        };
        value.is_finite().then_some(value)
    }

    /// Two seasons of zeros forget what there was; the rest only has to keep the place.
    #[inline]
    fn quiet(&mut self, intervals: u64) {
        let season = self.length.max(1) as u64;
        let zeros = if intervals > 2 * season { 2 * season + intervals % season } else { intervals };
        (0..zeros).for_each(|_| self.observe(0.0));
    }

    #[inline]
    fn faults(&self) -> Vec<Fault> {
        let mut faults = self.pace.faults();
        let length = self.length as u64;
        check::at_least(&mut faults, "season", length, 2);
        check::at_most(&mut faults, "season", length, LONGEST_SEASON as u64);
        weight(&mut faults, "season_weight", self.season_weight);
        started(&mut faults, self.line);
        if self.season.iter().any(|value| usable(*value).is_none()) {
            faults.push(Fault::new("season", "starts with a value that is no number or beyond 10^15; say what it adds, or multiplies by"));
        }
        if self.line.is_some() && self.season.len() != self.length {
            let problem = format!("starts with {} values for a season of {}; give one for each interval", self.season.len(), self.length);
            faults.push(Fault::new("season", problem));
        }
        faults
    }
}
