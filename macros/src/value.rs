//! Values as people write them: `250ms`, `1.5s`, `100ms..5s`, `50%`, `100/s`, all of them plain Rust tokens.

use proc_macro2::Span;
use std::time::Duration;
use syn::parse::ParseStream;
use syn::spanned::Spanned;
use syn::{BinOp, Error, Expr, ExprBinary, ExprPath, ExprRange, ExprUnary, Lit, LitFloat, LitInt, RangeLimits, Result, Token, UnOp};

/// A duration: known here, or an expression for the compiler.
#[derive(Clone)]
pub(crate) enum Time {
    Known(Duration, Span),
    Expr(Box<Expr>),
}

impl Time {
    pub(crate) fn known(&self) -> Option<Duration> {
        match self {
            Self::Known(duration, _) => Some(*duration),
            Self::Expr(_) => None,
        }
    }

    pub(crate) fn span(&self) -> Span {
        match self {
            Self::Known(_, span) => *span,
            Self::Expr(expr) => expr.span(),
        }
    }

    /// The same, unless it is zero, which would mean what `consequence` says.
    pub(crate) fn nonzero(self, consequence: &str) -> Result<Self> {
        match self.known() {
            Some(Duration::ZERO) => Err(Error::new(self.span(), format!("this duration is zero, {consequence}"))),
            _ => Ok(self),
        }
    }
}

/// A number: known here, or an expression for the compiler.
#[derive(Clone)]
pub(crate) enum Number {
    Known(u64, Span),
    Expr(Box<Expr>),
}

impl Number {
    pub(crate) fn known(&self) -> Option<u64> {
        match self {
            Self::Known(number, _) => Some(*number),
            Self::Expr(_) => None,
        }
    }

    pub(crate) fn span(&self) -> Span {
        match self {
            Self::Known(_, span) => *span,
            Self::Expr(expr) => expr.span(),
        }
    }

    /// The same, unless it is zero.
    pub(crate) fn nonzero(self, message: &str) -> Result<Self> {
        match self.known() {
            Some(0) => Err(Error::new(self.span(), message)),
            _ => Ok(self),
        }
    }
}

/// A share of calls: 0 < share <= 1.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Share(pub(crate) f64);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Per {
    Second,
    Minute,
    Hour,
}

pub(crate) fn time(input: ParseStream<'_>) -> Result<Time> {
    time_of(input.parse()?)
}

fn time_of(expr: Expr) -> Result<Time> {
    match bare(expr) {
        Expr::Lit(lit) => match &lit.lit {
            Lit::Int(int) => known_time(int.base10_digits(), int.suffix(), int, int.span()),
            Lit::Float(float) => known_time(float.base10_digits(), float.suffix(), float, float.span()),
            Lit::Str(text) => quoted_time(&text.value(), text.span()),
            other => Err(Error::new(other.span(), "expected a duration, such as `250ms`, `1.5s` or `2m`")),
        },
        Expr::Unary(ExprUnary { op: UnOp::Neg(minus), expr, .. }) if matches!(*expr, Expr::Lit(_)) => {
            Err(Error::new(minus.span, "a duration cannot be negative"))
        }
        other => Ok(Time::Expr(Box::new(other))),
    }
}

fn quoted_time(text: &str, span: Span) -> Result<Time> {
    let compact: String = text.chars().filter(|c| !c.is_whitespace() && *c != '_').collect();
    let end = compact.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(compact.len());
    let (digits, unit) = compact.split_at(end);
    known_time(digits, unit, &text, span)
}

fn known_time(digits: &str, unit: &str, given: &impl std::fmt::Display, span: Span) -> Result<Time> {
    let nanos_per_unit: u128 = match unit {
        "ns" => 1,
        "us" => 1_000,
        "ms" => 1_000_000,
        "s" => 1_000_000_000,
        "m" => 60_000_000_000,
        "h" => 3_600_000_000_000,
        "" if digits.parse::<f64>().is_ok() => {
            let bare = given.to_string();
            return Err(Error::new(span, format!("a duration needs a unit: `{bare}ms`, `{bare}s` or `{bare}m`")));
        }
        _ if digits.is_empty() => return Err(Error::new(span, "expected a duration, such as `250ms`, `1.5s` or `2m`")),
        other => return Err(Error::new(span, format!("unknown unit `{other}`; use `ns`, `us`, `ms`, `s`, `m` or `h`"))),
    };
    nanos(digits, nanos_per_unit)
        .and_then(|nanos| Some(Duration::new(u64::try_from(nanos / 1_000_000_000).ok()?, u32::try_from(nanos % 1_000_000_000).ok()?)))
        .map(|duration| Time::Known(duration, span))
        .ok_or_else(|| Error::new(span, "this duration is not a number of whole nanoseconds"))
}

/// `digits` times `unit`, exactly; `None` where nanoseconds do not suffice.
fn nanos(digits: &str, unit: u128) -> Option<u128> {
    let (whole, part) = digits.split_once('.').unwrap_or((digits, ""));
    let part = part.trim_end_matches('0');
    let scale = 10_u128.checked_pow(u32::try_from(part.len()).ok()?)?;
    let number = |text: &str| if text.is_empty() { Some(0) } else { text.parse::<u128>().ok() };
    let parts = number(part)?.checked_mul(unit)?;
    (parts % scale == 0).then_some(())?;
    number(whole)?.checked_mul(unit)?.checked_add(parts / scale)
}

/// `100ms..5s`.
pub(crate) fn time_range(input: ParseStream<'_>, example: &str) -> Result<(Time, Time)> {
    let expr: Expr = input.parse()?;
    let span = expr.span();
    let wanted = || Error::new(span, format!("expected a range of delays, from the first to the longest: `{example}`"));
    match bare(expr) {
        Expr::Range(ExprRange { start: Some(start), end: Some(end), limits, .. }) => {
            if let RangeLimits::Closed(dots) = limits {
                return Err(Error::new(dots.span(), format!("write two dots: `{example}`")));
            }
            let (start, end) = (time_of(*start)?, time_of(*end)?);
            match (start.known(), end.known()) {
                (Some(from), Some(to)) if from > to => {
                    Err(Error::new(span, "this range ends before it begins; write the first delay first, then the longest"))
                }
                _ => Ok((start, end)),
            }
        }
        _ => Err(wanted()),
    }
}

pub(crate) fn number(input: ParseStream<'_>) -> Result<Number> {
    number_of(input.parse()?)
}

fn number_of(expr: Expr) -> Result<Number> {
    match bare(expr) {
        Expr::Lit(lit) => match &lit.lit {
            Lit::Int(int) => known_number(int),
            other => Err(Error::new(other.span(), "expected a whole number")),
        },
        Expr::Unary(ExprUnary { op: UnOp::Neg(minus), expr, .. }) if matches!(*expr, Expr::Lit(_)) => {
            Err(Error::new(minus.span, "expected a whole number that is not negative"))
        }
        other => Ok(Number::Expr(Box::new(other))),
    }
}

fn known_number(int: &LitInt) -> Result<Number> {
    if !matches!(int.suffix(), "" | "u32" | "u64" | "usize" | "u8" | "u16") {
        return Err(Error::new(int.span(), format!("expected a plain number, without `{}`", int.suffix())));
    }
    let number: u64 = int.base10_parse()?;
    if number > u64::from(u32::MAX) {
        return Err(Error::new(int.span(), format!("this number is too large; the most is {}", u32::MAX)));
    }
    Ok(Number::Known(number, int.span()))
}

/// `1..200`.
pub(crate) fn number_range(input: ParseStream<'_>, example: &str) -> Result<(Number, Number)> {
    let expr: Expr = input.parse()?;
    let span = expr.span();
    match bare(expr) {
        Expr::Range(ExprRange { start: Some(start), end: Some(end), limits: RangeLimits::HalfOpen(_), .. }) => {
            let (start, end) = (number_of(*start)?, number_of(*end)?);
            match (start.known(), end.known()) {
                (Some(from), Some(to)) if from > to => Err(Error::new(span, "this range ends before it begins")),
                _ => Ok((start, end)),
            }
        }
        _ => Err(Error::new(span, format!("expected a range, from the least to the most: `{example}`"))),
    }
}

/// `2` or `1.5`: any number, for factors.
pub(crate) fn factor(input: ParseStream<'_>) -> Result<Expr> {
    let expr = bare(input.parse()?);
    let known = match &expr {
        Expr::Lit(lit) => match &lit.lit {
            Lit::Int(int) if int.suffix().is_empty() => Some(int.base10_parse::<f64>()?),
            Lit::Float(float) if matches!(float.suffix(), "" | "f64") => Some(float.base10_parse::<f64>()?),
            other => return Err(Error::new(other.span(), "expected a number, such as `2` or `1.5`")),
        },
        _ => None,
    };
    let Some(known) = known else { return Ok(expr) };
    if known < 1.0 {
        return Err(Error::new(expr.span(), "a factor below 1 would shorten the delays; write 1 or more"));
    }
    let float = format!("{known:?}f64");
    Ok(Expr::Lit(syn::ExprLit { attrs: Vec::new(), lit: Lit::Float(LitFloat::new(&float, expr.span())) }))
}

/// Whether a share comes next: a number and a per cent sign.
pub(crate) fn peek_share(input: ParseStream<'_>) -> bool {
    input.peek(Lit) && input.peek2(Token![%])
}

/// `50%`.
pub(crate) fn share(input: ParseStream<'_>) -> Result<Share> {
    let wanted = |span, found: Option<f64>| {
        let fix = match found {
            Some(n) if n > 0.0 && n <= 1.0 => format!("{}%", n * 100.0),
            Some(n) if n > 1.0 && n <= 100.0 => format!("{n}%"),
            _ => "50%".to_owned(),
        };
        Error::new(span, format!("a share is written in per cent: `{fix}`"))
    };
    let (number, suffix, span) = match input.parse::<Lit>() {
        Ok(Lit::Int(int)) => (int.base10_parse::<f64>()?, int.suffix().to_owned(), int.span()),
        Ok(Lit::Float(float)) => (float.base10_parse::<f64>()?, float.suffix().to_owned(), float.span()),
        Ok(other) => return Err(wanted(other.span(), None)),
        Err(error) => return Err(wanted(error.span(), None)),
    };
    if !suffix.is_empty() || input.parse::<Option<Token![%]>>()?.is_none() {
        return Err(wanted(span, suffix.is_empty().then_some(number)));
    }
    if number > 0.0 && number <= 100.0 {
        Ok(Share(number / 100.0))
    } else {
        Err(Error::new(span, format!("a share lies above 0% and at most at 100%, and this is {number}%")))
    }
}

/// `100/s`.
pub(crate) fn rate(input: ParseStream<'_>) -> Result<(Number, Per)> {
    let expr: Expr = input.parse()?;
    let span = expr.span();
    let (number, unit) = match bare(expr) {
        Expr::Binary(ExprBinary { left, op: BinOp::Div(_), right, .. }) => (number_of(*left)?, *right),
        other => {
            let shown = match number_of(other) {
                Ok(Number::Known(number, _)) => number,
                _ => 100,
            };
            return Err(Error::new(span, format!("a rate needs a unit of time: `{shown}/s`, `{shown}/min` or `{shown}/h`")));
        }
    };
    let per = match &unit {
        Expr::Path(ExprPath { path, qself: None, .. }) => path.get_ident().map(ToString::to_string),
        _ => None,
    };
    let per = match per.as_deref() {
        Some("s") => Per::Second,
        Some("min") => Per::Minute,
        Some("h") => Per::Hour,
        Some(other) => return Err(Error::new(unit.span(), format!("unknown unit `{other}`; use `s`, `min` or `h`"))),
        None => return Err(Error::new(unit.span(), "expected a unit of time: `s`, `min` or `h`")),
    };
    Ok((number.nonzero("a rate of 0 would let no call through; leave `rate_limit` out")?, per))
}

/// Looks through the invisible groups that `macro_rules!` wraps around its fragments, and through parentheses.
fn bare(expr: Expr) -> Expr {
    match expr {
        Expr::Group(group) => bare(*group.expr),
        Expr::Paren(paren) => bare(*paren.expr),
        other => other,
    }
}

/// A duration for people: `2 s`, `250 ms`.
pub(crate) fn show(duration: Duration) -> String {
    let nanos = duration.as_nanos();
    let units = [(1_000_000_000, "s"), (1_000_000, "ms"), (1_000, "us")];
    for (size, unit) in units {
        if nanos >= size {
            let shown = format!("{:.3}", nanos as f64 / size as f64);
            return format!("{} {unit}", shown.trim_end_matches('0').trim_end_matches('.'));
        }
    }
    format!("{nanos} ns")
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::err_expect, reason = "a test may panic, and not every value is `Debug`")]

    use super::*;
    use syn::parse::Parser;

    fn parse_time(text: &str) -> std::result::Result<Duration, String> {
        time.parse_str(text).map_err(|e| e.to_string()).map(|time| time.known().expect("literal"))
    }

    #[test]
    fn durations_are_exact() {
        assert_eq!(parse_time("250ms"), Ok(Duration::from_millis(250)));
        assert_eq!(parse_time("1.5s"), Ok(Duration::from_millis(1_500)));
        assert_eq!(parse_time("2m"), Ok(Duration::from_secs(120)));
        assert_eq!(parse_time("1h"), Ok(Duration::from_secs(3_600)));
        assert_eq!(parse_time("1_000us"), Ok(Duration::from_millis(1)));
        assert_eq!(parse_time("7ns"), Ok(Duration::from_nanos(7)));
        assert_eq!(parse_time("0.1m"), Ok(Duration::from_secs(6)));
        assert_eq!(parse_time("\"2s\""), Ok(Duration::from_secs(2)));
        assert_eq!(parse_time("\"1.5 s\""), Ok(Duration::from_millis(1_500)));
        assert!(matches!(time.parse_str("config::TIMEOUT"), Ok(Time::Expr(_))));
    }

    #[test]
    fn bad_durations_say_what_is_wrong() {
        assert_eq!(parse_time("2").unwrap_err(), "a duration needs a unit: `2ms`, `2s` or `2m`");
        assert_eq!(parse_time("2.5").unwrap_err(), "a duration needs a unit: `2.5ms`, `2.5s` or `2.5m`");
        assert_eq!(parse_time("2sec").unwrap_err(), "unknown unit `sec`; use `ns`, `us`, `ms`, `s`, `m` or `h`");
        assert_eq!(parse_time("\"2 days\"").unwrap_err(), "unknown unit `days`; use `ns`, `us`, `ms`, `s`, `m` or `h`");
        assert_eq!(parse_time("-2s").unwrap_err(), "a duration cannot be negative");
        assert!(parse_time("0.5ns").unwrap_err().contains("whole nanoseconds"));
        assert!(parse_time("\"soon\"").unwrap_err().contains("expected a duration"));
        assert!(parse_time("'a'").unwrap_err().contains("expected a duration"));
    }

    #[test]
    fn ranges_rates_and_shares() {
        let range = |input: ParseStream<'_>| time_range(input, "100ms..5s");
        let (from, to) = range.parse_str("100ms..5s").expect("range");
        assert_eq!((from.known(), to.known()), (Some(Duration::from_millis(100)), Some(Duration::from_secs(5))));
        assert!(range.parse_str("100ms").is_err());
        assert!(range.parse_str("5s..1s").err().expect("error").to_string().contains("ends before"));
        assert!(matches!(range.parse_str("BASE..5s"), Ok((Time::Expr(_), Time::Known(..)))));

        assert!(matches!(rate.parse_str("100/s"), Ok((Number::Known(100, _), Per::Second))));
        assert!(matches!(rate.parse_str("7/min"), Ok((Number::Known(7, _), Per::Minute))));
        assert!(matches!(rate.parse_str("RATE/h"), Ok((Number::Expr(_), Per::Hour))));
        assert_eq!(rate.parse_str("100").err().expect("error").to_string(), "a rate needs a unit of time: `100/s`, `100/min` or `100/h`");
        assert_eq!(rate.parse_str("1/day").err().expect("error").to_string(), "unknown unit `day`; use `s`, `min` or `h`");

        assert_eq!(share.parse_str("50%").map(|s| s.0).ok(), Some(0.5));
        assert_eq!(share.parse_str("12.5%").map(|s| s.0).ok(), Some(0.125));
        assert_eq!(share.parse_str("0.5").err().expect("error").to_string(), "a share is written in per cent: `50%`");
        assert_eq!(share.parse_str("20").err().expect("error").to_string(), "a share is written in per cent: `20%`");
        assert!(share.parse_str("150%").is_err());
        assert!(share.parse_str("0%").is_err());
    }
}
