//! What the server counts and how it is shown.

pub mod counters;
pub mod histogram;
pub mod live;
pub mod times;
pub mod view;
pub mod whole_lines;
