//! Single-producer single-consumer rings between threads (rtrb), as typed ends.
//!
//! ```text
//! worker ──Hit──▶ policy      lossy, counted           16 bytes a record
//! owner ──Event──▶ policy     never lost: a full ring marks the page, the owner sends it again   32 bytes
//! policy ──Command──▶ owner   hints; a stale one is ignored and counted   16 bytes
//! worker ◀──parcel──▶ owner   a mesh of rings both ways: a suspended datagram travels to the owner and back
//! ```

pub mod doorbell;
pub mod end;
pub mod gaps;
pub mod mercy;
pub mod mesh;
#[cfg(any(loom, shuttle))]
mod model;
pub mod record;

pub use doorbell::Doorbell;
pub use end::{Consumer, Full, Producer, ring};
pub use mesh::{MeshEnd, mesh};
pub use record::{ChunkUnits, Command, Deadline, Event, Hit, Verdict};
