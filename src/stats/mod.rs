//! What the server counts and how it is shown.

pub mod counters;
#[cfg(not(any(loom, shuttle)))]
pub mod histogram;
#[cfg(not(any(loom, shuttle)))]
pub mod live;
#[cfg(not(any(loom, shuttle)))]
pub mod times;
#[cfg(not(any(loom, shuttle)))]
pub mod view;
