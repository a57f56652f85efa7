//! What goes around any store. Each wrapper is a store, so they stack; none knows what it is around.

mod fail_soft;
mod guarded;
mod namespace;
mod observed;

pub use fail_soft::FailSoft;
pub use guarded::Guarded;
pub use namespace::Namespace;
pub use observed::{Observed, StoreEvent, StoreObserver, StoreOperation};
