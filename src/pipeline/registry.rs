//! Many pipelines by name, from one file.
//!
//! ```toml
//! [defaults]                     # what holds wherever a pipeline says nothing else
//! preset = "http"
//! monitor = true
//!
//! [pipelines.github]
//! total_timeout = "5s"
//! rate_limit = "100/s"
//! cache = { capacity = 10_000, ttl = "5m" }      # for functions that are `cached`, feature `cache`
//!
//! [pipelines.ledger]
//! preset = "database"
//! retry = false                  # takes away what the preset has
//! ```
//!
//! The last word has the pipeline, before that the defaults, before that the preset (the pipeline's own, or that of the defaults).
//! They are put together field by field: `retry = 5` over a preset keeps its delays. The fields are those of a
//! [`PipelineConfig`], which tells the details.
//!
//! All faults of all pipelines come at once, each at the place where the file says it:
//!
//! ```text
//! registry cannot be built, 3 problems:
//!   defaults.attempt_timeout: `5`: a duration needs a unit: `5ms`, `5s` or `5m`
//!   pipelines.github.circut_breaker: unknown field; did you mean `circuit_breaker`?
//!   pipelines.ledger.bulkhead.limit: -3 is negative; it must be at least 0
//! ```

use super::config::Changes;
#[cfg(feature = "serde")]
use super::config::tree::{Tree, once};
#[cfg(feature = "serde")]
use super::config::words::shown;
use super::config::words::suggest;
#[cfg(feature = "serde")]
use super::config::{layers, read, source};
use super::{Pipeline, PipelineBuilder, PipelineConfig};
use crate::fault::{ConfigError, Fault, gather};
use crate::observation::Monitor;
use crate::sorted::Sorted;
use crate::sync::{Mutex, lock};
use std::fmt;
use std::sync::Arc;

/// The settings of many named pipelines, as a plain value: what a file says, or what code puts together.
///
/// ```
/// # #[cfg(feature = "serde")] fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use steadfast::RegistryConfig;
///
/// let config: RegistryConfig = toml::from_str(r#"
///     [defaults]
///     preset = "http"
///     [pipelines.github]
///     retry = 5
///     [pipelines.gitlab]
/// "#)?;
/// let registry = config.build()?;
/// assert_eq!(registry.find("github")?.explain().attempts(), 6);
/// assert_eq!(registry.find("gitlab")?.explain().attempts(), 4);
/// # Ok(()) }
/// # #[cfg(not(feature = "serde"))] fn main() {}
/// ```
#[derive(Clone, Debug, Default, PartialEq)]
#[must_use = "a configuration does nothing until it is built or given to a registry"]
pub struct RegistryConfig {
    pipelines: Sorted<PipelineConfig>,
}

impl RegistryConfig {
    /// No pipeline at all.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a pipeline; the later of two of one name counts.
    pub fn pipeline(mut self, name: impl Into<String>, config: PipelineConfig) -> Self {
        self.pipelines.insert(name.into().into(), config);
        self
    }

    /// The settings of one pipeline.
    #[must_use]
    #[inline]
    pub fn get(&self, name: &str) -> Option<&PipelineConfig> {
        self.pipelines.get(name)
    }

    /// The names of all pipelines, in the order of the alphabet.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.pipelines.iter().map(|(name, _)| &**name)
    }

    /// Builds all pipelines.
    ///
    /// # Errors
    /// Every fault of every pipeline.
    #[inline]
    pub fn build(self) -> Result<Registry, ConfigError> {
        self.build_with(|_, builder| builder)
    }

    /// Builds all pipelines, each completed by `complete`: judges, observers and gates, which no file can say. It is asked again at every
    /// [`reload`](Registry::reload), and what it says of settings holds over what the file says.
    ///
    /// ```
    /// # fn main() -> Result<(), steadfast::ConfigError> {
    /// use steadfast::{PipelineConfig, RegistryConfig, Verdict};
    ///
    /// let config = RegistryConfig::new().pipeline("github", PipelineConfig::new());
    /// let registry = config.build_with(|_name, builder| {
    ///     builder.classify(|error: &std::io::Error| match error.kind() {
    ///         std::io::ErrorKind::PermissionDenied => Verdict::Permanent,
    ///         _ => Verdict::transient(),
    ///     })
    /// })?;
    /// # let _ = registry; Ok(()) }
    /// ```
    ///
    /// # Errors
    /// Every fault of every pipeline.
    pub fn build_with(
        self,
        complete: impl Fn(&str, PipelineBuilder) -> PipelineBuilder + Send + Sync + 'static,
    ) -> Result<Registry, ConfigError> {
        let registry =
            Registry { shared: Arc::new(Shared { pipelines: Mutex::default(), monitor: Monitor::new(), complete: Box::new(complete) }) };
        registry.reload(&self)?;
        Ok(registry)
    }
}

#[cfg(feature = "serde")]
impl RegistryConfig {
    /// Reads settings, and tells every fault as a value: what `Deserialize` does, for those who look at the faults one by one.
    ///
    /// # Errors
    /// Every fault, with its path. What the format itself could not read is one fault of the field `source`.
    pub fn from_source<'de>(format: impl serde::Deserializer<'de>) -> Result<Self, ConfigError> {
        let mut faults = Vec::new();
        let config = Self::judged(source::read(format)?, &mut faults);
        source::refused("registry", faults)?;
        Ok(config)
    }

    fn judged(mut tree: Tree, faults: &mut Vec<Fault>) -> Self {
        once(&mut tree, "", faults);
        const KNOWN: &[&str] = &["defaults", "pipelines"];
        let mut config = Self::default();
        let (mut defaults, mut pipelines) = (Tree::table(), Vec::new());
        for (name, value) in entries("", tree, faults) {
            match (name.as_str(), value) {
                (_, Tree::Nothing) => {}
                ("defaults", value) => defaults = layers::normal(value),
                ("pipelines", value) => pipelines = entries("pipelines", value, faults),
                _ => faults.push(Fault::new(shown(&name), format!("unknown field; {}", suggest(&name, KNOWN)))),
            }
        }
        let _ = layers::preset_of(&defaults, "defaults", faults);
        let _ = read::pipeline("defaults", defaults.clone(), true, faults);
        for (name, own) in pipelines {
            let path = format!("pipelines.{}", shown(&name));
            if name.is_empty() {
                faults.push(Fault::new(path, "has no name, and errors and statistics need it; name the dependency"));
                continue;
            }
            let own = layers::normal(if own == Tree::Nothing { Tree::table() } else { own });
            let both = layers::merged(defaults.clone(), own.clone());
            let (mut found, complete) = (Vec::new(), matches!(own, Tree::Table(_)));
            let preset = layers::preset_of(&both, "", &mut found);
            let read = read::pipeline("", if complete { layers::merged(preset, both) } else { own.clone() }, false, &mut found);
            // A fault of the defaults is told once, where they say it.
            for fault in found {
                let theirs = !layers::says(&own, fault.field()) && layers::says(&defaults, fault.field());
                let fault = match (theirs, fault.field()) {
                    (true, _) => fault.under("defaults"),
                    (false, "") => Fault::new(path.clone(), fault.problem()),
                    (false, _) => fault.under(&path),
                };
                if !theirs || !faults.contains(&fault) {
                    faults.push(fault);
                }
            }
            config.pipelines.insert(name.into(), read);
        }
        config
    }
}

/// The fields of a table.
#[cfg(feature = "serde")]
fn entries(path: &str, tree: Tree, faults: &mut Vec<Fault>) -> Vec<(String, Tree)> {
    let problem = match tree {
        Tree::Table(entries) => return entries,
        Tree::Bad(problem) => problem,
        other => format!("{other} where a table is wanted: `[pipelines.name]`"),
    };
    faults.push(Fault::new(if path.is_empty() { "source" } else { path }, problem));
    Vec::new()
}

#[cfg(feature = "serde")]
impl<'de> serde::Deserialize<'de> for RegistryConfig {
    fn deserialize<D: serde::Deserializer<'de>>(format: D) -> Result<Self, D::Error> {
        let tree = source::tree(format)?;
        let mut faults = Vec::new();
        let config = Self::judged(tree, &mut faults);
        source::refused("registry", faults).map_err(serde::de::Error::custom)?;
        Ok(config)
    }
}

#[cfg(feature = "serde")]
impl serde::Serialize for RegistryConfig {
    fn serialize<S: serde::Serializer>(&self, target: S) -> Result<S::Ok, S::Error> {
        let mut pipelines = Tree::table();
        self.pipelines.iter().for_each(|(name, config)| pipelines.put(name, config.tree()));
        let mut tree = Tree::table();
        tree.put("pipelines", pipelines);
        tree.serialize(target)
    }
}

/// Live pipelines by name. Clones share them.
///
/// Ask for a pipeline once and keep it: a [`Pipeline`] is a cheap handle, and a [`reload`](Self::reload) reaches it where it is.
///
/// ```
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use steadfast::{PipelineConfig, RegistryConfig, Retry};
/// use std::time::Duration;
///
/// let config = RegistryConfig::new().pipeline("github", PipelineConfig::new().attempt_timeout(Duration::from_secs(2)));
/// let registry = config.build()?;
/// let github = registry.find("github")?;
/// assert_eq!(registry.find("gitub").unwrap_err().to_string(), "there is no pipeline `gitub`; did you mean `github`?");
///
/// let changed = RegistryConfig::new().pipeline("github", PipelineConfig::new().attempt_timeout(Duration::from_secs(1)));
/// let changes = registry.reload(&changed)?;
/// assert_eq!(changes.to_string(), "github: attempt_timeout: 2s -> 1s");
/// assert_eq!(github.to_string(), "github: attempt timeout 1.0 s > operation"); // the same pipeline
/// # Ok(()) }
/// ```
#[derive(Clone)]
pub struct Registry {
    shared: Arc<Shared>,
}

type Complete = dyn Fn(&str, PipelineBuilder) -> PipelineBuilder + Send + Sync;

type Table = Sorted<Entry>;

struct Shared {
    pipelines: Mutex<Table>,
    monitor: Monitor,
    complete: Box<Complete>,
}

#[derive(Clone)]
struct Entry {
    pipeline: Pipeline,
    /// Not from the file, so no file takes it away.
    by_hand: bool,
}

impl Registry {
    /// The pipeline of this name.
    #[must_use]
    #[inline]
    pub fn get(&self, name: &str) -> Option<Pipeline> {
        lock(&self.shared.pipelines).get(name).map(|entry| entry.pipeline.clone())
    }

    /// The pipeline of this name, or an error that tells which there are.
    ///
    /// # Errors
    /// [`UnknownPipeline`].
    #[inline]
    pub fn find(&self, name: &str) -> Result<Pipeline, UnknownPipeline> {
        self.get(name).ok_or_else(|| UnknownPipeline { name: name.to_owned(), known: self.names() })
    }

    /// The names of all pipelines, in the order of the alphabet.
    #[must_use]
    pub fn names(&self) -> Vec<String> {
        lock(&self.shared.pipelines).iter().map(|(name, _)| name.to_string()).collect()
    }

    /// All pipelines, in the order of their names.
    #[must_use]
    #[inline]
    pub fn pipelines(&self) -> Vec<Pipeline> {
        lock(&self.shared.pipelines).iter().map(|(_, entry)| entry.pipeline.clone()).collect()
    }

    /// The one monitor of all pipelines whose settings say `monitor = true`, so that their calls are in one table.
    #[must_use]
    pub fn monitor(&self) -> &Monitor {
        &self.shared.monitor
    }

    /// Adds a pipeline that was built in code, under its name. No reload changes it or takes it away.
    ///
    /// # Errors
    /// There is one of that name.
    #[inline]
    pub fn insert(&self, pipeline: Pipeline) -> Result<(), ConfigError> {
        let mut pipelines = lock(&self.shared.pipelines);
        let name = pipeline.name().to_owned();
        if pipelines.get(&name).is_some() {
            return ConfigError::check("registry", vec![taken(&name)]);
        }
        pipelines.insert(name.into(), Entry { pipeline, by_hand: true });
        Ok(())
    }

    /// Goes on with other settings, while calls are in flight: pipelines that stay are [reconfigured](Pipeline::reconfigure) and keep their
    /// state, new ones are built, and those that are gone are no longer found here (whoever has one can go on with it).
    ///
    /// # Errors
    /// Every fault of every pipeline; then nothing is changed, anywhere.
    #[inline]
    pub fn reload(&self, config: &RegistryConfig) -> Result<RegistryChanges, ConfigError> {
        loop {
            let known = lock(&self.shared.pipelines).clone();
            // Without the lock, for completing a pipeline is the user's own code.
            let plan = self.plan(&known, config)?;
            if let Some(changes) = self.exchange(&known, plan) {
                changes.changed.iter().filter_map(|(name, _)| known.get(name)).for_each(|entry| entry.pipeline.tell_changes());
                return Ok(changes);
            } // else somebody else changed the table meanwhile
        }
    }

    /// What is to be built, and what is to be changed; or every fault there is.
    #[inline]
    fn plan(&self, known: &Table, config: &RegistryConfig) -> Result<Plan, ConfigError> {
        let (mut faults, mut plan) = (Vec::new(), Plan::default());
        for (name, settings) in config.pipelines.iter() {
            let mut builder = settings.builder(&**name);
            if settings.monitor {
                builder = builder.monitor(self.shared.monitor.clone());
            }
            let builder = (self.shared.complete)(name, builder);
            let found = match known.get(name) {
                Some(entry) if entry.by_hand => {
                    faults.push(taken(name));
                    continue;
                }
                Some(_) => {
                    // As completed, for that may have its say about settings too.
                    let settings = builder.config();
                    let found = settings.faults();
                    plan.changed.insert(Arc::clone(name), settings);
                    found
                }
                None => match builder.build() {
                    Ok(pipeline) => {
                        plan.added.push((Arc::clone(name), Entry { pipeline, by_hand: false }));
                        continue;
                    }
                    Err(error) => error.into_faults(),
                },
            };
            gather(&mut faults, &format!("pipelines.{name}"), found);
        }
        ConfigError::check("registry", faults)?;
        Ok(plan)
    }

    /// Changes all of it at once, if the table is still as it was `known`.
    #[inline]
    fn exchange(&self, known: &Table, plan: Plan) -> Option<RegistryChanges> {
        let mut pipelines = lock(&self.shared.pipelines);
        let same =
            pipelines.len() == known.len() && pipelines.iter().zip(known.iter()).all(|((a, x), (b, y))| a == b && x.by_hand == y.by_hand);
        if !same {
            return None;
        }
        let mut changes = RegistryChanges::default();
        for (name, entry) in known.iter().filter(|(_, entry)| !entry.by_hand) {
            match plan.changed.get(name) {
                None => {
                    pipelines.remove(name);
                    changes.removed.push(name.to_string());
                }
                Some(settings) => {
                    let changed = entry.pipeline.go_on_with(settings, &self.shared.monitor);
                    if !changed.is_empty() {
                        changes.changed.push((name.to_string(), changed));
                    }
                }
            }
        }
        changes.added = plan.added.iter().map(|(name, _)| name.to_string()).collect();
        plan.added.into_iter().for_each(|(name, entry)| pipelines.insert(name, entry));
        Some(changes)
    }
}

/// What a reload is going to do.
#[derive(Default)]
struct Plan {
    added: Vec<(Arc<str>, Entry)>,
    changed: Sorted<PipelineConfig>,
}

#[inline]
fn taken(name: &str) -> Fault {
    Fault::new(format!("pipelines.{name}"), "there is a pipeline of this name already; choose another")
}

impl fmt::Debug for Registry {
    #[inline]
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Registry").field(&self.pipelines()).finish()
    }
}

/// There is no pipeline of this name. `Display` says which there are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnknownPipeline {
    name: String,
    known: Vec<String>,
}

impl UnknownPipeline {
    /// The name that was asked for.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The names there are, in the order of the alphabet.
    #[must_use]
    pub fn known(&self) -> &[String] {
        &self.known
    }
}

impl fmt::Display for UnknownPipeline {
    #[inline]
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let known: Vec<&str> = self.known.iter().map(String::as_str).collect();
        write!(f, "there is no pipeline {}; {}", super::config::text::quoted(&self.name), suggest(&self.name, &known))
    }
}

impl std::error::Error for UnknownPipeline {}

/// What a [`Registry::reload`] changed. `Display` prints a line for each.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RegistryChanges {
    added: Vec<String>,
    removed: Vec<String>,
    changed: Vec<(String, Changes)>,
}

impl RegistryChanges {
    /// The pipelines that are new.
    #[must_use]
    pub fn added(&self) -> &[String] {
        &self.added
    }

    /// The pipelines that are gone.
    #[must_use]
    pub fn removed(&self) -> &[String] {
        &self.removed
    }

    /// The pipelines that go on with other settings.
    pub fn changed(&self) -> impl Iterator<Item = (&str, &Changes)> {
        self.changed.iter().map(|(name, changes)| (name.as_str(), changes))
    }

    /// Whether nothing is different.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.added.is_empty() && self.removed.is_empty() && self.changed.is_empty()
    }
}

impl fmt::Display for RegistryChanges {
    #[inline]
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_empty() {
            return f.write_str("nothing changed");
        }
        let mut lines: Vec<String> = self.added.iter().map(|name| format!("{name}: new")).collect();
        lines.extend(self.removed.iter().map(|name| format!("{name}: gone")));
        for (name, changes) in &self.changed {
            lines.extend(changes.to_string().lines().map(|line| format!("{name}: {line}")));
        }
        f.write_str(&lines.join("\n"))
    }
}
