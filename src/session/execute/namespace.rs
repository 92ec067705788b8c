//! Which commands are about a whole namespace.

use crate::limits::KEY_BYTES_MAX;
use cache::shard::{Namespace, Shards};
use protocol::meta::Kind;
use protocol::request::Command;

/// The namespace that a command invalidates, in all shards: a delete of its name. An `md` that looks at the cas number or
/// leaves something behind (`C I x`) is about the one item with that key, as ever.
#[inline]
pub fn invalidated_by(command: &Command<'_>, shards: &Shards) -> Option<Namespace> {
    match command {
        Command::Delete { key, .. } => shards.namespace_named(key.bytes()),
        Command::Meta(meta) if meta.kind == Kind::Delete && !b"CIx".iter().any(|&flag| meta.has(flag)) => {
            shards.namespace_named(meta.key(&mut [0; KEY_BYTES_MAX + 2]).ok()?.bytes())
        }
        _ => None,
    }
}
