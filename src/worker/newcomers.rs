//! Connections that begin: who may, and what happens where as many are open as may be.
//!
//! A client that closes a connection and opens another one at once has done it in this order, and so have we to see it: the end may be with
//! another worker, or a tick behind. So a newcomer without a place waits for some milliseconds before it is refused, as far as few do.

use crate::guard::Right;
use crate::limits::{NEWCOMER_TICKS, NEWCOMER_WAIT_MS, NEWCOMERS_WAITING_MAX};
use crate::net::{ConnectionId, Outbox, PeerAddr, Port, StreamPeer};
use crate::session::Session;
use crate::session::stream::Conversation;
use crate::worker::conversations::Conversations;
use cache::base::clock::Now;
use std::collections::VecDeque;
use std::io;
use std::time::Duration;

/// Those that wait for a place, the first one first.
#[derive(Debug, Default)]
pub(super) struct Newcomers {
    waiting: VecDeque<Newcomer>,
}

#[derive(Debug)]
struct Newcomer {
    conversation: Conversation,
    peer: StreamPeer,
    /// When it is refused, in ns since the server epoch, and the ticks that pass before in any case: a worker that was held up sees the end of a
    /// connection late, too.
    until_ns: u64,
    ticks_left: u32,
}

impl Newcomers {
    /// One that broke waits no longer; says whether it did. A port tells of it once.
    pub(super) fn leaves(&mut self, id: ConnectionId) -> bool {
        let count = self.waiting.len();
        self.waiting.retain(|newcomer| newcomer.conversation.id != id);
        self.waiting.len() < count
    }

    /// How long the worker may sleep: nobody tells it of a place.
    pub(super) fn rest(&self) -> Duration {
        if self.waiting.is_empty() { Duration::MAX } else { Duration::from_millis(1) }
    }
}

impl Conversations {
    /// A connection was accepted.
    pub(super) fn open<P: Port>(
        &mut self,
        id: ConnectionId,
        peer: StreamPeer,
        port: &mut P,
        session: &mut Session,
        outbox: &mut Outbox,
        now: Now,
    ) -> io::Result<()> {
        let (addr, rights) = match peer {
            StreamPeer::Inet(addr) => (addr, session.executor().right_of(&addr)),
            StreamPeer::Unix => (PeerAddr::NOBODY, Right::Admin),
        };
        let counters = session.executor().counters();
        // A cookie proves an address, and that is what a connection has done; whoever is not allowed is not.
        if rights < Right::Data {
            counters.refused_peers.add(1);
            return port.close(id);
        }
        if self.ending.has_begun() {
            return port.close(id);
        }
        counters.total_connections.add(1);
        let conversation = Conversation::new(id, addr, rights, now.s());
        if self.setup.quota.take() {
            self.admit(conversation, peer, port, session);
        } else if self.newcomers.waiting.len() < NEWCOMERS_WAITING_MAX {
            let until_ns = now.ns + NEWCOMER_WAIT_MS * 1_000_000;
            self.newcomers.waiting.push_back(Newcomer {
                conversation,
                peer,
                until_ns,
                ticks_left: NEWCOMER_TICKS,
            });
        } else {
            self.refuse(conversation, session, outbox);
        }
        Ok(())
    }

    /// Newcomers that wait get places that are free now; those that have waited for long enough are refused.
    pub(super) fn settle_newcomers<P: Port>(
        &mut self,
        port: &mut P,
        session: &mut Session,
        outbox: &mut Outbox,
        now: Now,
    ) {
        let waiting = &mut self.newcomers.waiting;
        waiting.iter_mut().for_each(|newcomer| newcomer.ticks_left = newcomer.ticks_left.saturating_sub(1));
        while let Some(newcomer) = self.newcomers.waiting.pop_front() {
            if self.setup.quota.take() {
                self.admit(newcomer.conversation, newcomer.peer, port, session);
            } else if now.ns >= newcomer.until_ns && newcomer.ticks_left == 0 {
                self.refuse(newcomer.conversation, session, outbox);
            } else {
                return self.newcomers.waiting.push_front(newcomer);
            }
        }
    }

    /// The server ends: nobody gets a place any more.
    pub(super) fn turn_newcomers_away<P: Port>(&mut self, port: &mut P) -> io::Result<()> {
        self.newcomers.waiting.drain(..).try_for_each(|newcomer| port.close(newcomer.conversation.id))
    }

    /// A connection has its place.
    fn admit<P: Port>(
        &mut self,
        mut conversation: Conversation,
        peer: StreamPeer,
        port: &mut P,
        session: &Session,
    ) {
        let id = conversation.id;
        session.executor().counters().curr_connections.add(1);
        self.setup.roster.open(id, peer, conversation.active_s);
        conversation.is_counted = true;
        self.table.put(id, conversation);
        self.receives_again(port, id);
    }

    fn refuse(&mut self, conversation: Conversation, session: &Session, outbox: &mut Outbox) {
        let id = conversation.id;
        session.executor().counters().rejected_connections.add(1);
        self.table.put(id, conversation);
        outbox.streams.send(id, b"ERROR Too many open connections\r\n");
        self.close_when_sent(id);
    }
}
