//! What a connection has sent and is not done yet: whole commands as they lie in receive buffers, and what was cut, put together.
//!
//! ```text
//! buffers  │ get a ␍␊ set b 0 0 5 ␍␊ he │   │ llo ␍␊ get c ␍␊ │
//! window   ├──────────────────────────┤                          parsed where it lies
//! carry                set b 0 0 5 ␍␊ he  + llo ␍␊              copied to be whole; then the window is the buffer again
//! ```
//! A command is copied only if it was cut. Of a refused value nothing is copied: its bytes are passed over as they come.

use crate::limits::LONG_VALUE_BYTES;
use crate::net::Port;
use crate::session::stream::open_get::is_long_line;
use protocol::binary;
use protocol::request::{Commands, Missing, Parsed};
use std::collections::VecDeque;

/// A part of a receive buffer.
#[derive(Clone, Copy, Debug)]
struct Held {
    buffer: u16,
    at: u32,
    end: u32,
}

/// What was received of one connection.
#[derive(Debug, Default)]
pub struct Input {
    carry: Vec<u8>,
    /// Bytes of the carry that are done.
    done: usize,
    /// Bytes behind those that the carry has to have before it is worth to look for a command in it.
    wanted: usize,
    buffers: VecDeque<Held>,
    /// Bytes of a refused value that are passed over.
    skipped: usize,
    /// The first byte of a connection says which protocol its client speaks, as with memcached.
    speaks_text: bool,
}

/// What can be done with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ready {
    /// The window begins with a command, or with what is wrong.
    Yes,
    /// Nothing, until more comes.
    NotYet,
    /// The window begins with the line of a store whose value is long, and has so many bytes.
    Value(usize),
    /// The window is a line without an end, longer than lines may be.
    LongLine,
    /// The window begins with the header of a request in the retired binary protocol.
    Binary,
}

impl Input {
    /// So many bytes are in a buffer, which is held until they are done.
    pub(crate) fn push(&mut self, buffer: u16, bytes: u32) {
        self.buffers.push_back(Held { buffer, at: 0, end: bytes });
    }

    /// What the window lies in: it is another if this is.
    pub(crate) fn place_of_window(&self) -> (usize, bool) {
        (self.buffers.len(), self.carry.is_empty())
    }

    /// Buffers that are held.
    pub(crate) fn buffers(&self) -> usize {
        self.buffers.len()
    }

    /// Bytes that are kept outside of buffers.
    pub(crate) fn carried(&self) -> usize {
        self.carry.len()
    }

    /// Whether what is kept begins with a command whose line is there, and its value is not.
    pub(crate) fn is_in_value(&self) -> bool {
        self.wanted > self.carry.len() - self.done && !self.lacks_line_end()
    }

    /// What can be parsed next.
    #[inline]
    pub(crate) fn window<'a, P: Port>(&'a self, port: &'a P) -> &'a [u8] {
        if !self.carry.is_empty() {
            return &self.carry[self.done..];
        }
        match self.buffers.front() {
            Some(held) => &port.received(held.buffer, held.end)[held.at as usize..],
            None => &[],
        }
    }

    /// Makes the window begin with a whole command, if there is one.
    pub(crate) fn prepare<P: Port>(&mut self, port: &mut P, value_bytes_max: usize) -> Ready {
        self.pass_over(port);
        if !self.speaks_text
            && let Some(&first) = self.window(port).first()
        {
            if first == binary::REQUEST {
                return self.prepare_binary(port);
            }
            self.speaks_text = true;
        }
        while !self.carry.is_empty() {
            if self.carry.len() - self.done >= self.wanted {
                match self.look(value_bytes_max) {
                    Ready::NotYet => {}
                    ready => return ready,
                }
            }
            if !self.take_more(port) {
                return Ready::NotYet;
            }
        }
        if self.buffers.is_empty() { Ready::NotYet } else { Ready::Yes }
    }

    /// The answer to a binary request names what stands in its header: all of that has to be there.
    #[cold]
    fn prepare_binary<P: Port>(&mut self, port: &mut P) -> Ready {
        while self.window(port).len() < binary::HEADER_BYTES {
            if !self.join_next(port) {
                return Ready::NotYet;
            }
        }
        Ready::Binary
    }

    /// What the carry begins with.
    fn look(&mut self, value_bytes_max: usize) -> Ready {
        let have = &self.carry[self.done..];
        match Commands::new(have, value_bytes_max).of_stream().parse() {
            Some(Parsed::Incomplete { .. }) if is_long_line(have) => Ready::LongLine,
            Some(Parsed::Incomplete { at_least, missing: Missing::LineEnd, .. }) => {
                self.wanted = have.len() + at_least.get();
                Ready::NotYet
            }
            Some(Parsed::Incomplete {
                missing: Missing::RefusedValue | Missing::TooLargeValue(_), ..
            }) => Ready::Yes,
            Some(Parsed::Incomplete { missing: Missing::Value(_, bytes), .. })
                if bytes > LONG_VALUE_BYTES =>
            {
                Ready::Value(bytes)
            }
            Some(Parsed::Incomplete { at_least, missing: Missing::Value(..), .. }) => {
                self.wanted = have.len() + at_least.get();
                Ready::NotYet
            }
            Some(Parsed::Command(_) | Parsed::Wrong(_)) | None => Ready::Yes,
        }
    }

    /// Takes what the carry lacks from the first buffer: up to the end of a line, or of a value.
    fn take_more<P: Port>(&mut self, port: &mut P) -> bool {
        let Some(&Held { buffer, at, end }) = self.buffers.front() else { return false };
        let rest = &port.received(buffer, end)[at as usize..];
        let lacks = self.wanted.saturating_sub(self.carry.len() - self.done).max(1);
        let taken = match self.lacks_line_end() {
            true => memchr::memchr(b'\n', rest).map_or(rest.len(), |found| found + 1),
            false => lacks.min(rest.len()),
        };
        self.carry.extend_from_slice(&rest[..taken]);
        self.advance_buffer(port, taken);
        true
    }

    fn lacks_line_end(&self) -> bool {
        memchr::memchr(b'\n', &self.carry[self.done..]).is_none()
    }

    /// The first `bytes` of the window are done.
    pub(crate) fn advance<P: Port>(&mut self, port: &mut P, bytes: usize) {
        if self.carry.is_empty() {
            return self.advance_buffer(port, bytes);
        }
        self.done += bytes;
        self.wanted = 0;
        if self.done == self.carry.len() {
            // Its memory is given back: most connections never have a command cut, and idle ones keep nothing.
            (self.carry, self.done) = (Vec::new(), 0);
        }
    }

    fn advance_buffer<P: Port>(&mut self, port: &mut P, bytes: usize) {
        let Some(held) = self.buffers.front_mut() else { return };
        held.at += bytes as u32;
        if held.at == held.end {
            port.release(held.buffer);
            self.buffers.pop_front();
        }
    }

    /// The window begins with a command that is not all there: it is put together with what comes.
    pub(crate) fn cut<P: Port>(&mut self, port: &mut P) {
        if !self.carry.is_empty() {
            return;
        }
        if let Some(Held { buffer, at, end }) = self.buffers.pop_front() {
            self.carry.extend_from_slice(&port.received(buffer, end)[at as usize..]);
            port.release(buffer);
            self.wanted = 0;
        }
    }

    /// The window holds nothing but the head of a refused store, of which so many bytes are still to come: all is passed over.
    pub(crate) fn skip<P: Port>(&mut self, port: &mut P, bytes_to_come: usize) {
        let window_bytes = self.window(port).len();
        self.advance(port, window_bytes);
        self.skipped += bytes_to_come;
        self.pass_over(port);
    }

    fn pass_over<P: Port>(&mut self, port: &mut P) {
        while self.skipped > 0 && self.carry.is_empty() && !self.buffers.is_empty() {
            let bytes = self.skipped.min(self.window(port).len());
            self.skipped -= bytes;
            self.advance_buffer(port, bytes);
        }
    }

    /// Puts the next buffer behind what was cut; says whether there is something to look at again.
    pub(crate) fn join_next<P: Port>(&mut self, port: &mut P) -> bool {
        if self.carry.is_empty() {
            // What this brings may not have been looked at.
            self.cut(port);
            return !self.carry.is_empty();
        }
        let Some(Held { buffer, at, end }) = self.buffers.pop_front() else { return false };
        self.carry.extend_from_slice(&port.received(buffer, end)[at as usize..]);
        port.release(buffer);
        true
    }

    /// Copies what is in buffers, and releases these: it will wait for long.
    pub(crate) fn spill<P: Port>(&mut self, port: &mut P) {
        self.pass_over(port);
        while let Some(Held { buffer, at, end }) = self.buffers.pop_front() {
            self.carry.extend_from_slice(&port.received(buffer, end)[at as usize..]);
            port.release(buffer);
        }
    }

    /// Forgets everything.
    pub(crate) fn clear<P: Port>(&mut self, port: &mut P) {
        self.buffers.drain(..).for_each(|held| port.release(held.buffer));
        *self = Input::default();
    }
}
