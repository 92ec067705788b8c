//! Where a request stands, so that it can go on there without reading again what is done.

use protocol::request::{Expiry, Get};
use protocol::token::Tokens;
use std::ops::Range;

/// Where in a request. All bytes are counted from the start of the body.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Position {
    /// Byte where the command or operation begins.
    pub at: usize,
    /// Shards that are done, of a command for all of them; in a batch frame, operations before this one.
    pub part: usize,
    /// The keys that are left, of a classic read that has begun.
    pub keys: Option<KeysLeft>,
    /// Bytes of the reply when the command began.
    pub reply_bytes: usize,
}

/// A classic read that has begun: what its line says, and which keys are left. To go on takes no search of the line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KeysLeft {
    /// Where the keys that are left begin, and where the line ends.
    from: usize,
    to: usize,
    /// Where the next command begins.
    pub behind: usize,
    with_cas: bool,
    touch: Option<Expiry>,
    is_open: bool,
}

impl KeysLeft {
    /// The keys that are left of `get`, which was read from `body`; the next command begins at `behind`.
    pub fn of(get: &Get<'_>, body: &[u8], behind: usize) -> KeysLeft {
        let rest = get.keys.rest();
        // The rest of a line lies in its body: both addresses are of the same bytes.
        let from = rest.as_ptr() as usize - body.as_ptr() as usize;
        let Get { with_cas, touch, is_open, .. } = *get;
        KeysLeft { from, to: from + rest.len(), behind, with_cas, touch, is_open }
    }

    /// The keys in `range` of a body, of a read like `get`, whose line has not ended if that is open.
    pub fn in_range(range: Range<usize>, behind: usize, get: &Get<'_>) -> KeysLeft {
        let Get { with_cas, touch, is_open, .. } = *get;
        KeysLeft { from: range.start, to: range.end, behind, with_cas, touch, is_open }
    }

    /// The first of these keys alone, and the others; `None` if there is none.
    pub fn split_first(&self, body: &[u8]) -> Option<(KeysLeft, KeysLeft)> {
        let (_, rest) = self.get(body).split_first()?;
        let rest = KeysLeft::of(&rest, body, self.behind);
        Some((KeysLeft { to: rest.from, is_open: true, ..*self }, rest))
    }

    /// The same keys in a body without its first `bytes`, behind which nothing follows.
    pub fn moved_up(&self, bytes: usize) -> KeysLeft {
        KeysLeft { from: self.from - bytes, to: self.to - bytes, behind: self.to - bytes, ..*self }
    }

    /// Where they are.
    pub fn range(&self) -> Range<usize> {
        self.from..self.to
    }

    /// The read of these keys.
    pub fn get<'a>(&self, body: &'a [u8]) -> Get<'a> {
        let keys = Tokens::new(&body[self.from..self.to]);
        Get { keys, with_cas: self.with_cas, touch: self.touch, is_open: self.is_open }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use protocol::request::{Command, Commands, Key};

    #[test]
    fn a_read_goes_on_at_any_key() {
        let body = b"version\r\ngats 5  a bb  ccc \r\nversion\r\n";
        let mut commands = Commands::new(body, 9);
        commands.next();
        let Some(Ok(Command::Get(whole))) = commands.next() else { panic!() };
        let (mut get, mut seen) = (whole, Vec::new());
        loop {
            let left = KeysLeft::of(&get, body, commands.at());
            assert_eq!(left.behind, body.len() - 9);
            let again = left.get(body);
            assert!(again.with_cas && again.touch == Some(Expiry::InMs(5_000)));
            let want: Vec<_> = get.keys().map(Key::bytes).collect();
            assert_eq!(again.keys().map(Key::bytes).collect::<Vec<_>>(), want);
            let Some((key, rest)) = again.split_first() else { break };
            seen.push(key.bytes());
            get = rest;
        }
        assert_eq!(seen, [&b"a"[..], b"bb", b"ccc"]);
    }
}
