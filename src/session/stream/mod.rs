//! Conversations: what a worker keeps of each connection, and how its commands are served.
//!
//! ```text
//! input        what was received and is not done; whole commands are parsed where they lie
//! turn         plain reads join the batch of the tick (`batch`), the others run one by one (`serve`)
//! under way    a command that another owner executes, or that waits for memory, travels as a pending request with what of its kind
//!              follows; the rest of the connection waits for it, so that replies keep the order of the commands
//! ```
//! A connection has at most one pending request. So nothing of it can be overtaken, and the order filter of datagrams has nothing
//! to do here.

pub(crate) mod dump;
pub(crate) mod input;
pub(crate) mod open_get;
pub(crate) mod serve;
pub(crate) mod value;

use crate::guard::{Admitted, Right};
use crate::net::{ConnectionId, PeerAddr, Port};
use crate::session::serial::Position;
use dump::Dump;
use input::{Input, Ready};
use open_get::{Keys, OpenGet};
use protocol::Dialect;
use value::Incoming;

/// One connection, as the session sees it.
#[derive(Debug)]
pub struct Conversation {
    /// Which.
    pub id: ConnectionId,
    /// Who is at the other end; nobody's address for a process of this machine.
    pub peer: PeerAddr,
    /// What it may do.
    pub rights: Right,
    pub(crate) input: Input,
    /// Where the next command begins in the window of the input, or what is left of a read that has begun.
    pub(crate) position: Position,
    /// A read whose line has no end yet, some of whose keys are done.
    pub(crate) open_get: Option<OpenGet>,
    /// A long value that is coming.
    pub(crate) value: Option<Box<Incoming>>,
    /// Whether that, or a long reply, waits for memory which others have: it asks again when it is told to.
    pub(crate) is_crowded: bool,
    /// Whether it receives only once a second, because too much is kept of connections.
    pub(crate) is_short: bool,
    /// A dump of all items that it is sent, before its next command.
    pub(crate) dump: Option<Box<Dump>>,
    /// Whether a pending request of it is under way.
    pub(crate) is_under_way: bool,
    /// Whether its peer has no room for what it was sent.
    pub(crate) is_stuck: bool,
    /// Whether it may receive.
    pub(crate) receives: bool,
    /// Whether the port was asked if it missed something since the last was received.
    pub(crate) is_probed: bool,
    /// Whether the peer sends no more.
    pub(crate) has_ended: bool,
    /// Whether it is closed when all that was written is sent.
    pub(crate) is_closing: bool,
    /// Whether it waits for its turn.
    pub(crate) is_queued: bool,
    /// Bytes of the reply with memory of its own that is under way; 0 = none.
    pub(crate) long_bytes: usize,
    /// Bytes of replies that the port kept when that was looked at last.
    pub(crate) unsent_bytes: usize,
    /// The same with those in the socket: how much its peer had not taken, and when it took some, in ns since the server epoch.
    pub(crate) untaken_bytes: usize,
    pub(crate) took_ns: u64,
    /// Whether it counts as one of the connections that the server may have.
    pub(crate) is_counted: bool,
    /// Turns that it had in the tick that began at this time.
    pub(crate) turns: u32,
    pub(crate) tick_ns: u64,
    /// When something was received of it last, in s since the server epoch.
    pub(crate) active_s: u64,
}

impl Conversation {
    /// A connection that was just opened.
    pub(crate) fn new(id: ConnectionId, peer: PeerAddr, rights: Right, now_s: u64) -> Conversation {
        Conversation {
            id,
            peer,
            rights,
            input: Input::default(),
            position: Position::default(),
            open_get: None,
            value: None,
            is_crowded: false,
            is_short: false,
            dump: None,
            is_under_way: false,
            is_stuck: false,
            receives: false,
            is_probed: true,
            has_ended: false,
            is_closing: false,
            is_queued: false,
            long_bytes: 0,
            unsent_bytes: 0,
            untaken_bytes: 0,
            took_ns: 0,
            is_counted: false,
            turns: 0,
            tick_ns: 0,
            active_s: now_s,
        }
    }

    /// Whether its next command may be begun.
    #[inline]
    pub(crate) fn may_go_on(&self) -> bool {
        !(self.is_under_way || self.is_stuck || self.is_crowded || self.is_closing)
    }

    /// Whether it waits for this server, and not for its peer: it is not idle meanwhile.
    pub(crate) fn waits_for_server(&self) -> bool {
        let is_paused = !self.receives && !self.is_stuck;
        self.is_under_way || self.is_crowded || is_paused || self.dump.is_some() && !self.is_stuck
    }

    /// Whether a part of a value has come, and the rest has not.
    pub(crate) fn owes_value(&self) -> bool {
        self.value.is_some() || self.input.is_in_value()
    }

    /// Its commands, as they were admitted when the connection was.
    #[inline]
    pub(crate) fn admitted<'a>(&'a self, body: &'a [u8]) -> Admitted<'a> {
        Admitted { peer: &self.peer, request_id: 0, dialect: Dialect::Stream, rights: self.rights, body }
    }

    /// What can be parsed next.
    #[inline]
    pub(crate) fn window<'a, P: Port>(&'a self, port: &'a P) -> &'a [u8] {
        let window = self.input.window(port);
        match self.open_get {
            Some(open) => &window[..open.end],
            None => window,
        }
    }

    /// Makes the window begin with a whole command, or with keys of a read that is longer than its buffer.
    #[inline]
    pub(crate) fn prepare<P: Port>(&mut self, port: &mut P, value_bytes_max: usize) -> Ready {
        if self.open_get.is_some() {
            return self.read_keys(port);
        }
        match self.input.prepare(port, value_bytes_max) {
            Ready::LongLine => self.begin_open_get(port),
            ready => ready,
        }
    }

    #[cold]
    fn begin_open_get<P: Port>(&mut self, port: &mut P) -> Ready {
        if self.open_read(port) { self.read_keys(port) } else { Ready::LongLine }
    }

    /// The window begins with a read that is longer than lines may be, whose keys are read as they come; says whether it does.
    #[cold]
    pub(crate) fn open_read<P: Port>(&mut self, port: &mut P) -> bool {
        let Some((open, start)) = OpenGet::of(self.input.window(port)) else { return false };
        self.open_get = Some(open);
        // Without its verb, which is no key where the first key has not come yet.
        self.input.advance(port, start);
        true
    }

    /// Finds keys of an open read, of which the window holds the rest.
    #[cold]
    fn read_keys<P: Port>(&mut self, port: &mut P) -> Ready {
        loop {
            let Some(open) = &mut self.open_get else { return Ready::NotYet };
            let window = self.input.window(port);
            let keys = match open.keys(window) {
                Keys::Wrong => return Ready::LongLine,
                Keys::NotYet => {
                    // Spaces are dropped as they come: a line may have any number of them.
                    let blank_bytes = window.iter().take_while(|&&byte| byte == b' ').count();
                    self.input.advance(port, blank_bytes);
                    if self.input.join_next(port) {
                        continue;
                    }
                    return Ready::NotYet;
                }
                Keys::Some(keys) => keys,
                Keys::Last(keys) => {
                    self.open_get = None;
                    keys
                }
            };
            self.position = Position { keys: Some(keys), ..Position::default() };
            return Ready::Yes;
        }
    }

    /// Everything before `position` of the window is done.
    pub(crate) fn goes_on_at<P: Port>(&mut self, port: &mut P, position: Position) {
        match position.keys {
            // A read goes on in the same window.
            Some(_) => self.position = Position { reply_bytes: 0, ..position },
            None => {
                if let Some(open) = &mut self.open_get {
                    // None of what comes next is known to be a key.
                    open.end = 0;
                }
                self.input.advance(port, position.at);
                self.position = Position { at: 0, part: position.part, ..Position::default() };
            }
        }
    }
}
