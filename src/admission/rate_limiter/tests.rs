//! The door of a pipeline, and the numbers of the window. All else is tried from outside, in `tests/rate_limiter.rs`.

use super::*;
use tokio::time::advance;

fn enter<'a>(limiter: &'a RateLimiter, call: &Call<'_>) -> Entry<Reservation<'a>, RateLimiterWaiter<'a>> {
    limiter.enter(call.cost, call.priority, call.attempt.started, || *call)
}

fn smooth() -> RateLimiter {
    RateLimiter::per_second(10).smooth().max_wait(Duration::from_secs(10)).build().expect("valid")
}

#[tokio::test(start_paused = true)]
async fn the_door_grants_and_refuses_at_once() {
    let limiter = RateLimiter::per_second(1).build().expect("valid");
    let call = Call::now();
    let Entry::Granted(unused) = enter(&limiter, &call) else { panic!("full") };
    assert!(matches!(enter(&limiter, &call), Entry::Refused(rejected) if rejected.retry_after() == Some(Duration::from_secs(1))));
    drop(unused);
    let Entry::Granted(used) = enter(&limiter, &call) else { panic!("handed back") };
    used.keep();
    assert!(matches!(enter(&limiter, &call), Entry::Refused(_)));
    assert!(matches!(enter(&limiter, &call.cost(0)), Entry::Granted(_)));
}

#[tokio::test(start_paused = true)]
async fn what_needs_no_waiting_passes_without_being_asked_twice() {
    let limiter = RateLimiter::per_second(1).build().expect("valid");
    let (now, pass) = (Instant::now(), |cost| limiter.pass(cost, Priority::Normal, Instant::now()).map(Reservation::keep));
    assert_eq!([pass(0), pass(1), pass(0), pass(1)], [Some(()), Some(()), Some(()), None]);
    assert_eq!(limiter.available_at(now), 0);
}

#[tokio::test(start_paused = true)]
async fn a_grant_is_remembered_in_the_units_of_its_rate_or_not_at_all() {
    let limiter = RateLimiter::per_second(10).build().expect("valid");
    let call = Call::now().cost(3);
    let [kept, outdated] = [0, 1].map(|_| limiter.reserve(&call).expect("full"));
    let (units, then) = kept.kept();
    assert_eq!(units, 3);
    limiter.hand_back_quietly(units, then);
    assert_eq!(limiter.available(), 7);
    limiter.set_rate(20, SECOND).expect("valid");
    assert_eq!(outdated.kept(), (0, 0));
    let window = RateLimiter::per_second(10).sliding_window().build().expect("valid");
    assert_eq!(window.reserve(&call).expect("empty").kept(), (0, 0));
}

#[tokio::test(start_paused = true)]
async fn clones_are_the_same_limiter_and_equals_are_not() {
    let [one, other] = [smooth(), smooth()];
    assert!(one.is_same(&one.clone()) && !one.is_same(&other));
}

#[test]
fn what_is_just_possible_is_no_fault_and_each_fault_is_told_once() {
    let longest = Duration::from_nanos(gcra::LONGEST_FILL);
    let tick = Duration::from_nanos(1);
    let fields = |config: RateLimiterConfig| config.faults().iter().map(|fault| fault.field().to_owned()).collect::<Vec<_>>();
    for (config, expected) in [
        (RateLimiter::per(1, longest), &[][..]),
        (RateLimiter::per(1, longest + tick), &["period"]),
        (RateLimiter::per(9, Duration::ZERO), &["period"]),
        (RateLimiter::per(9, tick * 9), &[]), // one a nanosecond
        (RateLimiter::per(9, tick * 8), &["rate"]),
        (RateLimiter::per(1, longest / 2).burst(2), &[]),
        (RateLimiter::per(1, longest / 2).burst(3), &["burst"]),
        (RateLimiter::per(0, SECOND).burst(0), &["rate", "burst"]),
    ] {
        assert_eq!(fields(config.clone()), expected, "{config:?}");
    }
}

const SECOND: Duration = Duration::from_secs(1);

#[tokio::test(start_paused = true)]
async fn a_limiter_goes_on_with_other_settings_of_its_own_algorithm_only() {
    let limiter = RateLimiter::per_second(10).build().expect("valid");
    assert!(limiter.reconfigure(&RateLimiter::per_second(20)).is_ok_and(|fits| fits));
    assert_eq!(limiter.rate(), 20);
    assert!(limiter.reconfigure(&RateLimiter::per_second(30).sliding_window()).is_ok_and(|fits| !fits));
    assert_eq!(limiter.config(), RateLimiter::per_second(20));
    assert_eq!(smooth().config().longest_wait(), SECOND * 10);
}

#[tokio::test(start_paused = true)]
async fn a_grant_that_was_waited_for_can_be_handed_back_too() {
    let limiter = smooth();
    limiter.try_acquire(1).expect("full");
    let call = Call::now();
    let Entry::Wait(waiter) = enter(&limiter, &call) else { panic!("empty") };
    assert_eq!(limiter.waiting(), 1);
    drop(waiter.await.expect("granted"));
    assert_eq!((limiter.available(), call.attempt.started.elapsed()), (1, Duration::from_millis(100)));
}

async fn took(wait: RateLimiterWaiter<'_>, start: Instant) -> u64 {
    wait.await.expect("granted").keep();
    start.elapsed().as_secs()
}

#[tokio::test(start_paused = true)]
async fn critical_stands_before_those_who_have_waited_for_an_hour() {
    let limiter = RateLimiter::per_hour(1).max_wait(Duration::MAX).build().expect("valid");
    limiter.try_acquire(1).expect("full");
    let old = Call::now();
    let Entry::Wait(old) = enter(&limiter, &old) else { panic!("empty") };
    advance(Duration::from_secs(3_000)).await;
    let critical = Call::now().priority(Priority::Critical);
    let Entry::Wait(critical) = enter(&limiter, &critical) else { panic!("empty") };
    let start = Instant::now();
    let (old, critical) = (took(old, start), took(critical, start));
    assert_eq!(tokio::join!(old, critical), (4_200, 600));
}

#[tokio::test(start_paused = true)]
async fn a_lowered_burst_does_not_look_like_a_clock_that_went_back() {
    let limiter = RateLimiter::per_second(1).burst(100).build().expect("valid");
    limiter.try_acquire(100).expect("full");
    limiter.set_burst(1).expect("valid");
    let refused = limiter.try_acquire(1).expect_err("a debt of a hundred");
    assert_eq!(refused.retry_after(), Some(Duration::from_secs(100)));
    advance(Duration::from_secs(99)).await;
    assert!(limiter.try_acquire(1).is_err());
    advance(Duration::from_secs(1)).await;
    assert!(limiter.try_acquire(1).is_ok());
}

#[tokio::test(start_paused = true)]
async fn a_window_tells_the_wait_for_more_than_it_holds() {
    let limiter = RateLimiter::per_second(2).sliding_window().build().expect("valid");
    let wait = |units| limiter.shared.queue.supply().wait_for(units, Instant::now()).as_millis();
    limiter.try_acquire(1).expect("empty");
    advance(Duration::from_millis(300)).await;
    limiter.try_acquire(1).expect("one left");
    assert_eq!([1, 2, 3, 4, 5].map(wait), [700, 1000, 1700, 2000, 2700]);
}

#[tokio::test(start_paused = true)]
async fn a_window_keeps_its_log_through_a_change() {
    let limiter = RateLimiter::per_second(10).sliding_window().build().expect("valid");
    limiter.try_acquire(8).expect("empty");
    limiter.set_rate(5, Duration::from_secs(2)).expect("valid");
    assert_eq!(limiter.available(), 0);
    advance(Duration::from_millis(1_999)).await;
    assert_eq!(limiter.available(), 0);
    advance(Duration::from_millis(1)).await;
    assert_eq!(limiter.available(), 5);
}
