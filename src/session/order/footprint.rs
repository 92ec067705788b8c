//! Footprints: which keys the commands of a request touch, so that they keep their order.

use crate::limits::KEY_BYTES_MAX;
use crate::session::execute::namespace::invalidated_by;
use crate::session::order::Origin;
use crate::session::serial::First;
use cache::shard::Shards;
use protocol::batch::Frame;
use protocol::meta::Kind;
use protocol::request::{Command, Commands};
use protocol::{Dialect, batch};

/// The entries of a request in the filter of what is under way.
#[derive(Debug, Default)]
pub struct Footprint {
    /// Whose request it is.
    pub(crate) origin: Origin,
    keys: Vec<u16>,
    is_wide: bool,
    commands: usize,
    has_store: bool,
}

/// What a command touches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Touch<'k> {
    /// A key, which it only reads.
    Read(&'k [u8]),
    /// A key.
    Write(&'k [u8]),
    /// All keys, or all of a namespace.
    All,
    /// Nothing; alone in a datagram it says that all that its client sent before is done.
    Fence,
}

impl Footprint {
    /// An empty one with room for so many keys; a request with more has all keys of its client.
    pub(crate) fn with_capacity(keys: usize) -> Footprint {
        Footprint { keys: Vec::with_capacity(keys), ..Footprint::default() }
    }

    /// Begins again, for a request of `origin`.
    pub(crate) fn begin(&mut self, origin: Origin) {
        self.keys.clear();
        (self.origin, self.is_wide, self.commands, self.has_store) = (origin, false, 0, false);
    }

    /// Notes the hash of a key; `None` for all keys.
    pub(crate) fn note(&mut self, hash: Option<u64>) {
        match hash {
            Some(hash) if self.keys.len() < self.keys.capacity() => self.keys.push(self.origin.key(hash)),
            _ => self.is_wide = true,
        }
    }

    /// Becomes a copy of `other`, as far as there is room.
    pub(crate) fn copy_from(&mut self, other: &Footprint) {
        self.keys.clear();
        let has_room = other.keys.len() <= self.keys.capacity();
        self.keys.extend_from_slice(if has_room { &other.keys } else { &[] });
        (self.origin, self.is_wide) = (other.origin, other.is_wide || !has_room);
        (self.commands, self.has_store) = (other.commands, other.has_store);
    }

    /// Finds out what the commands of `body` touch.
    /// Of a text that begins with `first` this was read before.
    pub(crate) fn trace(
        &mut self,
        shards: &Shards,
        dialect: Dialect,
        body: &[u8],
        first: Option<&First<'_>>,
        value_bytes_max: usize,
    ) {
        let (mut seen, mut is_fence) = (Seen::default(), false);
        each_touch(shards, dialect, (body, first), value_bytes_max, &mut seen, |touch| match touch {
            Touch::Read(key) | Touch::Write(key) => self.note(Some(shards.hash(key))),
            Touch::All => self.note(None),
            Touch::Fence => is_fence = true,
        });
        (self.commands, self.has_store) = (seen.commands, seen.has_store);
        self.is_wide |= is_fence && self.keys.is_empty();
    }

    /// The entries of its keys.
    #[inline]
    pub(crate) fn keys(&self) -> &[u16] {
        &self.keys
    }

    /// Whether it may touch any key of its client.
    #[inline]
    pub(crate) fn is_wide(&self) -> bool {
        self.is_wide
    }

    /// Whether a command of it is no read, and may be refused when buffers are short.
    #[inline]
    pub(crate) fn has_store(&self) -> bool {
        self.has_store
    }

    /// The entry of its only key, if it is one command with one key.
    pub(crate) fn lone_key(&self) -> Option<u16> {
        match self.keys[..] {
            [key] if !self.is_wide && self.commands <= 1 => Some(key),
            _ => None,
        }
    }
}

/// What commands a request has.
#[derive(Default)]
struct Seen {
    commands: usize,
    has_store: bool,
}

impl Seen {
    fn note(&mut self, is_store: bool) {
        (self.commands, self.has_store) = (self.commands + 1, self.has_store | is_store);
    }
}

/// Whether a command changes more than the time to live of what it reads. Of commands that cannot be read none does.
fn is_store(command: &Command<'_>) -> bool {
    match command {
        Command::Meta(meta) => matches!(meta.kind, Kind::Set | Kind::Delete | Kind::Arithmetic),
        Command::Get(_)
        | Command::Version
        | Command::Verbosity { .. }
        | Command::MemoryLimit { .. }
        | Command::Stats { .. }
        | Command::Quit
        | Command::ClusterConfig
        | Command::MetaDump
        | Command::Shutdown { .. } => false,
        Command::Store(_)
        | Command::TooLarge(_)
        | Command::Delete { .. }
        | Command::Arithmetic { .. }
        | Command::Touch { .. }
        | Command::FlushAll { .. } => true,
    }
}

/// Calls `note` with what each command of a request touches, and says what commands there are.
fn each_touch(
    shards: &Shards,
    dialect: Dialect,
    (body, first): (&[u8], Option<&First<'_>>),
    value_bytes_max: usize,
    seen: &mut Seen,
    mut note: impl FnMut(Touch<'_>),
) {
    match dialect {
        Dialect::Text | Dialect::Stream => {
            let behind = first.map_or(0, |&First { store, behind }| {
                seen.note(true);
                touches(shards, &Command::Store(store), &mut note);
                behind
            });
            for command in Commands::resume(body, behind, value_bytes_max).of(dialect) {
                seen.note(command.as_ref().is_ok_and(is_store));
                command.iter().for_each(|command| touches(shards, command, &mut note));
            }
        }
        Dialect::Batch { .. } => {
            let frame = Frame::open(body);
            for operation in frame.iter().flat_map(|frame| frame.operations(body)).flatten() {
                seen.note(!operation.yields_value());
                note(touch_of(&operation));
            }
        }
    }
}

/// What an operation touches.
#[inline]
pub(crate) fn touch_of<'k>(operation: &batch::Operation<'k>) -> Touch<'k> {
    let key = operation.key.bytes();
    if operation.code == batch::Code::Get { Touch::Read(key) } else { Touch::Write(key) }
}

/// Calls `note` with what a command touches.
#[inline]
pub(crate) fn touches(shards: &Shards, command: &Command<'_>, mut note: impl FnMut(Touch<'_>)) {
    if invalidated_by(command, shards).is_some() {
        return note(Touch::All);
    }
    match command {
        Command::Get(get) if get.touch.is_none() => get.keys().for_each(|key| note(Touch::Read(key.bytes()))),
        Command::Get(get) => get.keys().for_each(|key| note(Touch::Write(key.bytes()))),
        Command::Store(store) => note(Touch::Write(store.key.bytes())),
        Command::TooLarge(store) => {
            if let Ok(key) = store.key(&mut [0; KEY_BYTES_MAX + 2]) {
                note(Touch::Write(key.bytes()));
            }
        }
        Command::Delete { key, .. } | Command::Arithmetic { key, .. } | Command::Touch { key, .. } => {
            note(Touch::Write(key.bytes()));
        }
        Command::Meta(meta) if meta.kind == Kind::Noop => note(Touch::Fence),
        Command::Meta(meta) => {
            let mut buffer = [0; KEY_BYTES_MAX + 2];
            match meta.key(&mut buffer) {
                Ok(key) if meta.is_plain_read() => note(Touch::Read(key.bytes())),
                Ok(key) => note(Touch::Write(key.bytes())),
                Err(_) => {}
            }
        }
        Command::FlushAll { .. } => note(Touch::All),
        Command::Version
        | Command::Verbosity { .. }
        | Command::MemoryLimit { .. }
        | Command::Stats { .. }
        | Command::Quit
        | Command::ClusterConfig
        | Command::MetaDump
        | Command::Shutdown { .. } => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use cache::{Built, Cache};

    fn traced(body: &[u8]) -> Footprint {
        trace(body, None)
    }

    fn trace(body: &[u8], first: Option<&First<'_>>) -> Footprint {
        let cache =
            Cache::builder().memory_bytes(4 << 20).index_lines(1024).seed(1).namespace_separator(Some(b':'));
        let Built { cache, .. } = cache.build();
        let mut footprint = Footprint::with_capacity(3);
        footprint.begin(Origin::default());
        footprint.trace(cache.shards(), Dialect::Text, body, first, 1 << 20);
        footprint
    }

    #[test]
    fn a_store_that_was_read_before_is_not_read_again() {
        let set = b"set a 0 0 1\r\nx\r\n";
        let mut commands = Commands::new(set, 1);
        let Some(Ok(Command::Store(store))) = commands.next() else { panic!("a store") };
        let first = First { store, behind: commands.at() };
        // Where the store stood is nothing that anybody could read.
        let (unreadable, get) = (vec![b'!'; set.len()], &b"get b\r\n"[..]);
        let lone = trace(&unreadable, Some(&first));
        assert_eq!(lone.lone_key(), traced(set).lone_key());
        assert!(lone.has_store() && lone.lone_key().is_some());
        let both = trace(&[&unreadable[..], get].concat(), Some(&first));
        assert_eq!(both.keys(), traced(&[&set[..], get].concat()).keys());
    }

    #[test]
    fn every_command_leaves_its_keys() {
        let one: [&[u8]; 11] = [
            b"get a\r\n",
            b"gat 0 a\r\n",
            b"set a 0 0 1\r\nx\r\n",
            b"delete a noreply\r\n",
            b"incr a 1\r\n",
            b"touch a 1\r\n",
            b"mg a v\r\n",
            b"mg YQ== b v N30\r\n",
            b"md a\r\n",
            b"ma a\r\n",
            b"me a\r\n",
        ];
        let lone = traced(one[0]).lone_key().unwrap();
        for body in one {
            assert_eq!(traced(body).lone_key(), Some(lone), "{}", body.escape_ascii());
        }
        for body in [&b"version\r\n"[..], b"stats\r\n", b"nonsense\r\n", b"quit\r\n"] {
            let footprint = traced(body);
            assert!(footprint.keys().is_empty() && !footprint.is_wide(), "{}", body.escape_ascii());
        }
        for body in [&b"flush_all\r\n"[..], b"delete a:\r\n", b"md a: q\r\n", b"mn\r\n", b"get a b c d\r\n"] {
            assert!(traced(body).is_wide(), "{}", body.escape_ascii());
        }
        for body in [&b"get a b\r\n"[..], b"get a\r\nmn\r\n", b"get a\r\nget a\r\n"] {
            assert!(traced(body).lone_key().is_none() && !traced(body).is_wide(), "{}", body.escape_ascii());
        }
    }
}
