//! What a tick does before its datagrams: for other workers, and for what was suspended.

use crate::limits::{TICK_INBOUND_MAX, TICK_SUSPENDED_WORK_UNITS};
use crate::net::Port;
use crate::worker::Worker;
use cache::base::clock::Now;

impl<P: Port> Worker<P> {
    /// Executes for others, goes on with answers and with what waited; says whether there was anything.
    pub(super) fn poll_inbound(&mut self, now: Now) -> std::io::Result<bool> {
        if !self.session.has_inbound() {
            return Ok(false);
        }
        self.session.execute_for_others(now);
        let mut work = 0;
        for _ in 0..self.session.waiting() {
            if work > TICK_SUSPENDED_WORK_UNITS {
                break;
            }
            self.make_room()?;
            let Some(spent) = self.session.retry_next(&mut self.outbox, now) else { break };
            work += spent;
        }
        work = 0;
        for _ in 0..TICK_INBOUND_MAX {
            if work > TICK_SUSPENDED_WORK_UNITS {
                break;
            }
            self.make_room()?;
            let Some(spent) = self.session.resume_next(&mut self.outbox, now) else { break };
            work += spent;
        }
        for _ in 0..self.session.begin_release() {
            self.make_room()?;
            self.session.release_next(&mut self.outbox, now);
        }
        Ok(true)
    }

    fn make_room(&mut self) -> std::io::Result<()> {
        if self.outbox.has_room() { Ok(()) } else { self.flush() }
    }
}
