//! Turns of connections: plain reads in the batch of the tick, other commands one by one behind it.

use crate::limits::{
    DUMPS_MAX, KEY_BYTES_MAX, REPLY_BODY_BYTES_MAX, STREAM_TICK_REPLY_BYTES, STREAM_TURNS_MAX, TICK_READS_MAX,
};
use crate::net::{ConnectionId, Port};
use crate::session::Session;
use crate::session::batch::{Batch, Outcome, Tail};
use crate::session::serial::Position;
use crate::session::stream::dump::Dump;
use crate::session::stream::input::Ready;
use crate::session::stream::serve::{GivenUp, Progress};
use crate::worker::Worker;
use crate::worker::conversations::Conversations;
use cache::base::clock::Now;

impl<P: Port> Worker<P> {
    /// Chooses connections for a batch: those whose input begins with something that can be done.
    pub(super) fn choose_streams(&mut self, now: Now) {
        self.streams.round.clear();
        while self.streams.round.len() < TICK_READS_MAX
            && self.outbox.has_room()
            && let Some(id) = self.streams.queue.pop_front()
        {
            if self.prepare_stream(id, now) {
                self.streams.round.push(id);
            }
        }
    }

    /// Whether a connection can do something now.
    fn prepare_stream(&mut self, id: ConnectionId, now: Now) -> bool {
        let value_bytes_max = self.session.executor().value_bytes_max();
        let Worker { port, streams, .. } = self;
        let Some(conversation) = streams.get_mut(id) else { return false };
        conversation.is_queued = false;
        if !conversation.may_go_on() {
            return false;
        }
        if conversation.dump.is_some() {
            self.dump_on(id, now);
            return false;
        }
        if conversation.value.is_some() {
            self.serve_value(id, now);
            return false;
        }
        let prepared = streams.change(id, |conversation| match conversation.position.keys {
            Some(_) => Ready::Yes,
            None => conversation.prepare(port, value_bytes_max),
        });
        match prepared.unwrap_or(Ready::NotYet) {
            Ready::Yes => true,
            Ready::Binary => {
                self.refuse_binary_stream(id);
                false
            }
            Ready::NotYet => {
                self.wait_for_input(id);
                false
            }
            Ready::Value(bytes) => {
                self.begin_value(id, bytes, now);
                false
            }
            Ready::LongLine => {
                self.give_up_stream(id, GivenUp::LongLine);
                false
            }
        }
    }

    /// A connection has nothing that can be done: it waits for more, or ends if no more comes.
    pub(super) fn wait_for_input(&mut self, id: ConnectionId) {
        let Worker { port, streams, .. } = self;
        let Some(conversation) = streams.get_mut(id) else { return };
        if conversation.has_ended {
            return streams.close_when_sent(id);
        }
        let (may_go_on, is_kept) = (conversation.may_go_on(), conversation.input.carried() > 0);
        if may_go_on {
            streams.receives_again(port, id);
        }
        if is_kept {
            streams.keeps_more(id);
        }
    }

    /// Whoever speaks the retired binary protocol is told so in it, and hung up on.
    #[cold]
    fn refuse_binary_stream(&mut self, id: ConnectionId) {
        let Worker { port, streams, outbox, session, .. } = self;
        if let Some(conversation) = streams.get(id) {
            session.refuse_binary_stream(id, conversation.window(port), outbox);
        }
        streams.close_when_sent(id);
    }

    /// Tells a connection what is wrong with it, and ends it.
    #[cold]
    fn give_up_stream(&mut self, id: ConnectionId, why: GivenUp) {
        self.session.give_up_stream(id, why, &mut self.outbox);
        self.streams.close_when_sent(id);
    }

    /// Lets the chosen connections join a batch, as far as there is room; the others stay chosen.
    pub(super) fn join_streams<'a>(
        batch: &mut Batch<'a>,
        port: &'a P,
        streams: &'a Conversations,
        session: &Session,
    ) -> usize {
        let mut joined = 0;
        for &id in &streams.round {
            if batch.is_full() {
                break;
            }
            if let Some(conversation) = streams.get(id) {
                batch.join_stream(session, conversation, conversation.window(port));
            }
            joined += 1;
        }
        joined
    }

    /// Goes on with the connections of a batch behind their reads; those that did not join are the first of the next.
    pub(super) fn settle_streams(&mut self, outcomes: &[Outcome], joined: usize, now: Now) {
        for index in (joined..self.streams.round.len()).rev() {
            self.is_first(self.streams.round[index]);
        }
        // Backwards, so that of those that go on at once the first is the first again.
        for &(id, position, tail) in outcomes.iter().rev() {
            match tail {
                Tail::More if self.has_another_turn(id, now) => {
                    self.moves_to(id, position);
                    self.is_first(id);
                }
                Tail::More => {
                    self.moves_to(id, position);
                    self.streams.later.push(id);
                }
                Tail::Unanswered => self.is_first(id),
                Tail::Input | Tail::Serial => {}
            }
        }
        for &(id, position, tail) in outcomes {
            match tail {
                Tail::More | Tail::Unanswered => {}
                Tail::Input => self.progress(id, Progress::Input(position), now),
                Tail::Serial => {
                    self.moves_to(id, position);
                    self.serve_alone(id, now);
                }
            }
        }
    }

    /// A connection is the first of the next batch.
    fn is_first(&mut self, id: ConnectionId) {
        if let Some(conversation) = self.streams.get_mut(id) {
            conversation.is_queued = true;
            self.streams.queue.push_front(id);
        }
    }

    fn moves_to(&mut self, id: ConnectionId, position: Position) {
        let Worker { port, streams, .. } = self;
        streams.change(id, |conversation| conversation.goes_on_at(port, position));
    }

    /// All that is whole of a connection's window is done: what `is_cut` of it is put together with what comes. Else the window is the next
    /// buffer.
    fn needs_input(&mut self, id: ConnectionId, is_cut: bool, now: Now) {
        let Worker { port, streams, .. } = self;
        let has_more = streams.change(id, |conversation| {
            if is_cut && !conversation.window(port).is_empty() {
                conversation.input.cut(port);
            }
            conversation.input.buffers() > 0 || conversation.input.carried() > 0
        });
        let Some(has_more) = has_more else { return };
        if has_more { self.goes_on_in_turn(id, now) } else { self.wait_for_input(id) }
    }

    /// Runs the commands of a connection, one after the other.
    fn serve_alone(&mut self, id: ConnectionId, now: Now) {
        if !self.outbox.has_room() {
            return self.is_first(id);
        }
        if self.outbox.streams.bytes_for(id) >= STREAM_TICK_REPLY_BYTES {
            return self.streams.later.push(id);
        }
        let Worker { port, streams, session, outbox, .. } = self;
        let Some(conversation) = streams.get(id) else { return };
        let admitted = conversation.admitted(conversation.window(port));
        let progress = session.serve_stream(id, admitted, conversation.position, outbox, now);
        self.progress(id, progress, now);
    }

    pub(super) fn progress(&mut self, id: ConnectionId, progress: Progress, now: Now) {
        match progress {
            Progress::Input(position) => {
                let window = |streams: &Conversations| streams.get(id).map(|it| it.input.place_of_window());
                let before = window(&self.streams);
                self.moves_to(id, position);
                self.needs_input(id, before == window(&self.streams), now);
            }
            Progress::Turn(position) => {
                self.moves_to(id, position);
                self.goes_on_in_turn(id, now);
            }
            Progress::UnderWay(rest) => {
                self.moves_to(id, rest);
                if let Some(conversation) = self.streams.get_mut(id) {
                    conversation.is_under_way = true;
                }
            }
            Progress::UnderWayRefused(to_come) => {
                self.pass_over(id, to_come);
                if let Some(conversation) = self.streams.get_mut(id) {
                    conversation.is_under_way = true;
                }
            }
            Progress::Waits(position) => {
                self.session.executor().counters().deferred.add(1);
                self.moves_to(id, position);
                self.streams.later.push(id);
            }
            Progress::Dump(position) => {
                self.moves_to(id, position);
                self.begin_dump(id, now);
            }
            Progress::Long(position) => {
                self.moves_to(id, position);
                self.serve_long(id, now);
            }
            Progress::ReadKeys(position) => {
                self.moves_to(id, position);
                let Worker { port, streams, .. } = self;
                streams.change(id, |conversation| conversation.open_read(port));
                self.goes_on_in_turn(id, now);
            }
            Progress::Refused(to_come) => {
                self.pass_over(id, to_come);
                self.streams.may_go_on(id);
            }
            Progress::Close => self.streams.close_when_sent(id),
        }
    }

    /// What a connection's window holds is the head of a refused store, of which so many bytes are still to come.
    fn pass_over(&mut self, id: ConnectionId, to_come: usize) {
        let Worker { port, streams, .. } = self;
        streams.change(id, |conversation| {
            conversation.position = Position::default();
            conversation.input.skip(port, to_come);
        });
    }

    /// A connection has more to do: in this tick, if it has not had all its turns.
    pub(super) fn goes_on_in_turn(&mut self, id: ConnectionId, now: Now) {
        if self.has_another_turn(id, now) {
            self.streams.may_go_on(id);
        } else {
            self.streams.later.push(id);
        }
    }

    /// Whether a connection has another turn in this tick; counts it.
    fn has_another_turn(&mut self, id: ConnectionId, now: Now) -> bool {
        let Some(conversation) = self.streams.get_mut(id) else { return false };
        if conversation.tick_ns != now.ns {
            (conversation.tick_ns, conversation.turns) = (now.ns, 0);
        }
        conversation.turns += 1;
        let bytes = self.outbox.streams.bytes_for(id);
        let has_another = conversation.turns < STREAM_TURNS_MAX && bytes < STREAM_TICK_REPLY_BYTES;
        self.session.executor().counters().yielded.add(!has_another as u64);
        has_another
    }

    /// Begins to list all items to a connection, unless others are being listed to.
    #[cold]
    fn begin_dump(&mut self, id: ConnectionId, now: Now) {
        let Worker { streams, session, outbox, .. } = self;
        if streams.dumps >= DUMPS_MAX {
            session.refuse_dump(id, outbox);
        } else if let Some(conversation) = streams.get_mut(id) {
            conversation.dump = Some(Box::new(Dump::new()));
            streams.dumps += 1;
        }
        self.goes_on_in_turn(id, now);
    }

    /// Lists the next items to a connection: one piece a tick.
    #[cold]
    fn dump_on(&mut self, id: ConnectionId, now: Now) {
        let Worker { streams, session, outbox, .. } = self;
        streams.later.push(id);
        let Some(dump) = streams.get_mut(id).and_then(|conversation| conversation.dump.as_mut()) else {
            return;
        };
        outbox.streams.lend(REPLY_BODY_BYTES_MAX);
        let is_done = outbox.has_room() && session.dump_on(dump, id, outbox, now);
        if is_done {
            streams.end_dump(id);
        }
        streams.lend_room(outbox);
    }
}

const _: () = assert!(KEY_BYTES_MAX < crate::limits::STREAM_LINE_BYTES_MAX);
