//! Replies that peers have not taken: how many bytes a worker keeps of them, and who waits because of that.
//!
//! ```text
//! below the bound   a turn has room for any reply
//! at the bound      room for a small reply; a longer one waits for memory of its own, of which a few are under way (`crowd`)
//! twice the bound   who does not take a small reply either is closed
//! ```
//! While others wait, a peer that takes nothing for [`STREAM_LONG_REPLY_WAIT_S`] is closed.

use crate::limits::{
    CROWD_ASKS_MAX, REPLY_BODY_BYTES_MAX, STREAM_LONG_REPLY_WAIT_S, STREAM_SMALL_ROOM_BYTES,
    STREAM_TICK_REPLY_BYTES,
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
            (conversation.took_s, conversation.active_s) = (now.s(), now.s());
        }
        (conversation.unsent_bytes, conversation.untaken_bytes) = (left, untaken);
        // Long replies have a bound of their own.
        if !conversation.has_long {
            self.unsent_bytes = self.unsent_bytes + left - before;
        }
        self.show_unsent(session);
    }

    /// Nothing is kept for a connection any more.
    pub(super) fn forget_unsent(&mut self, conversation: &mut Conversation, session: &Session) {
        let bytes = std::mem::take(&mut conversation.unsent_bytes);
        self.long_replies -= conversation.has_long as usize;
        if !std::mem::take(&mut conversation.has_long) {
            self.unsent_bytes -= bytes;
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

    /// Once a tick: whether room for any reply can be lent. If it can again, who had waited for memory of its own tries it there.
    pub(super) fn reckon_room(&mut self, session: &Session, now: Now) {
        let is_limited = self.unsent_bytes >= self.setup.unsent_bytes_max;
        session.executor().counters().streams_unsent_limited.add((is_limited && !self.is_limited) as u64);
        if !is_limited && self.is_limited {
            for _ in 0..CROWD_ASKS_MAX {
                let next = self.crowd.next_reply();
                self.asks_again(next, now);
            }
        }
        self.is_limited = is_limited;
    }

    /// Lends room for replies as far as there is memory for what peers do not take.
    pub(super) fn lend_room(&self, outbox: &mut Outbox) {
        outbox.streams.lend(if self.is_limited { STREAM_SMALL_ROOM_BYTES } else { REPLY_BODY_BYTES_MAX });
    }

    /// Whether a peer has taken nothing for too long, while others wait for memory.
    pub(super) fn holds_up_others(&self, conversation: &Conversation, now: Now) -> bool {
        let waits_s = now.s().saturating_sub(conversation.took_s);
        conversation.is_stuck && self.crowd.wants_reply() && waits_s > STREAM_LONG_REPLY_WAIT_S
    }
}

const _: () = assert!(STREAM_SMALL_ROOM_BYTES < STREAM_TICK_REPLY_BYTES);
