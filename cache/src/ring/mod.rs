//! Single-producer single-consumer rings between threads (rtrb), as typed ends.
//!
//! ```text
//! worker ──Hit──▶ policy      lossy, counted           16 bytes a record
//! owner ──Event──▶ policy     never lost: a full ring marks the page, the owner sends it again   32 bytes
//! policy ─PolicyCommand─▶ owner   hints; a stale one is ignored and counted   16 bytes
//! worker ◀──pending request──▶ owner   a mesh of rings both ways: a suspended datagram travels to the owner and back
//! ```

pub mod end;
pub mod mesh;
#[cfg(any(loom, shuttle))]
mod model;
pub mod record;
pub mod sleep_flag;

pub use end::{Consumer, Full, Producer, ring};
pub use mesh::{MeshEnd, mesh};
pub use record::{ChunkUnits, Deadline, Event, Hit, PolicyCommand, Verdict};
pub use sleep_flag::SleepFlag;
