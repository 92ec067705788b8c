//! Replies that peers have not taken: how many bytes a worker keeps of them, and who waits because of that.
//!
//! ```text
//! below the bound   a turn has room for any reply
//! at the bound      room for a small reply; a longer one waits for memory of its own, of which a few are under way (`long`)
//! twice the bound   who does not take a small reply either is closed
//! ```
//! While others wait, a peer that takes nothing for [`STREAM_UNREAD_MS`] is closed.

use crate::limits::{
    REPLY_BODY_BYTES_MAX, STREAM_SMALL_ROOM_BYTES, STREAM_TICK_REPLY_BYTES, STREAM_UNREAD_MS,
};
use crate::net::{ConnectionId, Outbox, Port};
use crate::session::Session;
use crate::session::stream::Conversation;
use crate::worker::conversations::Conversations;
use cache::base::clock::Now;

impl Conversations {
    /// Looks at what the peer of a connection has not taken. One that takes some is active.
    pub(super) fn reckon_unsent<P: Port>(&mut self, id: ConnectionId, port: &P, session: &Session, now: Now) {
        let Some(conversation) = self.get_mut(id) else { return };
        let (before, left) = (conversation.unsent_bytes, port.unsent(id));
        let untaken = port.untaken(id);
        if before == 0 || untaken < conversation.untaken_bytes {
            (conversation.took_ns, conversation.active_s) = (now.ns, now.s());
        }
        (conversation.unsent_bytes, conversation.untaken_bytes) = (left, untaken);
        // Long replies have a bound of their own.
        if conversation.long_bytes == 0 {
            self.unsent_bytes = self.unsent_bytes + left - before;
        }
        self.show_unsent(session);
    }

    /// Nothing is kept for a connection any more.
    pub(super) fn forget_unsent(&mut self, conversation: &mut Conversation, session: &Session) {
        let bytes = std::mem::take(&mut conversation.unsent_bytes);
        match std::mem::take(&mut conversation.long_bytes) {
            0 => self.unsent_bytes -= bytes,
            long_bytes => self.long_replies.end(long_bytes),
        }
        self.show_unsent(session);
    }

    fn show_unsent(&self, session: &Session) {
        session.executor().counters().streams_unsent_bytes.set(self.unsent_bytes as u64);
    }

    /// Whether so much is unsent that even small replies are not kept.
    pub(super) fn has_far_too_much_unsent(&self) -> bool {
        self.unsent_bytes > 2 * self.setup.unsent_bytes_max
    }

    /// Once a tick: whether room for any reply can be lent.
    pub(super) fn reckon_room(&mut self, session: &Session) {
        let is_limited = self.unsent_bytes >= self.setup.unsent_bytes_max;
        session.executor().counters().streams_unsent_limited.add((is_limited && !self.is_limited) as u64);
        if self.is_limited && !is_limited {
            self.outbox_has_room_again();
        }
        self.is_limited = is_limited;
    }

    /// Lends room for replies as far as there is memory for what peers do not take.
    pub(super) fn lend_room(&self, outbox: &mut Outbox) {
        outbox.streams.lend(if self.is_limited { STREAM_SMALL_ROOM_BYTES } else { REPLY_BODY_BYTES_MAX });
    }

    /// Whether a peer has taken nothing for too long, while others wait for memory.
    pub(super) fn holds_up_others(&self, conversation: &Conversation, now: Now) -> bool {
        let waits_ms = now.ns.saturating_sub(conversation.took_ns) / 1_000_000;
        conversation.is_stuck && self.crowd.wants_reply() && waits_ms >= STREAM_UNREAD_MS
    }
}

const _: () = assert!(STREAM_SMALL_ROOM_BYTES < STREAM_TICK_REPLY_BYTES);
