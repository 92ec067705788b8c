//! A provided-buffer ring (`io_uring_register(2)`, IORING_REGISTER_PBUF_RING): the kernel takes a buffer for what it receives; we
//! give it back in a later poll.
//!
//! ```text
//! region  │ ring: entries of 16 bytes, one page │ buffer 0 │ buffer 1 │ … │ the next group's ring │ …
//! ```

use crate::limits::{RECEIVE_BUFFER_BYTES, RECEIVE_BUFFERS, STREAM_BUFFER_BYTES, STREAM_BUFFERS};
use io_uring::IoUring;
use io_uring::types::BufRingEntry;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU16, Ordering};

const RING_BYTES: usize = 4096;

/// A group of buffers: how the kernel names it, and what it has.
#[derive(Clone, Copy, Debug)]
pub(super) struct Group {
    pub(super) number: u16,
    buffers: usize,
    buffer_bytes: usize,
    /// Where its ring begins in the region.
    start: usize,
}

impl Group {
    /// For trains of datagrams.
    pub(super) const DATAGRAMS: Group =
        Group { number: 0, buffers: RECEIVE_BUFFERS, buffer_bytes: RECEIVE_BUFFER_BYTES, start: 0 };
    /// For streams.
    pub(super) const STREAMS: Group = Group {
        number: 1,
        buffers: STREAM_BUFFERS,
        buffer_bytes: STREAM_BUFFER_BYTES,
        start: Group::DATAGRAMS.end().next_multiple_of(RING_BYTES),
    };

    /// Where its memory ends in the region, in bytes.
    pub(super) const fn end(&self) -> usize {
        self.start + RING_BYTES + self.buffers * self.buffer_bytes
    }
}

const _: () = assert!(RECEIVE_BUFFERS * size_of::<BufRingEntry>() <= RING_BYTES);
const _: () = assert!(STREAM_BUFFERS * size_of::<BufRingEntry>() <= RING_BYTES);

/// The buffers of one group of a port.
pub(super) struct Buffers {
    memory: Arc<numa::Region>,
    group: Group,
    tail: u16,
    /// Buffers that the kernel may have again.
    returned: Vec<u16>,
}

impl Buffers {
    /// Registers the ring of a group with all buffers in it.
    pub(super) fn register(ring: &IoUring, memory: Arc<numa::Region>, group: Group) -> io::Result<Buffers> {
        assert!(memory.bytes() >= group.end(), "the region was made for the buffers");
        let mut buffers = Buffers { memory, group, tail: 0, returned: Vec::with_capacity(group.buffers) };
        // SAFETY: the ring is page-aligned (a group begins at a page of the mapping), its entries fit its page, and the region
        // lives as long as `self`, which the port drops after the io_uring.
        unsafe {
            let address = buffers.ring() as u64;
            ring.submitter().register_buf_ring_with_flags(address, group.buffers as u16, group.number, 0)?;
        }
        buffers.returned.extend(0..group.buffers as u16);
        buffers.give_back();
        Ok(buffers)
    }

    fn ring(&self) -> *mut BufRingEntry {
        self.memory.as_ptr().wrapping_add(self.group.start).cast()
    }

    fn start_of(&self, buffer: u16) -> usize {
        self.group.start + RING_BYTES + buffer as usize * self.group.buffer_bytes
    }

    /// What the kernel filled this buffer with is not needed any more: it may have it again with the next
    /// [`Buffers::give_back`].
    pub(super) fn release(&mut self, buffer: u16) {
        self.returned.push(buffer);
    }

    /// Gives all released buffers to the kernel.
    pub(super) fn give_back(&mut self) {
        if self.returned.is_empty() {
            return;
        }
        let (ring, mask) = (self.ring(), self.group.buffers as u16 - 1);
        for index in 0..self.returned.len() {
            let buffer = self.returned[index];
            let start = self.start_of(buffer);
            // SAFETY: the entry is inside the ring's page; the kernel does not read it before the tail passes it. Its
            // fields are written one by one, because the first entry shares its last two bytes with the tail.
            let entry = unsafe { &mut *ring.add((self.tail & mask) as usize) };
            entry.set_addr(self.memory.as_ptr() as u64 + start as u64);
            entry.set_len(self.group.buffer_bytes as u32);
            entry.set_bid(buffer);
            self.tail = self.tail.wrapping_add(1);
        }
        self.returned.clear();
        // SAFETY: `ring` is the address of the first entry of the registered ring, 16-bit aligned.
        let tail = unsafe { &*BufRingEntry::tail(ring).cast::<AtomicU16>() };
        // Release: the kernel sees the entries before the tail that covers them (its smp_load_acquire is the partner).
        tail.store(self.tail, Ordering::Release);
    }

    /// The bytes of a buffer.
    #[inline]
    pub(super) fn bytes(&self, buffer: u16) -> &[u8] {
        assert!((buffer as usize) < self.group.buffers);
        // SAFETY: inside the region (asserted at registration); the kernel writes into a buffer only between
        // `give_back` and the completion that names it, and callers look at it only after that and before they release it.
        unsafe {
            std::slice::from_raw_parts(
                self.memory.as_ptr().add(self.start_of(buffer)),
                self.group.buffer_bytes,
            )
        }
    }
}
