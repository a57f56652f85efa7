//! What the callers saw, told second by second.

use crate::ApiError;
use std::io::IsTerminal;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use steadfast::{Error, Event, Events, Pipeline};
use tokio::time::{Instant, sleep_until};

/// A busy machine may wake a caller this much too late.
const TOLERANCE: Duration = Duration::from_millis(500);

pub(crate) struct Timeline {
    started: Instant,
    seen: Mutex<Seen>,
}

#[derive(Default)]
struct Seen {
    this_second: Second,
    seconds: u64,
    slowest: Duration,
    opened: u32,
    closed: bool,
}

/// The answers of one second.
#[derive(Default)]
struct Second {
    ok: u32,
    own_error: u32,
    timed_out: u32,
    circuit_open: u32,
    other: u32,
    retries: u32,
    slowest: Duration,
}

impl Timeline {
    pub(crate) fn start(api: &Pipeline) -> Arc<Self> {
        println!("{}", bold("  time     ok  own error  timed out  circuit open  other  retries   slowest  breaker"));
        let timeline = Arc::new(Self { started: Instant::now(), seen: Mutex::default() });
        tokio::spawn(Arc::clone(&timeline).listen(api.events()));
        timeline
    }

    pub(crate) fn title(&self, title: &str) {
        println!("{}", bold(&format!("  --- {title}")));
    }

    /// One call's answer, as its caller saw it.
    pub(crate) fn saw(&self, answer: &Result<String, Error<ApiError>>, waited: Duration) {
        let mut seen = self.seen();
        seen.slowest = seen.slowest.max(waited);
        let second = &mut seen.this_second;
        second.slowest = second.slowest.max(waited);
        *match answer {
            Ok(_) => &mut second.ok,
            Err(Error::Inner(_)) => &mut second.own_error,
            Err(error) if error.is_timeout() => &mut second.timed_out,
            Err(error) if error.is_circuit_open() => &mut second.circuit_open,
            Err(_) => &mut second.other,
        } += 1;
    }

    /// The pipeline's own account: transitions are worth a line, retries are counted.
    async fn listen(self: Arc<Self>, mut events: Events) {
        while let Some(event) = events.next().await {
            match event {
                Event::Retrying { .. } => self.seen().this_second.retries += 1,
                Event::CircuitChanged { from, to, .. } => {
                    let at = self.started.elapsed().as_secs_f64();
                    println!("{at:>6.2}  {}", colour(to, &format!("circuit breaker: {from} -> {to}")));
                    let mut seen = self.seen();
                    seen.opened += u32::from(to == "open");
                    seen.closed = to == "closed";
                }
                _ => {}
            }
        }
    }

    /// Waits for the end of this second, and tells it.
    pub(crate) async fn second(&self, api: &Pipeline) {
        let ended = {
            let mut seen = self.seen();
            seen.seconds += 1;
            seen.seconds
        };
        sleep_until(self.started + Duration::from_secs(ended)).await;
        let Second { ok, own_error, timed_out, circuit_open, other, retries, slowest } = std::mem::take(&mut self.seen().this_second);
        let breaker = api.circuit_breaker().map_or("none", |breaker| breaker.state().as_str());
        let [ok, own_error, timed_out, circuit_open, other, retries] =
            [ok, own_error, timed_out, circuit_open, other, retries].map(|n| match n {
                0 => "-".to_owned(),
                n => n.to_string(),
            });
        println!(
            "{ended:>4} s {ok:>6} {own_error:>10} {timed_out:>10} {circuit_open:>13} {other:>6} {retries:>8} {:>6} ms  {}",
            slowest.as_millis(),
            colour(breaker, breaker)
        );
    }

    /// Whether the pipeline did what it is for.
    pub(crate) fn verdict(&self, total_timeout: Duration) -> bool {
        let Seen { opened, closed, slowest, .. } = *self.seen();
        let (slowest, limit) = (slowest.as_secs_f64(), total_timeout.as_secs_f64());
        check(opened > 0, &format!("the circuit breaker opened, and {} probes found the server still ill", opened.saturating_sub(1)))
            & check(closed, "the circuit breaker closed again when the server was well")
            & check(
                slowest <= limit + TOLERANCE.as_secs_f64(),
                &format!("no caller waited longer than the total timeout: the slowest {slowest:.2} s of {limit:.2} s"),
            )
    }

    fn seen(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn check(good: bool, claim: &str) -> bool {
    println!("{} {claim}", if good { paint("32", "ok    ") } else { paint("31", "FAILED") });
    good
}

fn bold(text: &str) -> String {
    paint("1", text)
}

fn colour(state: &str, text: &str) -> String {
    paint(
        match state {
            "open" => "31",
            "closed" => "32",
            _ => "33",
        },
        text,
    )
}

fn paint(code: &str, text: &str) -> String {
    if std::io::stdout().is_terminal() { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_owned() }
}
