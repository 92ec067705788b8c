//! Memory: items in slab pages, owned by one worker each, read by all.

pub mod class;
pub mod grace;
pub mod item;
