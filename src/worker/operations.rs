//! The slow way of a batch frame: its operations one after the other, as `serial` does it with commands.
//!
//! ```text
//! GET           any worker: from the shared table
//! the others    my shard: execute.  Another's: the frame becomes a parcel; its owner executes this operation and the ones
//!               behind it that are its own, so a frame over two owners travels once a run, not once an operation
//! ```
//! Operations are executed in the order of the frame, and it is answered once, when the last is done.

use crate::clock::Now;
use crate::protocol::batch::{Code, Frame, Operation, Operations, Place as At, RESULT_BYTES};
use crate::protocol::{Error, Reply};
use crate::shard::Wait;
use crate::shard::read::of_frame;
use crate::worker::Core;
use crate::worker::serial::{Place, Position, Request, Step, conclude};

impl Core {
    /// Runs the operations of a frame from `from` on, until it is done or must be suspended.
    pub(super) fn run_operations(
        &mut self,
        request: Request<'_>,
        from: Position,
        reply: &mut Reply<'_>,
    ) -> Step {
        let mut operations = resumed(request.body, from);
        if from == Position::default() && !operations.are_sound() {
            self.refuse_frame(reply);
            return Step::Done;
        }
        loop {
            let At { at, index: part } = operations.place();
            let Some(Some(operation)) = operations.next() else { return Step::Done };
            let mark = reply.mark();
            let position = Position { at, part };
            match self.run_operation(&operation, request.now, reply) {
                Place::Done => reply.settle(mark),
                Place::Later => return Step::Wait { position },
                Place::Elsewhere(owner) => {
                    return Step::Forward { owner, position, answer_is_value: operation.yields_value() };
                }
            }
        }
    }

    /// Executes the operation at `position` and those behind it that are ours and have a small result, as their owner.
    /// Returns where the next begins; `None` if the first waits for memory and is to be tried again.
    pub(super) fn execute_run(
        &mut self,
        body: &[u8],
        position: Position,
        is_patient: bool,
        now: Now,
        reply: &mut Reply<'_>,
    ) -> Option<Position> {
        let mut operations = resumed(body, position);
        let first = operations.place();
        let mut reached = first;
        while let Some(Some(operation)) = operations.next() {
            let is_first = reached == first;
            // The first was sent to us; the others travel on if they are not ours, or need more room.
            let stays = is_first || self.is_small(&operation, reply) && self.owns(&operation);
            if !stays {
                break;
            }
            let mark = reply.mark();
            let done = self.operate(&operation, now, reply);
            if done == Err(Wait::ForGrace) && !is_first {
                // Its home worker sends it again, and then it may wait.
                reply.rewind(mark);
                break;
            }
            conclude(done, is_patient, mark, reply)?;
            reached = operations.place();
        }
        Some(Position { at: reached.at, part: reached.index })
    }

    /// Whether the answer of a parcel has room for the result of an operation.
    fn is_small(&self, operation: &Operation<'_>, reply: &Reply<'_>) -> bool {
        reply.room() >= 2 * RESULT_BYTES && !operation.yields_value()
    }

    fn owns(&self, operation: &Operation<'_>) -> bool {
        self.shards.owner_of(operation.key.bytes()) == self.owner.index()
    }

    fn run_operation(&mut self, operation: &Operation<'_>, now: Now, reply: &mut Reply<'_>) -> Place {
        let key = operation.key.bytes();
        let owner = self.shards.owner_of(key);
        if operation.code == Code::Get
            && let Some(()) = self.read_shared(&of_frame(operation.key), now, reply)
        {
            return Place::Done;
        }
        if owner != self.owner.index() {
            return Place::Elsewhere(owner);
        }
        let mark = reply.mark();
        match conclude(self.operate(operation, now, reply), true, mark, reply) {
            Some(()) => Place::Done,
            None => Place::Later,
        }
    }

    fn operate(&mut self, operation: &Operation<'_>, now: Now, reply: &mut Reply<'_>) -> Result<(), Wait> {
        if operation.value.len() > self.value_bytes_max {
            return Err(Wait::Never(Error::TooLargeForCache));
        }
        let done = self.owner.operate(operation, now, reply);
        self.note_settled_read(now);
        done
    }

    /// One result that says that nothing of the frame was done.
    #[cold]
    fn refuse_frame(&mut self, reply: &mut Reply<'_>) {
        self.counters.protocol_errors.add(1);
        if self.errors_muted {
            self.counters.errors_muted.add(1);
        } else {
            reply.put_error(Error::BadLine);
        }
    }
}

/// Where the next operation begins, after the one at `position` was given up.
pub(super) fn behind(body: &[u8], position: Position) -> Position {
    let mut operations = resumed(body, position);
    operations.next();
    let At { at, index: part } = operations.place();
    Position { at, part }
}

/// The operations of a frame from `position` on; from the first for the beginning of a request.
fn resumed(body: &[u8], position: Position) -> Operations<'_> {
    let operations = Frame::open(body).expect("a frame that was admitted").operations(body);
    let Position { at, part: index } = position;
    if index == 0 { operations } else { operations.from(At { at, index }) }
}
