//! A small executor that polls in the order of the wakes, counts polls, and can leave a task alive and unpolled.

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Wake, Waker};
use steadfast::{Bulkhead, BulkheadConfig, Call, OwnedBulkheadPermit, Priority, Rejected, RejectedKind};

pub fn build(config: BulkheadConfig) -> Bulkhead {
    config.build().expect("valid")
}

pub struct Task {
    future: Pin<Box<dyn Future<Output = Result<OwnedBulkheadPermit, Rejected>>>>,
    pub parked: bool,
    missed: bool,
    pub polls: usize,
}

struct Alarm {
    id: usize,
    ready: Arc<Mutex<VecDeque<usize>>>,
}

impl Wake for Alarm {
    fn wake(self: Arc<Self>) {
        let mut ready = self.ready.lock().expect("whole");
        if !ready.contains(&self.id) {
            ready.push_back(self.id);
        }
    }
}

pub struct Yard {
    pub bulkhead: Bulkhead,
    pub tasks: Vec<Option<Task>>,
    ready: Arc<Mutex<VecDeque<usize>>>,
    /// Who got a permit, in order.
    pub granted: Vec<usize>,
    pub held: Vec<OwnedBulkheadPermit>,
    pub refused: Vec<(usize, RejectedKind)>,
}

impl Yard {
    pub fn new(bulkhead: &Bulkhead) -> Self {
        let bulkhead = bulkhead.clone();
        Self { bulkhead, tasks: Vec::new(), ready: Arc::default(), granted: Vec::new(), held: Vec::new(), refused: Vec::new() }
    }

    /// The only place is taken by call 0, and `n` more wait: 1, 2, ..
    pub fn queue_of(n: usize) -> Self {
        let mut yard = Self::new(&build(Bulkhead::new(1).queue(n * 2 + 10)));
        (0..=n).for_each(|_| _ = yard.start(Priority::Normal));
        assert_eq!(yard.granted, [0]);
        yard
    }

    /// A new call, not yet polled.
    pub fn call(&mut self, call: Call<'static>) -> usize {
        let (id, bulkhead) = (self.tasks.len(), self.bulkhead.clone());
        let future = Box::pin(async move { bulkhead.acquire(&call).await.map(|permit| permit.into_owned()) });
        self.tasks.push(Some(Task { future, parked: false, missed: false, polls: 0 }));
        self.ready.lock().expect("whole").push_back(id);
        id
    }

    /// A new call; it is polled, and so is everybody who woke of it.
    pub fn start(&mut self, priority: Priority) -> usize {
        let id = self.call(Call::now().priority(priority));
        self.run();
        id
    }

    pub fn park(&mut self, id: usize) {
        if let Some(task) = &mut self.tasks[id] {
            task.parked = true;
        }
    }

    pub fn unpark(&mut self, id: usize) {
        if let Some(task) = &mut self.tasks[id] {
            task.parked = false;
            if std::mem::take(&mut task.missed) {
                self.ready.lock().expect("whole").push_back(id);
            }
        }
    }

    /// The one that woke last is polled first.
    pub fn hurry(&mut self) {
        self.ready.lock().expect("whole").rotate_right(1);
    }

    /// Polls the first who is awake. False when all sleep.
    pub fn step(&mut self) -> bool {
        let Some(id) = self.ready.lock().expect("whole").pop_front() else { return false };
        let Some(task) = &mut self.tasks[id] else { return true };
        if task.parked {
            task.missed = true;
            return true;
        }
        task.polls += 1;
        let waker = Waker::from(Arc::new(Alarm { id, ready: Arc::clone(&self.ready) }));
        if let Poll::Ready(acquired) = task.future.as_mut().poll(&mut Context::from_waker(&waker)) {
            self.tasks[id] = None;
            match acquired {
                Ok(permit) => {
                    self.granted.push(id);
                    self.held.push(permit);
                }
                Err(rejected) => self.refused.push((id, rejected.kind())),
            }
        }
        true
    }

    pub fn run(&mut self) {
        let spins = (0..100_000).all(|_| self.step());
        assert!(!spins, "somebody spins");
    }

    /// Gives the oldest permit back.
    pub fn release(&mut self) {
        drop(self.held.remove(0));
    }

    /// All permits, until nobody holds one or wants one.
    pub fn release_all(&mut self) {
        while !self.held.is_empty() {
            self.release();
            self.run();
        }
    }

    pub fn polls(&self) -> usize {
        self.tasks.iter().flatten().map(|task| task.polls).sum()
    }

    pub fn waiting(&self) -> Vec<usize> {
        (0..self.tasks.len()).filter(|id| self.tasks[*id].is_some()).collect()
    }
}
