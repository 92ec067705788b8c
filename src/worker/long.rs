//! Long replies: those that have memory of their own, because no room of the outbox is lent for them.
//!
//! ```text
//! longer than the outbox lends ─▶ memory is free ─▶ under way until the peer has taken all of it
//!                                 else it waits in the crowd ─ the prompt first, those whose peers have unread replies behind them
//! ```
//! So much memory is there as eight of the longest replies need. Peers with unread replies get half of it: whoever reads what it asked for does
//! not wait for those who do not, however many these are.

use crate::limits::{CROWD_ASKS_MAX, LONG_REPLY_ROOM_BYTES, STREAM_LONG_REPLIES_MAX};
use crate::net::{ConnectionId, Port};
use crate::worker::Worker;
use crate::worker::conversations::Conversations;
use cache::base::clock::Now;

/// Memory of long replies.
#[derive(Debug)]
pub(super) struct LongReplies {
    /// Bytes under way.
    bytes: usize,
    /// What one may need, in bytes.
    longest_bytes: usize,
    /// So many of those that wait try it in the outbox, which lends any room again.
    retries: usize,
}

impl LongReplies {
    /// None is under way; values have so many bytes at most.
    pub(super) fn new(value_bytes_max: usize) -> LongReplies {
        LongReplies { bytes: 0, longest_bytes: value_bytes_max + LONG_REPLY_ROOM_BYTES, retries: 0 }
    }

    /// Whether one more may begin, for a peer that is prompt or not.
    pub(super) fn has_room(&self, is_prompt: bool) -> bool {
        self.room(is_prompt) > 0
    }

    /// How many more may begin, however long they are.
    fn room(&self, is_prompt: bool) -> usize {
        let share = if is_prompt { STREAM_LONG_REPLIES_MAX } else { STREAM_LONG_REPLIES_MAX / 2 };
        (share * self.longest_bytes).saturating_sub(self.bytes) / self.longest_bytes
    }

    pub(super) fn begin(&mut self, bytes: usize) {
        self.bytes += bytes;
    }

    pub(super) fn end(&mut self, bytes: usize) {
        self.bytes -= bytes;
    }
}

impl Conversations {
    /// Whether somebody who waits for memory for a reply can have it.
    pub(super) fn has_memory_for_reply(&self) -> bool {
        [true, false].iter().any(|&prompt| self.crowd.wants_reply_of(prompt) && self.asks(prompt) > 0)
    }

    /// The outbox lends any room again: each of those that wait may try it once.
    pub(super) fn outbox_has_room_again(&mut self) {
        self.long_replies.retries = self.crowd.replies_waiting();
    }

    /// How many of those that wait may ask now.
    fn asks(&self, is_prompt: bool) -> usize {
        let retries = if self.is_limited { 0 } else { self.long_replies.retries.min(CROWD_ASKS_MAX) };
        retries.max(self.long_replies.room(is_prompt))
    }

    /// Those that wait for memory for their replies ask again, a bounded number, the prompt first.
    pub(super) fn ask_again_for_replies(&mut self, now: Now) {
        for is_prompt in [true, false] {
            for _ in 0..self.asks(is_prompt) {
                let Some(next) = self.crowd.next_reply(is_prompt) else { break };
                self.long_replies.retries = self.long_replies.retries.saturating_sub(1);
                self.asks_again(Some(next), now);
            }
        }
    }
}

impl<P: Port> Worker<P> {
    /// Answers with memory of its own, if some is left; nothing else is sent to the connection in this tick.
    #[cold]
    pub(super) fn serve_long(&mut self, id: ConnectionId, now: Now) {
        let Worker { port, streams, session, outbox, .. } = self;
        let is_prompt = port.untaken(id) == 0;
        if !streams.long_replies.has_room(is_prompt) {
            return streams.waits_for_reply(id, is_prompt);
        }
        if outbox.streams.has_any_for(id) {
            return streams.later.push(id);
        }
        let Some(conversation) = streams.get(id) else { return };
        let admitted = conversation.admitted(conversation.window(port));
        let (progress, bytes) = session.serve_long(id, admitted, conversation.position, outbox, now);
        if bytes > 0
            && let Some(conversation) = streams.get_mut(id)
        {
            // Until the port says that all of it went.
            (conversation.long_bytes, conversation.is_stuck) = (bytes, true);
            streams.long_replies.begin(bytes);
        }
        self.progress(id, progress, now);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn half_of_the_memory_is_for_those_who_read() {
        let mut long = LongReplies::new(1000 - LONG_REPLY_ROOM_BYTES % 1000);
        let longest = long.longest_bytes;
        let mut count_while = |is_prompt| {
            let mut count = 0;
            while long.has_room(is_prompt) {
                long.begin(longest);
                count += 1;
            }
            count
        };
        assert_eq!([count_while(false), count_while(true), count_while(false)], [4, 4, 0]);
        (0..8).for_each(|_| long.end(longest));
        (0..70).for_each(|_| long.begin(longest / 10));
        assert!(long.has_room(true) && !long.has_room(false), "what counts is what they have");
    }
}
