//! Places that several machines share: so many at once, or one, which is a lock.
mod memory;
mod traits;
pub use memory::MemorySemaphoreStore;
pub use traits::{AnySemaphoreStore, DynSemaphoreStore, Holder, SemaphoreStore, Taken};
