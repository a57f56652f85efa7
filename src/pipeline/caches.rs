//! The caches of functions: for each of them one, made at its first call, and never anybody else's.

use super::{Core, Pipeline};
use crate::outcome::{Rejected, RejectedKind};
use crate::substitution::{Cache, Caching};
use crate::sync::{Mutex, lock};
use std::any::Any;
use std::fmt;
use std::ptr;
use std::sync::OnceLock;
use std::time::Duration;

/// Whose answers they are.
#[derive(Clone, Copy)]
pub(crate) struct Caller {
    /// The address of what each function has one of.
    pub(crate) site: usize,
    /// The type of its operation, by name: the instances of a generic function differ in it. A `TypeId` would be exact, and is only to be had of what
    /// borrows nothing; of types with one and the same path, as of two versions of a crate, the names are the same.
    pub(crate) instance: &'static str,
    /// What people know it by.
    pub(crate) name: &'static str,
}

impl Caller {
    #[inline]
    fn is(&self, other: &Self) -> bool {
        self.site == other.site && (ptr::eq(self.instance, other.instance) || self.instance == other.instance)
    }
}

type Held = dyn Any + Send + Sync;
/// Lets a cache go on with other settings.
type GoOn = fn(&Held, Option<&Caching>);

/// Caches by function and type of answer. There are as many as the program has functions, so they stay until the whole is dropped, and are borrowed until
/// then: to find one is to follow a few pointers, without a lock.
pub(crate) struct Caches {
    first: OnceLock<Box<Node>>,
    /// Held by whoever adds one.
    adding: Mutex<()>,
}

struct Node {
    caller: Caller,
    cache: Box<Held>,
    go_on: GoOn,
    next: OnceLock<Box<Node>>,
}

impl Caches {
    pub(crate) const fn new() -> Self {
        Self { first: OnceLock::new(), adding: Mutex::new(()) }
    }

    /// The cache of this type.
    #[inline]
    pub(crate) fn get<C: Any>(&self, caller: &Caller) -> Option<&C> {
        self.each().filter(|node| node.caller.is(caller)).find_map(|node| node.cache.downcast_ref())
    }

    /// The cache that is there then: this one, unless somebody else was faster.
    pub(crate) fn add<C: Any + Send + Sync>(&self, caller: Caller, cache: C, go_on: GoOn) -> Option<&C> {
        let node = Box::new(Node { caller, cache: Box::new(cache), go_on, next: OnceLock::new() });
        self.add_node(node, <dyn Any>::is::<C>).cache.downcast_ref()
    }

    fn add_node(&self, node: Box<Node>, is: fn(&dyn Any) -> bool) -> &Node {
        let mut place = &self.first;
        let _adding = lock(&self.adding);
        while let Some(there) = place.get() {
            if there.caller.is(&node.caller) && is(&*there.cache) {
                return there;
            }
            place = &there.next;
        }
        place.get_or_init(|| node)
    }

    #[inline]
    fn each(&self) -> impl Iterator<Item = &Node> {
        std::iter::successors(self.first.get(), |node| node.next.get()).map(|node| &**node)
    }

    /// All of them go on as `caching` says. Drops what no longer fits, so it is not for a place under a lock.
    fn go_on(&self, caching: Option<&Caching>) {
        // Who adds one reads the settings after that, and so those that hold now or later ones.
        drop(lock(&self.adding));
        self.each().for_each(|node| (node.go_on)(&*node.cache, caching));
    }
}

impl fmt::Debug for Caches {
    #[inline]
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.each().map(|node| node.caller.name)).finish()
    }
}

impl Pipeline {
    /// The cache of this function here.
    #[inline]
    pub(crate) fn kept<T: Clone + Send + Sync + 'static>(&self, caller: &Caller) -> Result<&Cache<String, T>, Rejected> {
        let core = self.core();
        let kept = core.caching.as_ref().and_then(|caching| core.caches.get(caller).or_else(|| self.keep(core, caching, caller)));
        kept.ok_or_else(|| core.keeps_nothing(caller))
    }

    #[cold]
    fn keep<'a, T: Clone + Send + Sync + 'static>(
        &'a self,
        core: &'a Core,
        caching: &Caching,
        caller: &Caller,
    ) -> Option<&'a Cache<String, T>> {
        fn of<T: 'static>(held: &Held) -> Option<&Cache<String, T>> {
            held.downcast_ref()
        }
        let go_on: GoOn = |held, caching| of::<T>(held).into_iter().for_each(|cache| cache.go_on(caching));
        let cache = core.caches.add(*caller, caching.build(&core.name), go_on)?;
        self.follow(core, |caching| cache.go_on(caching));
        Some(cache)
    }

    /// The caches go on with the settings that hold now. Drops what no longer fits, so it is not for a place under a lock.
    pub(super) fn tell_caches(&self) {
        let core = self.core();
        let go_on = |caching: Option<&Caching>| core.caches.go_on(caching);
        go_on(core.caching.as_ref());
        self.follow(core, go_on);
    }

    /// Who has passed on the settings of `known` passes on later ones, too: the last of many who do so at once has those that hold.
    fn follow<'a>(&'a self, mut known: &'a Core, go_on: impl Fn(Option<&Caching>)) {
        loop {
            let core = self.core();
            if core.caching == known.caching {
                return;
            }
            go_on(core.caching.as_ref());
            known = core;
        }
    }
}

impl Core {
    #[cold]
    fn keeps_nothing(&self, caller: &Caller) -> Rejected {
        let (function, name) = (caller.name, &self.name);
        let cure = format!(
            "`{function}` is `cached`, and the pipeline does not say how: give it `.caching(Caching::new(10_000).ttl(..))`, or its file \
             `[pipelines.{name}.cache]`, or write `cache(ttl = ..)` on the function"
        );
        Rejected::new(RejectedKind::Custom("no cache settings")).in_call(&self.origin, 0, Duration::ZERO, Some(cure))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn caller(site: usize, instance: &'static str) -> Caller {
        Caller { site, instance, name: "f" }
    }

    #[test]
    fn h112_each_has_its_own_and_finds_it_again() {
        let caches = Caches::new();
        let add = |caller: Caller, n: u32| caches.add(caller, n, |_, _| {}).copied();
        assert_eq!(caches.get::<u32>(&caller(1, "a")), None);
        assert_eq!([add(caller(1, "a"), 1), add(caller(2, "a"), 2), add(caller(1, "b"), 3)], [Some(1), Some(2), Some(3)]);
        assert_eq!(caches.add(caller(1, "a"), 'x', |_, _| {}).copied(), Some('x'), "another type");
        assert_eq!([add(caller(1, "a"), 4), add(caller(1, "b"), 5)], [Some(1), Some(3)], "who is late has what is there");
        let instance: &'static str = String::from("a").leak();
        assert_eq!(
            (caches.get(&caller(2, instance)), caches.get(&caller(1, instance))),
            (Some(&2_u32), Some(&'x')),
            "by its name, wherever it is"
        );
        assert_eq!(caches.get::<u32>(&caller(3, "a")), None);
        assert_eq!(format!("{caches:?}"), r#"["f", "f", "f", "f"]"#);
    }

    #[test]
    fn a_cache_that_is_made_while_settings_change_has_those_that_hold() -> Result<(), crate::ConfigError> {
        let pipeline = Pipeline::builder("p").caching(Caching::new(10)).build()?;
        let most = |cache: Option<&Cache<String, u8>>| cache.and_then(|cache| cache.stats().max_entries);
        // Somebody looked at the settings of then, and goes on when others hold.
        let then = pipeline.core();
        pipeline.reconfigure(&pipeline.config().caching(Caching::new(20)))?;
        let late = then.caching.as_ref().and_then(|caching| pipeline.keep(then, caching, &caller(1, "a")));
        assert_eq!(most(late), Some(20));
        // Somebody who passed on the settings of then passes on those that hold.
        let passed_on = std::cell::RefCell::new(Vec::new());
        pipeline.follow(then, |caching| passed_on.borrow_mut().extend(caching.map(|caching| caching.capacity)));
        assert_eq!(passed_on.into_inner(), [20]);
        assert_eq!(most(pipeline.kept(&caller(1, "a")).ok()), Some(20));
        Ok(())
    }
}
