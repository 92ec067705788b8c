//! Long values of connections: fed from receive buffers as they come.

use crate::net::{ConnectionId, Port};
use crate::session::stream::value::{Incoming, Stage, Stepped};
use crate::worker::Worker;
use cache::base::clock::Now;

impl<P: Port> Worker<P> {
    /// A connection's input begins with the line of a store whose value is long.
    #[cold]
    pub(super) fn begin_value(&mut self, id: ConnectionId, value_bytes: usize, now: Now) {
        let Worker { port, streams, session, .. } = self;
        if let Some(conversation) = streams.get_mut(id) {
            session.executor().counters().long_values.add(1);
            let window = conversation.window(port);
            let line_bytes = memchr::memchr(b'\n', window).map_or(window.len(), |end| end + 1);
            conversation.value = Some(Box::new(Incoming::new(&window[..line_bytes], value_bytes)));
            self.moves_by(id, line_bytes);
        }
        self.serve_value(id, now);
    }

    /// Goes on with the long value that a connection is sending, as far as that is possible now.
    pub(super) fn serve_value(&mut self, id: ConnectionId, now: Now) {
        let Some(mut incoming) = self.streams.get_mut(id).and_then(|conversation| conversation.value.take())
        else {
            return;
        };
        let next = self.drive_value(id, &mut incoming, now);
        let Worker { streams, session, .. } = self;
        if next == Next::Lost {
            // Nothing more comes: what is there of the value is given up.
            incoming.into_memory().into_iter().for_each(|unfinished| session.abandon(unfinished));
            return streams.close_when_sent(id);
        }
        if next == Next::Commands {
            return self.goes_on_in_turn(id, now);
        }
        let has_begun = !matches!(incoming.stage, Stage::Line);
        let Some(conversation) = streams.get_mut(id) else { return };
        (conversation.value, conversation.is_under_way) = (Some(incoming), next == Next::UnderWay);
        match next {
            Next::Input => self.wait_for_input(id),
            Next::Crowded => streams.waits_for_value(id, now),
            Next::Later => streams.goes_on_later(id, !has_begun),
            Next::UnderWay | Next::Commands | Next::Lost => {}
        }
    }

    fn drive_value(&mut self, id: ConnectionId, incoming: &mut Incoming, now: Now) -> Next {
        loop {
            self.feed(id, &mut incoming.stage);
            if let Stage::Over(0) = incoming.stage {
                return Next::Commands;
            }
            if !self.outbox.has_room() {
                return Next::Later;
            }
            let before = std::mem::discriminant(&incoming.stage);
            let Worker { streams, session, outbox, .. } = self;
            let Some(conversation) = streams.get(id) else { return Next::Lost };
            let peer = conversation.peer;
            match session.advance_value(id, &peer, incoming, outbox, now) {
                Stepped::Done => {}
                Stepped::Later => return Next::Later,
                Stepped::Crowded => return Next::Crowded,
            }
            match incoming.stage {
                Stage::UnderWay => return Next::UnderWay,
                _ if std::mem::discriminant(&incoming.stage) != before => {}
                _ if conversation.has_ended => return Next::Lost,
                _ => return Next::Input,
            }
        }
    }

    /// Gives a value what there is of it.
    fn feed(&mut self, id: ConnectionId, stage: &mut Stage) {
        loop {
            let Worker { port, streams, .. } = self;
            let Some(conversation) = streams.get(id) else { return };
            let taken = stage.feed(conversation.window(port));
            if taken == 0 {
                return;
            }
            self.moves_by(id, taken);
        }
    }

    /// So many bytes of a connection's window are done.
    fn moves_by(&mut self, id: ConnectionId, bytes: usize) {
        let Worker { port, streams, .. } = self;
        streams.change(id, |conversation| conversation.input.advance(port, bytes));
    }
}

/// What a value waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Next {
    /// Nothing: it is over, and commands follow.
    Commands,
    /// More bytes.
    Input,
    /// Another owner.
    UnderWay,
    /// The next tick.
    Later,
    /// Memory that other values have.
    Crowded,
    /// Bytes that will not come.
    Lost,
}
