//! What is to be simulated.

use super::dependency::{Dependency, Failure};
use super::load::Load;
use crate::call::Attempt;
use crate::pipeline::PipelineBuilder;
use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

pub(super) type MakePipeline = Arc<dyn Fn() -> PipelineBuilder + Send + Sync>;
pub(super) type Operate = Box<dyn Fn(Attempt) -> Pin<Box<dyn Future<Output = Result<(), Failure>> + Send>> + Send + Sync>;
pub(super) type MakeOperate = Arc<dyn Fn() -> Operate + Send + Sync>;

/// Callers, the pipelines between, and what they call. A plain description: [`run`](super::run) it as often as you like.
#[derive(Clone)]
#[must_use = "a scenario does nothing until it is run"]
pub struct Scenario {
    pub(super) name: String,
    pub(super) lasting: Duration,
    pub(super) bucket: Duration,
    pub(super) load: Load,
    pub(super) layers: Vec<MakePipeline>,
    pub(super) dependency: Dependency,
    pub(super) operation: Option<MakeOperate>,
    pub(super) progress: Option<Arc<dyn Fn(Duration) + Send + Sync>>,
}

impl Scenario {
    /// These callers, without anything between them and this dependency, for a minute.
    pub fn new(name: impl Into<String>, load: Load, dependency: Dependency) -> Self {
        Self {
            name: name.into(),
            lasting: Duration::from_secs(60),
            bucket: Duration::from_secs(1),
            load,
            layers: Vec::new(),
            dependency,
            operation: None,
            progress: None,
        }
    }

    /// The pipeline that the calls go through: the real thing, as your program builds it. Made anew for each run, inside it, so that its
    /// clock is the simulated one and its chance the seed's (where its policies have no seed of their own).
    ///
    /// Said again, it is the pipeline of the next service on the way: the first service calls the second, which calls the dependency.
    /// They share nothing, as two processes do not; and a service does not notice when its caller gives up.
    pub fn through(mut self, pipeline: impl Fn() -> PipelineBuilder + Send + Sync + 'static) -> Self {
        self.layers.push(Arc::new(pipeline));
        self
    }

    /// In place of the modelled dependency: an operation of your own, in the simulated time. Made anew for each run, inside it.
    pub fn operation<F, Fut>(mut self, make: impl Fn() -> F + Send + Sync + 'static) -> Self
    where
        F: Fn(Attempt) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<(), Failure>> + Send + 'static,
    {
        self.operation = Some(Arc::new(move || {
            let operation = make();
            Box::new(move |attempt| Box::pin(operation(attempt)))
        }));
        self
    }

    /// For how long there are calls. **Default**: 60 s.
    pub const fn lasting(mut self, time: Duration) -> Self {
        self.lasting = time;
        self
    }

    /// How finely the report tells time; at least 1 ms. **Default**: 1 s.
    pub const fn bucket(mut self, time: Duration) -> Self {
        self.bucket = time;
        self
    }

    /// Is told after each bucket how far the simulated time is: for a progress bar. **Default**: nobody.
    pub fn progress(mut self, tell: impl Fn(Duration) + Send + Sync + 'static) -> Self {
        self.progress = Some(Arc::new(tell));
        self
    }

    /// What it is called.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// For how long there are calls.
    #[must_use]
    pub const fn length(&self) -> Duration {
        self.lasting
    }
}

impl fmt::Debug for Scenario {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Scenario")
            .field("name", &self.name)
            .field("lasting", &self.lasting)
            .field("bucket", &self.bucket)
            .field("load", &self.load)
            .field("layers", &self.layers.len())
            .field("dependency", &self.dependency)
            .finish_non_exhaustive()
    }
}
