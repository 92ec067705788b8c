//! What the server counts and how it is shown.

pub mod counters;
pub mod histogram;
pub mod view;
