//! The provided-buffer ring (`io_uring_register(2)`, IORING_REGISTER_PBUF_RING): the kernel takes a buffer for each
//! train that it receives; we give it back in the next poll.
//!
//! ```text
//! region  │ ring: 64 entries of 16 bytes, one page │ buffer 0: 64.5 KiB │ buffer 1 │ …
//! ```

use crate::limits::{RECEIVE_BUFFER_BYTES, RECEIVE_BUFFERS};
use io_uring::IoUring;
use io_uring::types::BufRingEntry;
use std::io;
use std::sync::atomic::{AtomicU16, Ordering};

const RING_BYTES: usize = 4096;

/// The buffers of one port.
pub(super) struct Buffers {
    memory: numa::Region,
    tail: u16,
    /// Buffers whose datagrams are being worked on.
    held: Vec<u16>,
}

impl Buffers {
    /// The group that receives draw from.
    pub(super) const GROUP: u16 = 0;
    /// Bytes of memory that the buffers need.
    pub(super) const MEMORY_BYTES: usize = RING_BYTES + RECEIVE_BUFFERS * RECEIVE_BUFFER_BYTES;

    /// Registers the ring with all buffers in it.
    pub(super) fn register(ring: &IoUring, memory: numa::Region) -> io::Result<Buffers> {
        assert!(memory.bytes() >= Self::MEMORY_BYTES, "the region was made for the buffers");
        let mut buffers = Buffers { memory, tail: 0, held: Vec::with_capacity(RECEIVE_BUFFERS) };
        // SAFETY: the ring is page-aligned (it begins a mapping), 64 × 16 bytes fit its page, and the region lives as
        // long as `self`, which the port drops after the io_uring.
        unsafe {
            let address = buffers.memory.as_ptr() as u64;
            ring.submitter().register_buf_ring_with_flags(address, RECEIVE_BUFFERS as u16, Self::GROUP, 0)?;
        }
        buffers.held.extend(0..RECEIVE_BUFFERS as u16);
        buffers.give_back();
        Ok(buffers)
    }

    /// The kernel filled this buffer; it is ours until [`Buffers::give_back`].
    pub(super) fn hold(&mut self, buffer: u16) {
        self.held.push(buffer);
    }

    /// Gives all held buffers to the kernel.
    pub(super) fn give_back(&mut self) {
        if self.held.is_empty() {
            return;
        }
        let ring: *mut BufRingEntry = self.memory.as_ptr().cast();
        let mask = RECEIVE_BUFFERS as u16 - 1;
        for buffer in self.held.drain(..) {
            let start = RING_BYTES + buffer as usize * RECEIVE_BUFFER_BYTES;
            // SAFETY: the entry is inside the ring's page; the kernel does not read it before the tail passes it. Its
            // fields are written one by one, because the first entry shares its last two bytes with the tail.
            let entry = unsafe { &mut *ring.add((self.tail & mask) as usize) };
            entry.set_addr(self.memory.as_ptr() as u64 + start as u64);
            entry.set_len(RECEIVE_BUFFER_BYTES as u32);
            entry.set_bid(buffer);
            self.tail = self.tail.wrapping_add(1);
        }
        // SAFETY: `ring` is the address of the first entry of the registered ring, 16-bit aligned.
        let tail = unsafe { &*BufRingEntry::tail(ring).cast::<AtomicU16>() };
        // Release: the kernel sees the entries before the tail that covers them (its smp_load_acquire is the partner).
        tail.store(self.tail, Ordering::Release);
    }

    /// The bytes of a buffer.
    pub(super) fn bytes(&self, buffer: u16) -> &[u8] {
        assert!((buffer as usize) < RECEIVE_BUFFERS);
        let start = RING_BYTES + buffer as usize * RECEIVE_BUFFER_BYTES;
        // SAFETY: inside the region (asserted at registration); the kernel writes into a buffer only between
        // `give_back` and the completion that names it, and callers look at it only after that and before the next.
        unsafe { std::slice::from_raw_parts(self.memory.as_ptr().add(start), RECEIVE_BUFFER_BYTES) }
    }
}
