//! Operations of batch frames that the owner executes: the same stores, counts and touches as memcached's commands, with
//! results instead of lines.

use crate::clock::Now;
use crate::protocol::Reply;
use crate::protocol::batch::{Code, Operation, Status};
use crate::shard::execute::{Change, Outcome, StoreTerms};
use crate::shard::owner::{Owner, SettledRead, Wait, deadline_ms};
use crate::shard::read::put_item;

impl Owner {
    /// Executes one operation and writes its result.
    ///
    /// # Errors
    /// [`Wait`]; nothing has changed then.
    pub fn operate(
        &mut self,
        operation: &Operation<'_>,
        now: Now,
        reply: &mut Reply<'_>,
    ) -> Result<(), Wait> {
        self.settled_read = None;
        match operation.code {
            Code::Get => self.read_for_frame(operation, now, reply)?,
            Code::GetAndTouch => {
                self.read_for_frame(operation, now, reply)?;
                self.touch_for_frame(operation, now);
            }
            Code::Touch => {
                let found = self.touch_for_frame(operation, now);
                put_done(reply, if found { Status::Done } else { Status::Missing });
            }
            Code::Delete => {
                let found = self.delete_key(operation.key.bytes(), now)?;
                put_done(reply, if found { Status::Done } else { Status::Missing });
            }
            Code::Incr | Code::Decr => self.count_for_frame(operation, now, reply)?,
            Code::Set | Code::Add | Code::Replace | Code::Cas | Code::Append | Code::Prepend => {
                self.store_for_frame(operation, now, reply)?;
            }
        }
        Ok(())
    }

    fn read_for_frame(
        &mut self,
        operation: &Operation<'_>,
        now: Now,
        reply: &mut Reply<'_>,
    ) -> Result<(), Wait> {
        let key = operation.key.bytes();
        let hash = self.shards().hash(key);
        let found = self.find(hash, key, now);
        match &found {
            Some((_, item)) => put_item(reply, item),
            None => put_done(reply, Status::Missing),
        }
        if reply.overflown() {
            return Err(Wait::ForRoom);
        }
        self.settled_read = Some(SettledRead::of(hash, found.map(|(at, _)| at), true));
        Ok(())
    }

    fn touch_for_frame(&mut self, operation: &Operation<'_>, now: Now) -> bool {
        let key = operation.key.bytes();
        let hash = self.shards().hash(key);
        self.counters.cmd_touch.add(1);
        let is_use = operation.code == Code::Touch;
        if is_use && let Some((_, item)) = self.find(hash, key, now) {
            item.note_access(now.s(), true);
        }
        self.touch_item(hash, key, deadline_ms(operation.expiry(), now), is_use, now)
    }

    fn count_for_frame(
        &mut self,
        operation: &Operation<'_>,
        now: Now,
        reply: &mut Reply<'_>,
    ) -> Result<(), Wait> {
        let (key, up) = (operation.key.bytes(), operation.code == Code::Incr);
        let hash = self.shards().hash(key);
        let counted = self.count_item(hash, key, up, operation.number, Change::default(), now)?;
        self.note_arithmetic(up, counted.is_some());
        match counted {
            Some((number, at)) => {
                let cas = self.items().get(at).cas();
                reply.put_result(Status::Number, 0, cas, &number.to_be_bytes());
            }
            None => put_done(reply, Status::Missing),
        }
        Ok(())
    }

    fn store_for_frame(
        &mut self,
        operation: &Operation<'_>,
        now: Now,
        reply: &mut Reply<'_>,
    ) -> Result<(), Wait> {
        let terms = StoreTerms {
            mode: operation.code.mode().expect("a code that stores"),
            key: operation.key.bytes(),
            flags: operation.client_flags,
            expiry: operation.expiry(),
            compare_cas: (operation.code == Code::Cas).then_some(operation.number),
            new_cas: None,
            invalidate: false,
            value: operation.value,
        };
        let (outcome, at) = self.store_terms(&terms, now)?;
        let status = match outcome {
            Outcome::Stored => Status::Done,
            Outcome::NotStored => Status::NotStored,
            Outcome::Exists => Status::Exists,
            Outcome::NotFound => Status::Missing,
        };
        let cas = at.map_or(0, |at| self.items().get(at).cas());
        reply.put_result(status, 0, cas, b"");
        Ok(())
    }
}

fn put_done(reply: &mut Reply<'_>, status: Status) {
    reply.put_result(status, 0, 0, b"");
}
