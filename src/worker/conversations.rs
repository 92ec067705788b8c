//! A worker's connections: opened, fed, stopped while they have to wait, and closed.
//!
//! ```text
//! events ─▶ input of a conversation ─▶ queue of those that may go on ─▶ turns (`streams`)
//!           stuck: the peer does not read    paused, and what it has sent is kept aside; nothing else waits for it
//!           crowded: no memory for its value, or its reply (`crowd`)    the same
//!           under way: another worker has it paused if more than a few buffers come
//! ```

use crate::limits::{STREAM_BUFFERS_AHEAD_MAX, STREAM_BUFFERS_HELD_MAX, TICK_READS_MAX};
use crate::net::stream::{StreamEvent, Table};
use crate::net::{ConnectionId, Outbox, Port};
use crate::session::Session;
use crate::session::batch::Outcome;
use crate::session::forward::errand::Homecoming;
use crate::session::stream::Conversation;
use crate::worker::StreamSetup;
use crate::worker::crowd::Crowd;
use crate::worker::ending::Ending;
use crate::worker::kept::Kept;
use crate::worker::long::LongReplies;
use crate::worker::newcomers::Newcomers;
use cache::base::clock::Now;
use std::collections::VecDeque;
use std::io;
use std::time::Duration;

/// What a worker knows of its connections.
pub(super) struct Conversations {
    pub(super) table: Table<Conversation>,
    /// Those that wait for a place.
    pub(super) newcomers: Newcomers,
    /// Those that may go on in this tick.
    pub(super) queue: VecDeque<ConnectionId>,
    /// Those that wait for memory.
    pub(super) crowd: Crowd,
    /// Those of which the input is kept aside from the next tick on.
    keeps_aside: Vec<ConnectionId>,
    /// Those that go on in the next tick.
    pub(super) later: Vec<ConnectionId>,
    /// Those that are closed when what was written for them is sent.
    closing: Vec<ConnectionId>,
    /// Those that were chosen for a batch.
    pub(super) round: Vec<ConnectionId>,
    /// Scratch: what became of them in it.
    pub(super) outcomes: Vec<Outcome>,
    /// Bytes of input that are kept outside of receive buffers.
    pub(super) kept_bytes: usize,
    /// Those that need more of it than there may be.
    pub(super) kept: Kept,
    /// Memory of replies that the outbox has no room for.
    pub(super) long_replies: LongReplies,
    /// Dumps of all items that are under way.
    pub(super) dumps: usize,
    pub(super) setup: StreamSetup,
    /// Bytes of replies that peers have not taken.
    pub(super) unsent_bytes: usize,
    /// Whether it lends small rooms only.
    pub(super) is_limited: bool,
    /// How the end of the server stands.
    pub(super) ending: Ending,
    /// When connections are looked at again, in ns since the server epoch, and how many places are left of this time.
    pub(super) idle_due_ns: u64,
    pub(super) idle_left: usize,
}

impl Conversations {
    pub(super) fn new(setup: StreamSetup, value_bytes_max: usize) -> Conversations {
        Conversations {
            table: Table::default(),
            newcomers: Newcomers::default(),
            queue: VecDeque::new(),
            crowd: Crowd::default(),
            keeps_aside: Vec::new(),
            later: Vec::new(),
            closing: Vec::new(),
            round: Vec::with_capacity(TICK_READS_MAX),
            outcomes: Vec::with_capacity(TICK_READS_MAX),
            kept_bytes: 0,
            kept: Kept::default(),
            long_replies: LongReplies::new(value_bytes_max),
            dumps: 0,
            setup,
            unsent_bytes: 0,
            is_limited: false,
            ending: Ending::default(),
            idle_due_ns: 0,
            idle_left: 0,
        }
    }

    /// Whether there is something to do without waiting for anything.
    pub(super) fn has_work(&self) -> bool {
        let waits = [&self.later, &self.closing, &self.keeps_aside];
        self.has_memory_for_reply()
            || self.kept.has_newcomers()
            || !self.queue.is_empty()
            || waits.iter().any(|ids| !ids.is_empty())
    }

    /// How long the worker may sleep, where there is nothing to do.
    pub(super) fn rest(&self, now: Now) -> Duration {
        self.crowd.rest(now).min(self.ending.rest()).min(self.newcomers.rest())
    }

    pub(super) fn get_mut(&mut self, id: ConnectionId) -> Option<&mut Conversation> {
        self.table.get_mut(id)
    }

    pub(super) fn get(&self, id: ConnectionId) -> Option<&Conversation> {
        self.table.get(id)
    }

    /// Changes a connection's input, and reckons what of it is kept outside of receive buffers; `None` if the connection is gone.
    pub(super) fn change<R>(
        &mut self,
        id: ConnectionId,
        change: impl FnOnce(&mut Conversation) -> R,
    ) -> Option<R> {
        let conversation = self.table.get_mut(id)?;
        let before = conversation.input.carried();
        let changed = change(conversation);
        self.kept_bytes = self.kept_bytes + conversation.input.carried() - before;
        Some(changed)
    }

    /// Begins a tick: deals with what happened since the last one. Says whether anything did.
    pub(super) fn begin_tick<P: Port>(
        &mut self,
        port: &mut P,
        session: &mut Session,
        events: &mut Vec<StreamEvent>,
        outbox: &mut Outbox,
        now: Now,
    ) -> io::Result<bool> {
        let due = self.closing.len();
        while !self.setup.handover.is_empty()
            && let Some(connection) = self.setup.handover.take()
        {
            port.adopt(connection);
        }
        let happened = !events.is_empty();
        for event in events.drain(..) {
            self.note(event, port, session, outbox, now)?;
        }
        self.close_due(due, port, session)?;
        self.look_at_parting(port, session)?;
        self.settle_newcomers(port, session, outbox, now);
        for index in 0..self.keeps_aside.len() {
            self.keep_aside(self.keeps_aside[index], port)?;
        }
        self.keeps_aside.clear();
        self.make_room(port, session, outbox, now)?;
        self.reckon_room(session);
        self.ask_again(session, now);
        for index in 0..self.later.len() {
            self.may_go_on(self.later[index]);
        }
        self.later.clear();
        while let Some((id, homecoming)) = session.next_homecoming() {
            self.come_home(id, homecoming, port, session, now);
        }
        session.send_abandoned(now);
        while let Some(id) = session.next_answered_stream() {
            if let Some(conversation) = self.table.get_mut(id) {
                conversation.is_under_way = false;
            }
            self.goes_on(port, id);
        }
        self.look_for_idle(port, session, now)?;
        self.lend_room(outbox);
        Ok(happened || !self.queue.is_empty())
    }

    /// An errand for the long value of a connection is back.
    fn come_home<P: Port>(
        &mut self,
        id: ConnectionId,
        homecoming: Homecoming,
        port: &mut P,
        session: &mut Session,
        now: Now,
    ) {
        let conversation = self.table.get_mut(id);
        match (conversation, homecoming) {
            (Some(conversation), homecoming) => {
                let is_crowded = matches!(homecoming, Homecoming::Waits { is_crowded: true });
                conversation.is_under_way = false;
                if let Some(incoming) = &mut conversation.value {
                    incoming.came_home(homecoming, now);
                }
                if is_crowded {
                    self.waits_for_value(id, now);
                }
            }
            // The connection is gone, and memory for its value has come.
            (None, Homecoming::Reserved(unfinished)) => session.abandon(unfinished),
            (None, _) => {}
        }
        self.goes_on(port, id);
    }

    fn note<P: Port>(
        &mut self,
        event: StreamEvent,
        port: &mut P,
        session: &mut Session,
        outbox: &mut Outbox,
        now: Now,
    ) -> io::Result<()> {
        match event {
            StreamEvent::Opened(id, peer) => self.open(id, peer, port, session, outbox, now),
            StreamEvent::Received { id, buffer, bytes } => {
                session.executor().counters().bytes_read.add(bytes as u64);
                self.receive(id, (buffer, bytes), port, now)
            }
            StreamEvent::Stuck(id) => {
                let Some(conversation) = self.table.get_mut(id) else { return Ok(()) };
                conversation.is_stuck = true;
                session.executor().counters().streams_stuck.add(1);
                self.reckon_unsent(id, port, session, now);
                if self.has_far_too_much_unsent() {
                    session.executor().counters().streams_over_memory.add(1);
                    return self.close(id, port, session);
                }
                self.keep_aside(id, port)
            }
            StreamEvent::Drained(id) => {
                let Some(mut conversation) = self.table.take(id) else { return Ok(()) };
                conversation.is_stuck = false;
                conversation.active_s = now.s();
                self.forget_unsent(&mut conversation, session);
                let is_closing = conversation.is_closing;
                self.table.put(id, conversation);
                if is_closing {
                    return self.part(id, port, session);
                }
                self.goes_on(port, id);
                Ok(())
            }
            StreamEvent::Ended(id) => {
                let Some(conversation) = self.table.get_mut(id) else { return Ok(()) };
                conversation.has_ended = true;
                self.goes_on(port, id);
                Ok(())
            }
            StreamEvent::Broken(id) if self.newcomers.leaves(id) => port.close(id),
            StreamEvent::Broken(id) => {
                session.executor().counters().streams_broken.add(self.get(id).is_some() as u64);
                self.close(id, port, session)
            }
        }
    }

    fn receive<P: Port>(
        &mut self,
        id: ConnectionId,
        (buffer, bytes): (u16, u32),
        port: &mut P,
        now: Now,
    ) -> io::Result<()> {
        let Some(conversation) = self.table.get_mut(id).filter(|conversation| !conversation.is_closing)
        else {
            port.release(buffer);
            return Ok(());
        };
        conversation.input.push(buffer, bytes);
        conversation.is_probed = false;
        if conversation.active_s != now.s() {
            conversation.active_s = now.s();
            self.setup.roster.is_active(id, now.s());
        }
        let buffers = conversation.input.buffers();
        if conversation.may_go_on() {
            self.may_go_on(id);
            return if buffers > STREAM_BUFFERS_AHEAD_MAX { self.stop_receiving(id, port) } else { Ok(()) };
        }
        if conversation.is_stuck || conversation.is_crowded {
            return self.keep_aside(id, port);
        }
        if buffers > STREAM_BUFFERS_HELD_MAX { self.stop_receiving(id, port) } else { Ok(()) }
    }

    /// A connection that cannot go on receives no more.
    pub(super) fn stop_receiving<P: Port>(&mut self, id: ConnectionId, port: &mut P) -> io::Result<()> {
        if let Some(conversation) = self.table.get_mut(id)
            && std::mem::replace(&mut conversation.receives, false)
        {
            return port.pause(id);
        }
        Ok(())
    }

    /// A connection receives, if it does not already.
    pub(super) fn receives_again<P: Port>(&mut self, port: &mut P, id: ConnectionId) {
        if let Some(conversation) = self.table.get_mut(id)
            && !conversation.has_ended
            && !std::mem::replace(&mut conversation.receives, true)
        {
            port.resume(id);
        }
    }

    /// A connection waits for memory for its long value that others have.
    pub(super) fn waits_for_value(&mut self, id: ConnectionId, now: Now) {
        if self.is_crowded(id) {
            let value = self.table.get_mut(id).and_then(|conversation| conversation.value.as_mut());
            value.into_iter().for_each(|incoming| incoming.waits_for_room(&self.setup.demand, now));
            self.crowd.waits_for_value(id, now);
        }
    }

    /// The same of a long reply.
    pub(super) fn waits_for_reply(&mut self, id: ConnectionId, is_prompt: bool) {
        if self.is_crowded(id) {
            self.crowd.waits_for_reply(id, is_prompt);
        }
    }

    /// A connection may not go on until memory is free; says whether it is there.
    fn is_crowded(&mut self, id: ConnectionId) -> bool {
        let Some(conversation) = self.table.get_mut(id) else { return false };
        conversation.is_crowded = true;
        self.keeps_aside.push(id);
        true
    }

    /// Those that wait for memory ask again, when some may be free.
    fn ask_again(&mut self, session: &Session, now: Now) {
        let unfinished_bytes = session.executor().owner().counters().unfinished_bytes.get();
        for _ in 0..self.crowd.due(unfinished_bytes, now) {
            let next = self.crowd.next_value();
            self.asks_again(next, now);
        }
        self.ask_again_for_replies(now);
    }

    pub(super) fn asks_again(&mut self, id: Option<ConnectionId>, now: Now) {
        if let Some(id) = id
            && let Some(conversation) = self.table.get_mut(id)
        {
            conversation.is_crowded = false;
            conversation.active_s = now.s();
            self.may_go_on(id);
        }
    }

    /// A connection goes on in the next tick, and keeps its input aside if it has to be without receive buffers.
    pub(super) fn goes_on_later(&mut self, id: ConnectionId, keeps_aside: bool) {
        self.later.push(id);
        if keeps_aside {
            self.keeps_aside.push(id);
        }
    }

    /// A connection goes on, and receives again when all that it has sent is done.
    pub(super) fn goes_on<P: Port>(&mut self, port: &mut P, id: ConnectionId) {
        let Some(conversation) = self.table.get_mut(id) else { return };
        if !conversation.may_go_on() {
            return;
        }
        if conversation.input.buffers() == 0 && !conversation.has_ended {
            self.receives_again(port, id);
        }
        self.may_go_on(id);
    }

    /// The dump to a connection is over.
    pub(super) fn end_dump(&mut self, id: ConnectionId) {
        let ended = self.table.get_mut(id).and_then(|conversation| conversation.dump.take());
        self.dumps -= ended.is_some() as usize;
    }

    /// Puts a connection into the queue, if it may go on.
    pub(super) fn may_go_on(&mut self, id: ConnectionId) {
        if let Some(conversation) = self.table.get_mut(id)
            && conversation.may_go_on()
            && !std::mem::replace(&mut conversation.is_queued, true)
        {
            self.queue.push_back(id);
        }
    }

    /// A connection ends when what was written for it is sent.
    pub(super) fn close_when_sent(&mut self, id: ConnectionId) {
        if let Some(conversation) = self.table.get_mut(id)
            && !std::mem::replace(&mut conversation.is_closing, true)
        {
            self.closing.push(id);
        }
    }

    /// Closes the first so many, whose replies were sent with the last poll. Those of which a rest is left have been told of by now;
    /// of them the port says when it went.
    fn close_due<P: Port>(&mut self, due: usize, port: &mut P, session: &mut Session) -> io::Result<()> {
        for index in 0..due {
            let id = self.closing[index];
            if self.table.get(id).is_some_and(|conversation| !conversation.is_stuck) {
                self.part(id, port, session)?;
            }
        }
        self.closing.drain(..due);
        Ok(())
    }

    pub(super) fn close<P: Port>(
        &mut self,
        id: ConnectionId,
        port: &mut P,
        session: &mut Session,
    ) -> io::Result<()> {
        let Some(mut conversation) = self.table.take(id) else { return Ok(()) };
        self.kept_bytes -= conversation.input.carried();
        self.forget_unsent(&mut conversation, session);
        if conversation.is_crowded && conversation.value.is_none() {
            self.crowd.leaves(id);
        }
        self.dumps -= conversation.dump.is_some() as usize;
        if let Some(unfinished) = conversation.value.take().and_then(|incoming| incoming.into_memory()) {
            session.abandon(unfinished);
        }
        conversation.input.clear(port);
        if conversation.is_counted {
            self.setup.quota.give_back();
            self.setup.roster.close(id);
            session.executor().counters().curr_connections.sub(1);
        }
        port.close(id)
    }
}
