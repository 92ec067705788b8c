//! Connections of which nothing comes: each is looked at about once a second, a few a tick; more often while others wait for memory for
//! their replies.

use crate::limits::{IDLE_LOOK_MS, TICK_IDLE_LOOKS_MAX, UNREAD_LOOK_MS};
use crate::net::Port;
use crate::session::Session;
use crate::session::stream::Conversation;
use crate::worker::conversations::Conversations;
use cache::base::clock::Now;
use std::io;

impl Conversations {
    /// Looks at some connections whether they have been idle for too long, or have to be probed: at each about once a second.
    pub(super) fn look_for_idle<P: Port>(
        &mut self,
        port: &mut P,
        session: &mut Session,
        now: Now,
    ) -> io::Result<()> {
        if self.idle_left == 0 && now.ns >= self.idle_due_ns {
            let pause_ms = if self.crowd.wants_reply() { UNREAD_LOOK_MS } else { IDLE_LOOK_MS };
            (self.idle_due_ns, self.idle_left) = (now.ns + pause_ms * 1_000_000, self.table.places());
        }
        for _ in 0..TICK_IDLE_LOOKS_MAX.min(self.idle_left) {
            self.idle_left -= 1;
            let Some((id, conversation)) = self.table.at(self.idle_left) else { continue };
            if conversation.is_stuck {
                self.reckon_unsent(id, port, session, now);
            }
            let Some(conversation) = self.table.get(id) else { continue };
            let counters = session.executor().counters();
            let is_quiet =
                !conversation.is_probed && conversation.receives && conversation.active_s < now.s();
            let reason = if conversation.waits_for_server() {
                self.still_waits(id, port, now);
                continue;
            } else if self.setup.is_idle(conversation, now) {
                &counters.idle_kicks
            } else if self.holds_up_others(conversation, now) {
                &counters.streams_over_memory
            } else if self.is_slow(conversation, now) {
                &counters.slow_values
            } else {
                if is_quiet {
                    self.table.get_mut(id).into_iter().for_each(|quiet| quiet.is_probed = true);
                    port.probe(id)?;
                }
                continue;
            };
            reason.add(1);
            self.close(id, port, session)?;
        }
        Ok(())
    }

    /// Whether a long value comes too slowly, while others wait for room.
    fn is_slow(&self, conversation: &Conversation, now: Now) -> bool {
        let value = conversation.value.as_ref();
        value.is_some_and(|incoming| incoming.is_slow(now)) && self.setup.demand.is_there()
    }
}
