//! Connections of which nothing comes: each is looked at about once a second, a few a tick.

use crate::limits::TICK_IDLE_LOOKS_MAX;
use crate::net::Port;
use crate::session::Session;
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
        if self.idle_second != now.s() {
            (self.idle_second, self.idle_left) = (now.s(), self.table.places());
        }
        for _ in 0..TICK_IDLE_LOOKS_MAX.min(self.idle_left) {
            self.idle_left -= 1;
            let Some((id, conversation)) = self.table.at(self.idle_left) else { continue };
            if conversation.is_stuck {
                self.reckon_unsent(id, port, session, now);
            }
            let Some(conversation) = self.table.get(id) else { continue };
            let is_quiet =
                !conversation.is_probed && conversation.receives && conversation.active_s < now.s();
            if self.setup.is_idle(conversation, now) {
                session.executor().counters().idle_kicks.add(1);
                self.close(id, port, session)?;
            } else if self.holds_up_others(conversation, now) {
                session.executor().counters().streams_over_memory.add(1);
                self.close(id, port, session)?;
            } else if is_quiet {
                self.table.get_mut(id).into_iter().for_each(|quiet| quiet.is_probed = true);
                port.probe(id)?;
            }
        }
        Ok(())
    }
}
