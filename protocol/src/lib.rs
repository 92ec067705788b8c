//! The memcached protocol over UDP: bytes → [`Command`], and replies → bytes. Knows no table, no memory, no sockets.
//!
//! ```text
//! datagram ─frame▶ request id + body ─text/meta▶ Command<'a>,   borrowing the datagram
//!                                    ─batch────▶ Operation<'a>, the same
//! Reply ◀─ lines and values, or results ─datagrams▶ datagrams of 1400 bytes with one sequence space
//! ```
//! Reference: memcached's `doc/protocol.txt`; our differences and additions are in `docs/protocol.md`.

pub mod batch;
pub mod binary;
pub mod datagrams;
pub mod error;
pub mod frame;
pub mod limits;
pub mod meta;
mod plain;
pub mod reply;
pub mod request;
pub mod steer;
pub mod text;
pub mod token;
pub mod too_large;

pub use error::Error;
pub use frame::Dialect;
pub use reply::Reply;
pub use request::{Command, Commands, Key, Parsed};
