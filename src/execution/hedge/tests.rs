use super::stats::Denied;
use super::{Budget, Hedge, HedgeConfig, Outcome, Verdict};
use std::time::Duration;

const MS: Duration = Duration::from_millis(1);

fn build(config: HedgeConfig) -> Hedge {
    config.idempotent().build().expect("valid")
}

/// Half a token for each call, and none yet.
fn empty(budget: &Budget) -> Budget {
    let now = tokio::time::Instant::now();
    while budget.try_withdraw_at(now) {}
    assert_eq!(budget.available(), 0);
    budget.clone()
}

fn half() -> Budget {
    Budget::new(0.5).min_per_second(0.0).burst(10).build().expect("valid")
}

#[test]
fn clones_are_one_policy_and_others_are_not() {
    let (one, other) = (build(Hedge::after(MS)), build(Hedge::after(MS)));
    assert!(one.is_same(&one.clone()) && !one.is_same(&other));
}

#[test]
fn delays_of_ones_own_are_the_same_where_they_are_the_very_same() {
    let delay = |leg| leg * MS;
    let custom = Hedge::custom(delay);
    assert_eq!(custom, custom.clone());
    assert_ne!(custom, Hedge::custom(delay));
    assert_eq!(Hedge::after(MS), Hedge::after(MS));
    assert_ne!(Hedge::after(MS), Hedge::after(2 * MS));
    assert_ne!(Hedge::at_percentile(0.9), Hedge::at_percentile(0.95));
    assert_ne!(Hedge::after(MS), Hedge::at_percentile(0.9));
}

#[test]
fn a_call_puts_its_share_into_a_budget_once() {
    let deposited = |hedge: &Hedge, retries: Option<&Budget>, into: &Budget| {
        let into = empty(into);
        (0..4).for_each(|_| hedge.join(retries));
        into.available()
    };
    let (retries, own) = (half(), build(Hedge::after(MS).budget(half())));
    assert_eq!(deposited(&own, None, own.budget()), 2);
    assert_eq!(deposited(&own, Some(&retries), own.budget()), 2);
    assert_eq!(deposited(&own, Some(&retries), &retries), 0, "it has its own");
    let joined = [build(Hedge::after(MS)), build(Hedge::after(MS).budget(retries.clone()))];
    assert_eq!(joined.map(|hedge| deposited(&hedge, Some(&retries), &retries)), [0, 0], "the retries have done so");
}

#[test]
fn a_budget_of_its_own_goes_on_and_one_that_was_shared_is_left_as_it_is() {
    let own = |share| Hedge::after(MS).idempotent().budget(Budget::new(share));
    let hedge = build(own(0.5));
    let first = hedge.budget().clone();
    hedge.reconfigure(&own(0.2)).expect("valid");
    assert!(hedge.budget().is_same(&first));
    assert_eq!(first.share(), Some(0.2));
    let shared = half();
    hedge.reconfigure(&Hedge::after(MS).idempotent().budget(shared.clone())).expect("valid");
    assert!(hedge.budget().is_same(&shared));
    hedge.reconfigure(&own(0.2)).expect("valid");
    assert!(!hedge.budget().is_same(&shared));
    assert_eq!((shared.share(), hedge.budget().share()), (Some(0.5), Some(0.2)));
}

#[test]
fn what_ended_by_itself_is_an_answer_and_what_was_cut_off_or_failed_is_none() {
    let answers = |outcome| {
        let hedge = build(Hedge::at_percentile(0.5).min_samples(1));
        hedge.record(outcome, 5 * MS);
        hedge.delay().is_some()
    };
    let (answer, failure) = ([Verdict::Success, Verdict::permanent(), Verdict::Ignored], [Verdict::transient(), Verdict::retry_after(MS)]);
    assert_eq!(answer.map(Outcome::Judged).map(answers), [true; 3]);
    assert_eq!(failure.map(Outcome::Judged).map(answers), [false; 2]);
    assert_eq!([Outcome::TimedOut, Outcome::Panicked, Outcome::Abandoned, Outcome::NotAttempted].map(answers), [false; 4]);
}

#[test]
fn what_it_has_done_adds_up_and_begins_anew() {
    let hedge = build(Hedge::after(MS));
    assert_eq!(hedge.stats().denied(), 0);
    hedge.launched(true);
    hedge.launched(false);
    hedge.won();
    [Denied::Budget, Denied::Breaker, Denied::Breaker, Denied::Deadline].into_iter().for_each(|why| hedge.denied(why));
    let stats = hedge.stats();
    assert_eq!((stats.launched, stats.after_failure, stats.won, stats.denied()), (2, 1, 1, 4));
    assert_eq!((stats.denied_by_budget, stats.denied_by_breaker, stats.denied_by_deadline), (1, 2, 1));
    hedge.reset_stats();
    assert_eq!(hedge.stats(), super::HedgeStats::default());
}

#[test]
fn h43_a_percentile_that_is_not_a_fraction_is_refused_with_what_was_meant() {
    let said = |share| Hedge::at_percentile(share).idempotent().build().err().map(|error| error.to_string()).unwrap_or_default();
    for (share, fix) in
        [(95.0, "write 0.95"), (1.5, "write 0.015"), (1.0, "0.95 is common"), (100.0, "0.95 is common"), (0.0, "0.95 is common")]
    {
        assert!(said(share).contains(fix), "{}", said(share));
    }
    assert_eq!([0.001, 0.999].map(said), ["", ""]);
    let bounds = |least| Hedge::at_percentile(0.9).min_delay(least).max_delay(2 * MS).idempotent().build().is_ok();
    assert_eq!([MS, 2 * MS, 3 * MS].map(bounds), [true, true, false]);
}
