//! The end of a worker: no new connections, what was received is answered, and replies go as long as peers take them.
//!
//! ```text
//! stop ─▶ what the kernel has by now is received, of connections that wait to be accepted, too
//!      ─▶ the listener closes; of each connection nothing more is received
//!      ─▶ ticks: commands that are there are answered; a connection without any is closed when its peer has taken the replies
//!      ─▶ over when no worker has a connection left, or after a time
//! ```
//! Workers end together, because commands of a connection may belong to the shard of another worker.

use crate::limits::{DRAIN_LOOK_MS, DRAIN_QUIET_TICKS, DRAIN_TICKS_MAX};
use crate::net::{ConnectionId, Port};
use crate::session::Session;
use crate::worker::conversations::Conversations;
use crate::worker::{Poll, Worker};
use cache::base::clock::Now;
use std::io;
use std::time::Duration;

impl<P: Port> Worker<P> {
    /// Answers what has come in already, and sends it to those that take it. What datagrams are still on the wire is lost, as UDP may.
    pub(super) fn drain(mut self) -> io::Result<()> {
        self.take_what_has_come()?;
        self.begin_to_end()?;
        let mut ticks = 0;
        while self.tick()? && ticks < DRAIN_TICKS_MAX || !self.has_drained() {
            ticks += 1;
        }
        Ok(())
    }

    /// Ticks without waiting until nothing comes any more, a limited number.
    fn take_what_has_come(&mut self) -> io::Result<()> {
        let poll = std::mem::replace(&mut self.poll, Poll::Busy);
        let mut quiet_ticks = 0;
        for _ in 0..DRAIN_TICKS_MAX {
            quiet_ticks = if self.tick()? { 0 } else { quiet_ticks + 1 };
            if quiet_ticks == DRAIN_QUIET_TICKS {
                break;
            }
        }
        self.poll = poll;
        Ok(())
    }

    /// From now on nothing more is received of connections, and they are closed when their peers have the replies.
    ///
    /// # Errors
    /// As [`Worker::tick`].
    pub fn begin_to_end(&mut self) -> io::Result<()> {
        self.port.stop_listening();
        let now = self.clock.now();
        self.streams.begin_to_end(&mut self.port, now)
    }

    /// Whether the peers of all workers have what they get, or have had the time for it.
    pub fn has_drained(&self) -> bool {
        self.streams.has_drained(self.clock.now())
    }
}

/// How the end of a worker stands.
#[derive(Debug, Default)]
pub(super) struct Ending {
    /// When connections are given up, in ns since the server epoch; `None` while the server serves.
    until_ns: Option<u64>,
    /// Those that have all their replies, and whose peers have not taken them yet.
    parting: Vec<ConnectionId>,
}

impl Ending {
    pub(super) fn has_begun(&self) -> bool {
        self.until_ns.is_some()
    }

    /// How long the worker may sleep: nothing tells of what a peer takes, nor of other workers that are done.
    pub(super) fn rest(&self) -> Duration {
        if self.has_begun() { Duration::from_millis(DRAIN_LOOK_MS) } else { Duration::MAX }
    }
}

impl Conversations {
    fn begin_to_end<P: Port>(&mut self, port: &mut P, now: Now) -> io::Result<()> {
        self.ending.until_ns = Some(now.ns + self.setup.drain_ms * 1_000_000);
        self.turn_newcomers_away(port)?;
        let ids: Vec<ConnectionId> = self.table.ids().collect();
        for id in ids {
            self.stop_receiving(id, port)?;
            if let Some(conversation) = self.table.get_mut(id) {
                conversation.has_ended = true;
            }
            self.may_go_on(id);
        }
        Ok(())
    }

    /// Closes a connection that has been sent all its replies; at the end of the server only when its peer has taken them.
    pub(super) fn part<P: Port>(
        &mut self,
        id: ConnectionId,
        port: &mut P,
        session: &mut Session,
    ) -> io::Result<()> {
        if self.ending.has_begun() && port.untaken(id) > 0 {
            self.ending.parting.push(id);
            return Ok(());
        }
        self.close(id, port, session)
    }

    /// Looks again at those that have not taken their replies.
    pub(super) fn look_at_parting<P: Port>(&mut self, port: &mut P, session: &mut Session) -> io::Result<()> {
        for id in std::mem::take(&mut self.ending.parting) {
            self.part(id, port, session)?;
        }
        Ok(())
    }

    fn has_drained(&self, now: Now) -> bool {
        let is_late = self.ending.until_ns.is_none_or(|until_ns| now.ns >= until_ns);
        let is_empty = self.table.ids().next().is_none() && self.setup.handover.is_empty();
        is_late || is_empty && self.setup.quota.is_free()
    }
}
