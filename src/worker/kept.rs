//! What is kept of connections outside of receive buffers is bounded. Whoever holds some and makes no progress gives it back first.
//!
//! ```text
//! kept > STREAM_KEPT_BYTES_MAX     some connections are looked at, in turn: those that have been still for longest are closed
//!                                  none has been still for long enough: the newcomer receives once a second meanwhile
//! kept > STREAM_KEPT_BYTES_BRIM    the newcomer is closed
//! ```

use crate::limits::{KEPT_LOOKS_MAX, KEPT_STILL_S, STREAM_KEPT_BYTES_BRIM, STREAM_KEPT_BYTES_MAX};
use crate::net::{ConnectionId, Outbox, Port};
use crate::session::Session;
use crate::session::stream::serve::GivenUp;
use crate::worker::conversations::Conversations;
use arrayvec::ArrayVec;
use cache::base::clock::Now;
use std::io;

/// Who wants more than may be kept.
#[derive(Debug, Default)]
pub(super) struct Kept {
    /// Connections of which more was kept than may be, since the last tick.
    newcomers: Vec<ConnectionId>,
    /// The place that is looked at next.
    cursor: usize,
}

impl Kept {
    /// Whether anybody waits for room in the next tick.
    pub(super) fn has_newcomers(&self) -> bool {
        !self.newcomers.is_empty()
    }
}

impl Conversations {
    /// A connection receives no more, for it may wait for long, for its peer to read or for memory: what it has sent is kept aside, so that
    /// its receive buffers are free for others.
    pub(super) fn keep_aside<P: Port>(&mut self, id: ConnectionId, port: &mut P) -> io::Result<()> {
        self.stop_receiving(id, port)?;
        let has_buffers = self.get(id).is_some_and(|conversation| conversation.input.buffers() > 0);
        self.change(id, |conversation| conversation.input.spill(port));
        if has_buffers {
            self.keeps_more(id);
        }
        Ok(())
    }

    /// More is kept of a connection.
    pub(super) fn keeps_more(&mut self, id: ConnectionId) {
        if self.kept_bytes > STREAM_KEPT_BYTES_MAX {
            self.kept.newcomers.push(id);
        }
    }

    /// Makes room for those of which more was kept than may be.
    pub(super) fn make_room<P: Port>(
        &mut self,
        port: &mut P,
        session: &mut Session,
        outbox: &mut Outbox,
        now: Now,
    ) -> io::Result<()> {
        if self.kept.newcomers.is_empty() {
            return Ok(());
        }
        for (_, id) in self.still_ones(now) {
            if self.kept_bytes <= STREAM_KEPT_BYTES_MAX {
                break;
            }
            session.executor().counters().streams_over_memory.add(1);
            self.close(id, port, session)?;
        }
        for id in std::mem::take(&mut self.kept.newcomers) {
            self.settle_newcomer(id, port, session, outbox)?;
        }
        Ok(())
    }

    /// Of some connections those that hold memory and have made no progress for some time, the longest first: since when, in s, and which.
    fn still_ones(&mut self, now: Now) -> ArrayVec<(u64, ConnectionId), KEPT_LOOKS_MAX> {
        let mut still = ArrayVec::new();
        let places = self.table.places();
        for _ in 0..KEPT_LOOKS_MAX.min(places) {
            self.kept.cursor = (self.kept.cursor + 1) % places;
            let Some((id, conversation)) = self.table.at(self.kept.cursor) else { continue };
            let is_still = now.s().saturating_sub(conversation.active_s) >= KEPT_STILL_S;
            if is_still && conversation.input.carried() > 0 && !conversation.waits_for_server() {
                still.push((conversation.active_s, id));
            }
        }
        still.sort_unstable_by_key(|&(active_s, _)| active_s);
        still
    }

    /// A newcomer goes on, waits or is closed.
    fn settle_newcomer<P: Port>(
        &mut self,
        id: ConnectionId,
        port: &mut P,
        session: &mut Session,
        outbox: &mut Outbox,
    ) -> io::Result<()> {
        let Some(conversation) = self.table.get_mut(id) else { return Ok(()) };
        if self.kept_bytes <= STREAM_KEPT_BYTES_MAX || conversation.is_closing {
            return Ok(());
        }
        match (conversation.may_go_on(), self.kept_bytes > STREAM_KEPT_BYTES_BRIM) {
            (true, false) => {
                conversation.is_short = true;
                self.stop_receiving(id, port)
            }
            (true, true) => {
                session.give_up_stream(id, GivenUp::Memory, outbox);
                self.close_when_sent(id);
                Ok(())
            }
            // Its peer does not read, or it waits for memory: it is not told.
            (false, true) => {
                session.executor().counters().streams_over_memory.add(1);
                self.close(id, port, session)
            }
            (false, false) => Ok(()),
        }
    }

    /// A connection waits for this server, so it is not idle. One that waits for room for its input receives a little.
    pub(super) fn still_waits<P: Port>(&mut self, id: ConnectionId, port: &mut P, now: Now) {
        let Some(conversation) = self.table.get_mut(id) else { return };
        conversation.active_s = now.s();
        if std::mem::take(&mut conversation.is_short) && conversation.may_go_on() {
            self.receives_again(port, id);
        }
    }
}
