//! Limits that several machines share.

mod any;
mod calendar;
mod decision;
mod quota;
mod traits;

pub use any::{AnyRateStore, DynRateStore};
pub use calendar::Calendar;
pub use decision::{Decision, Source};
pub use quota::{Algorithm, Period, Quota, Terms};
pub use traits::{RateStore, Request};
