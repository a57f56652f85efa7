//! Where a policy without a seed of its own gets one: nowhere (the system's chance), or from the simulation in which it is built.

/// The seed for the next policy that is built in a simulation; `None` outside of one.
#[cfg(not(feature = "testing"))]
pub(crate) const fn simulated() -> Option<u64> {
    None
}

#[cfg(feature = "testing")]
pub(crate) use inside::{Inside, simulated};

#[cfg(feature = "testing")]
mod inside {
    use std::cell::Cell;

    thread_local!(static NEXT: Cell<Option<u64>> = const { Cell::new(None) });

    /// The seed for the next policy that is built in a simulation; `None` outside of one.
    pub(crate) fn simulated() -> Option<u64> {
        let seed = NEXT.try_with(Cell::get).ok().flatten()?;
        // Policies stir their seeds, so neighbours will do.
        let _ = NEXT.try_with(|next| next.set(Some(seed.wrapping_add(1))));
        Some(seed)
    }

    /// While this lives, what is built on this thread is seeded.
    #[derive(Debug)]
    pub(crate) struct Inside {
        before: Option<u64>,
    }

    impl Inside {
        pub(crate) fn simulation(seed: u64) -> Self {
            Self { before: NEXT.with(|next| next.replace(Some(seed))) }
        }
    }

    impl Drop for Inside {
        fn drop(&mut self) {
            let _ = NEXT.try_with(|next| next.set(self.before));
        }
    }
}
