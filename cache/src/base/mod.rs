//! What everything else stands on: atomics, time, hashes, references to items, counters.

pub mod clock;
pub mod counter;
pub mod hash;
pub mod huge;
pub mod item_ref;
pub mod prefetch;
pub mod random;
pub mod sample_gaps;
pub mod sync;
pub mod zipf;
