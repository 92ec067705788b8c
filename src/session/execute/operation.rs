//! Operations of batch frames that the owner executes: the same verbs as for memcached's commands, with results instead of
//! lines.

use crate::session::execute::answer::put_item;
use crate::session::execute::expiry::due_ms;
use crate::session::execute::{Execution, SettledRead, Stop, mode_of};
use cache::shard::{Count, Delete, Deleted, Found, Outcome, Store};
use protocol::Reply;
use protocol::batch::{Code, Operation, Status};

impl Execution<'_, '_> {
    /// Executes one operation and writes its result.
    ///
    /// # Errors
    /// [`Stop`]; nothing has changed then, but for what a `set` would have replaced that is refused.
    pub fn operation(&mut self, operation: &Operation<'_>) -> Result<(), Stop> {
        match self.dispatch_operation(operation).map_err(|stop| self.end_of_patience(stop)) {
            Err(Stop::Failed(error)) => Err(self.refused_operation(operation, error)),
            done => done,
        }
    }

    fn dispatch_operation(&mut self, operation: &Operation<'_>) -> Result<(), Stop> {
        match operation.code {
            Code::Get => self.read_for_frame(operation),
            Code::GetAndTouch => {
                self.read_for_frame(operation)?;
                self.touch_for_frame(operation);
                Ok(())
            }
            Code::Touch => {
                let found = self.touch_for_frame(operation);
                put_done(self.reply, if found { Status::Done } else { Status::Missing })
            }
            Code::Delete => {
                let deleted = self.owner.delete(self.pin, &Delete::new(operation.key.bytes()), self.now)?;
                put_done(self.reply, if deleted == Deleted::Done { Status::Done } else { Status::Missing })
            }
            Code::Incr | Code::Decr => self.count_for_frame(operation),
            Code::Set | Code::Add | Code::Replace | Code::Cas | Code::Append | Code::Prepend => {
                self.store_for_frame(operation)
            }
        }
    }

    fn read_for_frame(&mut self, operation: &Operation<'_>) -> Result<(), Stop> {
        let found = self.owner.find(operation.key.bytes(), self.now);
        match &found {
            Some(Found { item, .. }) => put_item(self.reply, item),
            None => put_done(self.reply, Status::Missing)?,
        }
        if self.reply.overflown() {
            return Err(Stop::OnRoom);
        }
        self.read = Some(SettledRead::of(found.as_ref(), true));
        Ok(())
    }

    fn touch_for_frame(&mut self, operation: &Operation<'_>) -> bool {
        let due_ms = due_ms(operation.expiry(), self.now);
        self.owner.touch(operation.key.bytes(), due_ms, operation.code == Code::Touch, self.now)
    }

    fn count_for_frame(&mut self, operation: &Operation<'_>) -> Result<(), Stop> {
        let count = Count::new(operation.key.bytes(), operation.code == Code::Incr, operation.number);
        match self.owner.count(self.pin, &count, self.now)? {
            Some(counted) => {
                let number = counted.number.to_be_bytes();
                self.reply.put_result(Status::Number, 0, counted.item.cas(), &number);
                Ok(())
            }
            None => put_done(self.reply, Status::Missing),
        }
    }

    fn store_for_frame(&mut self, operation: &Operation<'_>) -> Result<(), Stop> {
        let mode = operation.code.mode().expect("a code that stores");
        let store = Store {
            flags: operation.client_flags,
            due_ms: due_ms(operation.expiry(), self.now),
            compare_cas: (operation.code == Code::Cas).then_some(operation.number),
            ..Store::new(mode_of(mode), operation.key.bytes(), operation.value)
        };
        let stored = self.owner.store(self.pin, &store, self.now)?;
        let status = match stored.outcome {
            Outcome::Stored => Status::Done,
            Outcome::NotStored => Status::NotStored,
            Outcome::Exists => Status::Exists,
            Outcome::NotFound => Status::Missing,
        };
        self.reply.put_result(status, 0, stored.item.map_or(0, |item| item.cas()), b"");
        Ok(())
    }
}

fn put_done(reply: &mut Reply<'_>, status: Status) -> Result<(), Stop> {
    reply.put_result(status, 0, 0, b"");
    Ok(())
}
