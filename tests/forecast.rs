//! Forecasts: against published numbers, against series that a method must foretell exactly, and against nonsense.
#![expect(clippy::unwrap_used, reason = "a test may panic")]

use proptest::prelude::*;
use std::f64::consts::TAU;
use steadfast::RateLimiter;
use steadfast::steering::{Forecast, Holt, HoltWinters, Steering};

/// Thousands of international airline passengers a month, 1949 to 1960 (Box and Jenkins, *Time Series Analysis*, 1976, series G).
const PASSENGERS: [f64; 144] = [
    112., 118., 132., 129., 121., 135., 148., 148., 136., 119., 104., 118., 115., 126., 141., 135., 125., 149., 170., 170., 158., 133.,
    114., 140., 145., 150., 178., 163., 172., 178., 199., 199., 184., 162., 146., 166., 171., 180., 193., 181., 183., 218., 230., 242.,
    209., 191., 172., 194., 196., 196., 236., 235., 229., 243., 264., 272., 237., 211., 180., 201., 204., 188., 235., 227., 234., 264.,
    302., 293., 259., 229., 203., 229., 242., 233., 267., 269., 270., 315., 364., 347., 312., 274., 237., 278., 284., 277., 317., 313.,
    318., 374., 413., 405., 355., 306., 271., 306., 315., 301., 356., 348., 355., 422., 465., 467., 404., 347., 305., 336., 340., 318.,
    362., 348., 363., 435., 491., 505., 404., 359., 310., 337., 360., 342., 406., 396., 420., 472., 548., 559., 463., 407., 362., 405.,
    417., 391., 419., 461., 472., 535., 622., 606., 508., 461., 390., 432.,
];

#[track_caller]
fn near(found: f64, expected: f64, by: f64) {
    assert!((found - expected).abs() <= by, "{found}, not {expected}");
}

#[test]
fn holt_winters_multiplicative_ends_where_r_does() {
    // R's `HoltWinters(AirPassengers, seasonal = "mult")`: its weights, and its start from a decomposition of the first two years.
    let start = [
        0.8853778150221768,
        0.9567026620083906,
        1.0560479000512928,
        0.9999918085527097,
        0.919180306022048,
        1.0851340318074387,
        1.1795086009611193,
        1.1752602071790064,
        1.0739905028966645,
        0.9351739242048606,
        0.8146550168555924,
        0.9189772244387008,
    ];
    let model = HoltWinters::multiplicative(12).weights(0.2755925, 0.03269295, 0.8707292);
    let mut model = model.starting(124.31691919191923, 1.1456876456876448, start);
    assert_eq!(model.faults(), []);
    PASSENGERS[12..].iter().for_each(|value| model.observe(*value));
    // Its published coefficients a, b and s1 to s12.
    near(model.level().unwrap(), 469.3232206, 1e-4);
    near(model.slope().unwrap(), 3.0215391, 1e-6);
    let season = [
        0.9464611, 0.8829239, 0.9717369, 1.0304825, 1.0476884, 1.1805272, 1.3590778, 1.3331706, 1.1083381, 0.9868813, 0.8361333, 0.9209877,
    ];
    for (found, expected) in model.season().iter().zip(season) {
        near(*found, expected, 1e-6);
    }
    near(model.predict(7).unwrap(), (469.3232206 + 7.0 * 3.0215391) * 1.3590778, 1e-3);
    near(model.predict(19).unwrap(), (469.3232206 + 19.0 * 3.0215391) * 1.3590778, 1e-3);
}

#[test]
fn holt_winters_additive_follows_its_equations() {
    // The same data, against the equations written down once more in Python.
    let start = [
        -14.819444444444445,
        -5.652777777777788,
        7.513888888888897,
        0.0138888888888975,
        -10.986111111111102,
        11.680555555555555,
        22.638888888888882,
        22.180555555555554,
        9.472222222222227,
        -8.152777777777787,
        -23.569444444444446,
        -10.319444444444445,
    ];
    let mut model = HoltWinters::additive(12).weights(0.2479595, 0.0345373, 1.0).starting(124.31691919191923, 1.1456876456876448, start);
    PASSENGERS[12..].iter().for_each(|value| model.observe(*value));
    near(model.level().unwrap(), 477.828997445316, 1e-6);
    near(model.slope().unwrap(), 3.1276745270239195, 1e-8);
    near(model.season()[6], 152.8872312663609, 1e-6);
}

#[test]
fn a_year_ahead_of_the_passengers_it_is_off_by_a_few_percent() {
    // Without a hand-made start: two years to begin with, nine to learn from, the last to foretell.
    let mut model = HoltWinters::multiplicative(12).weights(0.3, 0.05, 0.6);
    PASSENGERS[..132].iter().for_each(|value| model.observe(*value));
    let errors = PASSENGERS[132..].iter().zip(1..).map(|(value, ahead)| (model.predict(ahead).unwrap() / value - 1.0).abs());
    let mean = errors.sum::<f64>() / 12.0;
    assert!(mean < 0.05, "{mean}");
    // Without a season it cannot know of the summer.
    let mut line = Holt::new(0.3, 0.05);
    PASSENGERS[..132].iter().for_each(|value| line.observe(*value));
    let errors = PASSENGERS[132..].iter().zip(1..).map(|(value, ahead)| (line.predict(ahead).unwrap() / value - 1.0).abs());
    assert!(errors.sum::<f64>() / 12.0 > 2.0 * mean);
}

#[test]
fn a_line_is_foretold_exactly_whatever_the_weights() {
    for (level, slope) in [(0.1, 0.0), (0.5, 0.1), (1.0, 1.0)] {
        let mut model = Holt::new(level, slope);
        assert_eq!(model.predict(1), None);
        model.observe(5.0);
        assert_eq!(model.predict(1), None, "one point is no line");
        (1..20).for_each(|i| model.observe(5.0 + 2.5 * f64::from(i)));
        near(model.predict(1).unwrap(), 55.0, 1e-9);
        near(model.predict(10).unwrap(), 77.5, 1e-9);
    }
}

#[test]
fn a_damped_slope_ends_somewhere() {
    let model = Holt::new(0.5, 0.1).starting(100.0, 10.0).damped(0.5);
    near(model.predict(1).unwrap(), 105.0, 1e-9);
    near(model.predict(2).unwrap(), 107.5, 1e-9);
    near(model.predict(1_000).unwrap(), 110.0, 1e-9);
}

#[test]
fn a_rhythm_on_a_slope_is_foretold_exactly_after_two_seasons() {
    let wave = |i: u32| 10.0 * (TAU * f64::from(i % 8) / 8.0).sin();
    let mut model = HoltWinters::additive(8);
    for i in 0..16 {
        assert_eq!(model.predict(1), None);
        model.observe(100.0 + 3.0 * f64::from(i) + wave(i));
    }
    for i in 16..40 {
        for ahead in 1..=20 {
            let then = i + ahead - 1;
            near(model.predict(ahead).unwrap(), 100.0 + 3.0 * f64::from(then) + wave(then), 1e-6);
        }
        model.observe(100.0 + 3.0 * f64::from(i) + wave(i));
    }
}

#[test]
fn it_sees_the_peak_before_it_comes() {
    // A day of 24 hours, a rush of three times the rest at 12.
    let demand = |hour: usize| if hour % 24 == 12 { 300.0 } else { 100.0 };
    let mut model = HoltWinters::multiplicative(24);
    (0..24 * 4 + 12).for_each(|hour| model.observe(demand(hour)));
    assert!(model.predict(1).unwrap() > 280.0);
    assert!(model.predict(2).unwrap() < 120.0);
    assert!(model.predict(25).unwrap() > 280.0);
}

#[test]
fn it_can_be_put_aside_and_taken_up_again() {
    let mut model = HoltWinters::additive(12);
    PASSENGERS[..100].iter().for_each(|value| model.observe(*value));
    let again = HoltWinters::additive(12).starting(model.level().unwrap(), model.slope().unwrap(), model.season());
    for ahead in 1..30 {
        near(again.predict(ahead).unwrap(), model.predict(ahead).unwrap(), 1e-9);
    }
}

#[test]
fn a_gap_keeps_the_place_in_the_season() {
    let rhythm = [10.0, 20.0, 90.0, 20.0];
    let mut model = HoltWinters::additive(4);
    (0..20).for_each(|i| model.observe(rhythm[i % 4]));
    model.observe(f64::NAN);
    model.observe(f64::INFINITY);
    near(model.predict(1).unwrap(), 90.0, 1e-6);
    // Quiet for a million intervals and one: what is left is the place.
    let mut quiet = model.clone();
    quiet.quiet(1_000_001);
    quiet.observe(20.0);
    (0..20).for_each(|i| quiet.observe(rhythm[i % 4]));
    assert!(quiet.predict(3).unwrap() > quiet.predict(1).unwrap() + 30.0, "{quiet:?}");
}

#[test]
fn after_a_long_silence_it_learns_again() {
    // A season that fell silent altogether is divided by no more, and a level that ran below zero meanwhile follows nothing.
    for (length, weights) in [(7, (0.1, 0.1, 0.9)), (2, (0.2, 0.05, 0.2))] {
        let mut demand = HoltWinters::multiplicative(length).weights(weights.0, weights.1, weights.2);
        (0..10 * length).for_each(|_| demand.observe(100.0));
        (0..200).for_each(|_| demand.observe(0.0));
        (0..10 * length).for_each(|_| demand.observe(100.0));
        near(demand.predict(1).unwrap(), 100.0, 20.0);
    }
}

#[test]
fn h43_settings_that_cannot_work_are_named() {
    let fields = |faults: Vec<steadfast::Fault>| faults.iter().map(|fault| fault.field().to_owned()).collect::<Vec<_>>();
    assert_eq!(fields(Holt::new(0.0, -1.0).damped(1.5).faults()), ["level", "slope", "damped"]);
    assert_eq!(fields(HoltWinters::additive(1).weights(0.5, 0.0, f64::NAN).faults()), ["season", "season_weight"]);
    assert_eq!(fields(HoltWinters::additive(1_000_000).faults()), ["season"]);
    assert_eq!(fields(HoltWinters::additive(4).starting(1.0, 1.0, [0.0; 3]).faults()), ["season"]);
    assert_eq!(fields(Holt::new(0.5, 0.1).starting(f64::NAN, 1e16).faults()), ["starting.level", "starting.slope"]);
    assert_eq!(fields(HoltWinters::additive(2).starting(1.0, 1.0, [0.0, f64::INFINITY]).faults()), ["season"]);
    // Used all the same, they neither panic nor say anything.
    for mut model in [HoltWinters::additive(0), HoltWinters::additive(4).starting(1.0, 1.0, [0.0; 3])] {
        (0..50).for_each(|i| model.observe(f64::from(i)));
        model.quiet(u64::MAX);
        assert_eq!(model.predict(0), None);
    }
    let error = RateLimiter::per_second(10).steered(Steering::between(1, 20).forecast(HoltWinters::additive(1))).unwrap_err();
    assert_eq!(error.faults()[0].field(), "forecast.season");
}

proptest! {
    #[test]
    fn h43_no_value_makes_it_say_what_is_not_a_number(values in prop::collection::vec(prop::num::f64::ANY, 0..120), kind in 0..3_u8) {
        let mut model: Box<dyn Forecast> = match kind {
            0 => Box::new(Holt::new(0.7, 0.3)),
            1 => Box::new(HoltWinters::additive(5)),
            _ => Box::new(HoltWinters::multiplicative(5)),
        };
        for value in values {
            model.observe(value);
            for ahead in [0, 1, 7, u32::MAX] {
                prop_assert!(model.predict(ahead).is_none_or(f64::is_finite));
            }
        }
        // And it recovers.
        (0..400).for_each(|_| model.observe(50.0));
        let settled = model.predict(1).unwrap();
        prop_assert!(settled.is_finite());
    }

    #[test]
    fn a_constant_stays_what_it_is(value in 0.0..1e6_f64, season in 2..20_usize) {
        for mut model in [HoltWinters::additive(season), HoltWinters::multiplicative(season)] {
            (0..season * 4).for_each(|_| model.observe(value));
            prop_assert!((model.predict(3).unwrap() - value).abs() <= 1e-6 * value.max(1.0));
        }
    }
}
