//! The dependency at work: a discrete-event model, exact to the nanosecond, with time passed in.
//!
//! tokio's timers tick in milliseconds. So the machine keeps its own time: work begins and ends when it does, and only the answer is
//! delivered at the tick after. Its capacity is what the model says, and not a percent less.

use super::Chance;
use super::dependency::{Dependency, Failure};
use super::latency::times;
use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;
use tokio::sync::oneshot;

pub(super) type Answer = Result<(), Failure>;

struct Job {
    work: Duration,
    fails: bool,
    reply: oneshot::Sender<Answer>,
}

/// What became of the requests, counted since the machine was last asked.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Work {
    pub(super) received: u64,
    pub(super) done: u64,
    pub(super) wasted: u64,
}

/// Answers to be delivered, under no lock.
#[derive(Default)]
pub(super) struct Deliveries(Vec<(oneshot::Sender<Answer>, Answer)>);

impl Deliveries {
    pub(super) fn deliver(self) {
        for (reply, answer) in self.0 {
            let _ = reply.send(answer);
        }
    }
}

pub(super) struct Machine {
    model: Dependency,
    servers: u32,
    /// Changes of the model still to come.
    moments: VecDeque<Duration>,
    waiting: VecDeque<Job>,
    /// By the time they end; the number keeps two that end together apart.
    running: BTreeMap<(Duration, u64), Job>,
    number: u64,
    now: Duration,
    sizes: Chance,
    faults: Chance,
    pub(super) work: Work,
}

impl Machine {
    pub(super) fn new(model: Dependency, seed: u64) -> Self {
        let (servers, moments) = (model.servers_at(Duration::ZERO), model.moments().into());
        let (sizes, faults) = (Chance::new(seed, "work"), Chance::new(seed, "errors"));
        let (waiting, running) = (VecDeque::new(), BTreeMap::new());
        Self { model, servers, moments, waiting, running, number: 0, now: Duration::ZERO, sizes, faults, work: Work::default() }
    }

    pub(super) fn waiting(&self) -> usize {
        self.waiting.len()
    }

    pub(super) fn running(&self) -> usize {
        self.running.len()
    }

    /// When it must be asked to go on.
    pub(super) fn next(&self) -> Option<Duration> {
        let end = self.running.first_key_value().map(|((end, _), _)| *end);
        match (end, self.moments.front()) {
            (Some(end), Some(&moment)) => Some(end.min(moment)),
            (end, moment) => end.or(moment.copied()),
        }
    }

    /// Takes a request. The answer comes through the receiver.
    pub(super) fn arrive(&mut self, now: Duration, out: &mut Deliveries) -> oneshot::Receiver<Answer> {
        self.advance(now, out);
        self.work.received += 1;
        let (reply, answer) = oneshot::channel();
        // Drawn for every request, whatever becomes of it, so that the next one's does not depend on that.
        let (work, fault) = (self.model.work.draw(&mut self.sizes), self.faults.unit());
        if self.model.is_down(now) {
            out.0.push((reply, Err(Failure::Down)));
        } else if self.running.len() >= self.servers as usize && self.waiting.len() >= self.model.queue {
            out.0.push((reply, Err(Failure::Full)));
        } else {
            let fails = fault < self.model.error_share(now);
            self.waiting.push_back(Job { work, fails, reply });
            self.begin_what_can();
        }
        answer
    }

    /// Goes through everything that happens up to this moment.
    pub(super) fn advance(&mut self, now: Duration, out: &mut Deliveries) {
        while let Some(next) = self.next().filter(|next| *next <= now) {
            self.now = next;
            if self.moments.front() == Some(&next) {
                self.moments.pop_front();
                self.servers = self.model.servers_at(next);
                if self.model.is_down(next) {
                    let lost = std::mem::take(&mut self.running).into_values().chain(self.waiting.drain(..));
                    out.0.extend(lost.map(|job| (job.reply, Err(Failure::Down))));
                }
            } else if let Some((_, job)) = self.running.pop_first() {
                self.work.done += 1;
                self.work.wasted += u64::from(job.reply.is_closed());
                out.0.push((job.reply, if job.fails { Err(Failure::Failed) } else { Ok(()) }));
            }
            self.begin_what_can();
        }
        self.now = now;
    }

    fn begin_what_can(&mut self) {
        while self.running.len() < self.servers as usize {
            let Some(job) = self.waiting.pop_front() else { return };
            if self.model.drops_abandoned && job.reply.is_closed() {
                continue;
            }
            let end = self.now.saturating_add(times(job.work, self.model.slowness(self.now)));
            self.number += 1;
            self.running.insert((end, self.number), job);
        }
    }
}
