//! The slow way of a batch frame: its operations one after the other, as `serial` does it with commands.
//!
//! ```text
//! GET           any worker: from the shared table
//! the others    my shard: execute.  Another's: the frame becomes a pending request; its owner executes this operation and the ones
//!               behind it that are its own, so a frame over two owners travels once a run, not once an operation
//! ```
//! Operations are executed in the order of the frame, and it is answered once, when the last is done.

use crate::session::execute::answer::of_frame;
use crate::session::execute::refused::remove_replaced_by;
use crate::session::serial::Executor;
use crate::session::serial::commands::conclude;
use crate::session::serial::run::Run;
use crate::session::serial::{Executed, Halt, Position, Step};
use crate::session::{Execution, Stop};
use cache::base::clock::Now;
use protocol::batch::{Code, Cursor, Frame, Operation, Operations, RESULT_BYTES};
use protocol::{Error, Reply};

impl Executor {
    /// Executes the operation at `position` and those behind it that are ours and have a small result, as their owner.
    /// If the first is patient it waits for memory.
    pub(crate) fn execute_run(
        &mut self,
        body: &[u8],
        position: Position,
        is_patient: bool,
        now: Now,
        reply: &mut Reply<'_>,
    ) -> Executed {
        let mut operations = resumed(body, position);
        let mut reached = position;
        while let Some(Some(operation)) = operations.next() {
            let is_first = reached == position;
            // The first was sent to us; the others travel on if they are not ours, or need more room.
            let stays = is_first || self.is_small(&operation, reply) && self.owns(&operation);
            if !stays {
                break;
            }
            let mark = reply.mark();
            let mut execution =
                Execution::new(&mut self.owner, &mut self.pin, now, reply).with_patience(is_patient);
            let done = operate(&mut execution, &operation, self.value_bytes_max);
            let read = execution.settled_read();
            self.note_settled_read(read, now);
            if done.is_err_and(|stop| matches!(stop, Stop::OnGrace | Stop::OnRoom)) && !is_first {
                // Its home worker sends it again, and then it may wait.
                reply.rewind(mark);
                break;
            }
            self.note_stop(done);
            if let Some(halted) = conclude(done, mark, reply) {
                return halted;
            }
            reached = position_of(&operations, reply);
        }
        self.work.spend(self.owner.take_written_bytes());
        Executed::Done(reached)
    }

    /// The operation of our own shard at `position` is refused.
    pub(super) fn refuse_operation(&mut self, body: &[u8], position: Position, error: Error, now: Now) {
        if let Some(Some(operation)) = resumed(body, position).next() {
            remove_replaced_by(&operation, error, &mut self.owner, &mut self.pin, now);
        }
    }

    /// Whether the reply has room for the result of an operation.
    fn is_small(&self, operation: &Operation<'_>, reply: &Reply<'_>) -> bool {
        reply.room() >= 2 * RESULT_BYTES && !operation.yields_value()
    }

    fn owns(&self, operation: &Operation<'_>) -> bool {
        self.owner_of(operation.key.bytes()) == self.owner.index()
    }
}

impl<'a> Run<'_, 'a, '_> {
    /// Runs the operations of a frame from `from` on, until it is done or must be suspended.
    pub(crate) fn run_operations(&mut self, from: Position) -> Step {
        let mut operations = resumed(self.request.admitted.body, from);
        if from == Position::default() && !operations.are_sound() {
            // One result that says that nothing of the frame was done.
            self.answer_fault(Error::BadLine);
            return Step::Done;
        }
        loop {
            let position = position_of(&operations, self.reply);
            if self.request.may_yield && self.executor.work.is_spent() {
                return Halt::Turn.at(position);
            }
            let Some(Some(operation)) = operations.next() else { return Step::Done };
            let mark = self.reply.mark();
            match self.run_operation(&operation) {
                Ok(()) => self.reply.settle(mark),
                Err(Halt::Room) if !self.request.may_grow => self.reply.give_up(mark, Error::TooLargeForUdp),
                Err(halt) => return halt.at(position),
            }
        }
    }

    fn run_operation(&mut self, operation: &Operation<'_>) -> Result<(), Halt> {
        let owner = self.executor.owner_of(operation.key.bytes());
        if operation.code == Code::Get {
            match self.read(&of_frame(operation.key)) {
                Err(Halt::Elsewhere(owner)) if owner == self.executor.owner.index() => {}
                done => return done,
            }
        }
        self.expects_room()?;
        if owner != self.executor.owner.index() {
            return Err(Halt::Elsewhere(owner));
        }
        let value_bytes_max = self.executor.value_bytes_max;
        self.execute_here(|execution| operate(execution, operation, value_bytes_max))
    }
}

fn operate(
    execution: &mut Execution<'_, '_>,
    operation: &Operation<'_>,
    value_bytes_max: usize,
) -> Result<(), Stop> {
    if operation.value.len() > value_bytes_max {
        return Err(execution.refused_operation(operation, Error::TooLargeForCache));
    }
    execution.operation(operation)
}

/// Where the next operation begins, after the one at `position` was given up.
pub(crate) fn behind(body: &[u8], position: Position) -> Position {
    let mut operations = resumed(body, position);
    operations.next();
    let Cursor { at, index: part } = operations.place();
    Position { at, part, ..Position::default() }
}

fn position_of(operations: &Operations<'_>, reply: &Reply<'_>) -> Position {
    let Cursor { at, index: part } = operations.place();
    Position { at, part, keys: None, reply_bytes: reply.bytes() }
}

/// The operations of a frame from `position` on; from the first for the beginning of a request.
pub(crate) fn resumed(body: &[u8], position: Position) -> Operations<'_> {
    let operations = Frame::open(body).expect("a frame that was admitted").operations(body);
    let Position { at, part: index, .. } = position;
    if index == 0 { operations } else { operations.from(Cursor { at, index }) }
}
