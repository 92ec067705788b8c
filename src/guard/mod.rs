//! What strangers may do: who is answered at all, who has to prove its address first, and how many errors a source may cause.
//!
//! UDP source addresses can be forged, so all of this concerns datagrams only.

pub mod acl;
pub mod cookie;
pub mod error_budget;
pub mod replay;

pub use acl::{Access, Cidr, Right};
pub use cookie::Secret;
