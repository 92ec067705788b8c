//! Replies of one tick to connections. Each connection's go as one send.
//!
//! ```text
//! memory  │ A: 300 │ B: 50 │ A: 120 │
//! sends   A: 300 + 120 · B: 50
//! ```
//! A reply is written in place, into room that the outbox lends. What a connection gets of one tick may lie in several pieces;
//! neighbours are one.

use crate::limits::{REPLY_BODY_BYTES_MAX, STREAM_OUTBOX_BYTES};
use crate::net::stream::ConnectionId;

/// Replies that wait to be sent.
pub struct StreamOutbox {
    memory: Box<[u8]>,
    used: usize,
    /// Bytes of the room that it lends.
    room_bytes: usize,
    sends: Vec<Send>,
    pieces: Vec<Piece>,
    /// By place: the send of a connection, one more than its index; 0 = none.
    send_of: Vec<u32>,
    /// Replies in memory of their own.
    long: Vec<(ConnectionId, Vec<u8>)>,
}

/// What one connection gets.
#[derive(Clone, Copy, Debug)]
pub struct Send {
    /// Who gets it.
    pub id: ConnectionId,
    /// How many bytes it has.
    pub bytes: usize,
    /// How many pieces it lies in.
    pub pieces: usize,
    first: u32,
    last: u32,
}

#[derive(Clone, Copy, Debug)]
struct Piece {
    start: u32,
    bytes: u32,
    /// Index of the next piece of the same send; its own for none.
    next: u32,
}

impl Default for StreamOutbox {
    /// Memory is address space until it is used.
    fn default() -> StreamOutbox {
        StreamOutbox {
            memory: vec![0; STREAM_OUTBOX_BYTES].into_boxed_slice(),
            used: 0,
            room_bytes: REPLY_BODY_BYTES_MAX,
            sends: Vec::new(),
            pieces: Vec::new(),
            send_of: Vec::new(),
            long: Vec::new(),
        }
    }
}

impl StreamOutbox {
    /// Whether a reply of any length but that of the longest values still fits; if not, it is time to send.
    #[inline]
    pub fn has_room(&self) -> bool {
        self.memory.len() - self.used >= REPLY_BODY_BYTES_MAX
    }

    /// Room for one reply; call [`StreamOutbox::commit`] with what was used of it.
    ///
    /// # Panics
    /// When there is no room, see [`StreamOutbox::has_room`].
    #[inline]
    pub fn room(&mut self) -> &mut [u8] {
        &mut self.memory[self.used..][..self.room_bytes]
    }

    /// Lends rooms of so many bytes from now on, at most those of the longest reply.
    pub fn lend(&mut self, room_bytes: usize) {
        self.room_bytes = room_bytes.min(REPLY_BODY_BYTES_MAX);
    }

    /// Bytes that wait for a connection.
    pub fn bytes_for(&self, id: ConnectionId) -> usize {
        let send = self.send_of.get(id.place as usize).and_then(|&send| (send as usize).checked_sub(1));
        send.map(|send| &self.sends[send]).filter(|send| send.id == id).map_or(0, |send| send.bytes)
    }

    /// The first `bytes` of the room go to a connection, behind what it gets already.
    #[inline]
    pub fn commit(&mut self, id: ConnectionId, bytes: usize) {
        if bytes == 0 {
            return;
        }
        let start = self.used as u32;
        self.used += bytes;
        let place = id.place as usize;
        if place >= self.send_of.len() {
            self.send_of.resize(place + 1, 0);
        }
        match (self.send_of[place] as usize).checked_sub(1) {
            Some(send) if self.sends[send].id == id => self.go_on(send, start, bytes),
            // The place may have had another connection in this tick.
            _ => self.begin(id, start, bytes),
        }
    }

    fn begin(&mut self, id: ConnectionId, start: u32, bytes: usize) {
        let piece = self.pieces.len() as u32;
        self.pieces.push(Piece { start, bytes: bytes as u32, next: piece });
        self.sends.push(Send { id, bytes, pieces: 1, first: piece, last: piece });
        self.send_of[id.place as usize] = self.sends.len() as u32;
    }

    fn go_on(&mut self, send: usize, start: u32, bytes: usize) {
        let send = &mut self.sends[send];
        send.bytes += bytes;
        let last = &mut self.pieces[send.last as usize];
        if last.start + last.bytes == start {
            last.bytes += bytes as u32;
            return;
        }
        let piece = self.pieces.len() as u32;
        self.pieces[send.last as usize].next = piece;
        self.pieces.push(Piece { start, bytes: bytes as u32, next: piece });
        (send.last, send.pieces) = (piece, send.pieces + 1);
    }

    /// A reply that was written elsewhere goes to a connection, which gets nothing else in this tick.
    pub fn send_long(&mut self, id: ConnectionId, reply: Vec<u8>) {
        self.long.push((id, reply));
    }

    /// Copies a reply that was written elsewhere. A short one is taken also where there is no room for any ([`StreamOutbox::has_room`]).
    pub fn send(&mut self, id: ConnectionId, reply: &[u8]) {
        match self.memory[self.used..].get_mut(..reply.len()) {
            Some(room) => {
                room.copy_from_slice(reply);
                self.commit(id, reply.len());
            }
            None => self.send_long(id, reply.to_vec()),
        }
    }

    /// Whether something waits for a connection.
    pub fn has_any_for(&self, id: ConnectionId) -> bool {
        self.bytes_for(id) > 0
    }

    /// Whether nothing waits.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.sends.is_empty() && self.long.is_empty()
    }

    /// What there is to send, in the order in which connections got their first reply.
    #[inline]
    pub fn sends(&self) -> &[Send] {
        &self.sends
    }

    /// The pieces of a send.
    #[inline]
    pub fn pieces(&self, send: &Send) -> impl Iterator<Item = &[u8]> {
        let mut at = Some(send.first);
        std::iter::from_fn(move || {
            let index = at?;
            let piece = &self.pieces[index as usize];
            at = (piece.next != index).then_some(piece.next);
            Some(&self.memory[piece.start as usize..][..piece.bytes as usize])
        })
    }

    /// Takes the replies in memory of their own.
    pub fn take_long(&mut self) -> Vec<(ConnectionId, Vec<u8>)> {
        std::mem::take(&mut self.long)
    }

    /// Forgets what was sent.
    pub fn clear(&mut self) {
        for send in self.sends.drain(..) {
            self.send_of[send.id.place as usize] = 0;
        }
        self.pieces.clear();
        self.used = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(place: u32) -> ConnectionId {
        ConnectionId { place, turn: 0 }
    }

    fn sent(outbox: &StreamOutbox) -> Vec<(u32, usize, Vec<u8>)> {
        let all = outbox.sends().iter();
        all.map(|send| (send.id.place, send.pieces, outbox.pieces(send).flatten().copied().collect()))
            .collect()
    }

    #[test]
    fn what_a_connection_gets_is_one_send_in_order() {
        let mut outbox = StreamOutbox::default();
        for (place, reply) in [(7, "a"), (7, "b"), (2, "c"), (7, "d"), (7, "e"), (2, "")] {
            outbox.send(id(place), reply.as_bytes());
        }
        assert_eq!(sent(&outbox), [(7, 2, b"abde".to_vec()), (2, 1, b"c".to_vec())]);
        outbox.clear();
        assert!(outbox.is_empty() && outbox.has_room());
        outbox.send(id(2), b"f");
        assert_eq!(sent(&outbox), [(2, 1, b"f".to_vec())]);
    }

    #[test]
    fn room_ends_before_the_memory_does() {
        let mut outbox = StreamOutbox::default();
        let mut replies = 0;
        while outbox.has_room() {
            outbox.room()[REPLY_BODY_BYTES_MAX - 1] = 1;
            outbox.commit(id(0), REPLY_BODY_BYTES_MAX);
            replies += 1;
        }
        assert_eq!((replies, outbox.sends()[0].pieces), (STREAM_OUTBOX_BYTES / REPLY_BODY_BYTES_MAX, 1));
        outbox.send(id(1), b"short");
        assert_eq!(sent(&outbox)[1], (1, 1, b"short".to_vec()));
        outbox.send(id(2), &[7; REPLY_BODY_BYTES_MAX]);
        assert_eq!(outbox.take_long(), [(id(2), vec![7; REPLY_BODY_BYTES_MAX])]);
    }
}
