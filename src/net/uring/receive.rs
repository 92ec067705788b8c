//! Multishot receive: one submission, many completions, each a train in a buffer
//! (`io_uring_prep_recvmsg_multishot(3)`: a small header, the name, the control data, then the payload).

use crate::net::PeerAddr;
use crate::net::socket::headers::{Ancillary, CONTROL_BYTES};
use io_uring::types::RecvMsgOut;
use std::ops::Range;

/// The receive that is armed, and the header that it was armed with.
pub(super) struct Receiver {
    header: Box<libc::msghdr>,
    /// Whether the kernel still produces completions from the last submission.
    pub(super) armed: bool,
}

/// A train as it lies in its buffer.
pub(super) struct Message {
    pub(super) peer: PeerAddr,
    pub(super) ancillary: Ancillary,
    pub(super) payload: Range<usize>,
}

impl Receiver {
    pub(super) fn new() -> Receiver {
        // SAFETY: all-zero bytes are a valid msghdr: null pointers and zero lengths.
        let mut header: libc::msghdr = unsafe { std::mem::zeroed() };
        // Multishot uses the two lengths only: the data goes into the buffer itself.
        header.msg_namelen = PeerAddr::BYTES_MAX as u32;
        header.msg_controllen = CONTROL_BYTES as _;
        Receiver { header: Box::new(header), armed: false }
    }

    pub(super) fn header(&self) -> *const libc::msghdr {
        &raw const *self.header
    }

    /// The message of a completion that says `result` bytes; `None` if it is cut off or from nowhere.
    pub(super) fn parse(&self, buffer: &[u8], result: i32) -> Option<Message> {
        let filled = buffer.get(..usize::try_from(result).ok()?)?;
        let out = RecvMsgOut::parse(filled, &self.header).ok()?;
        if out.is_payload_truncated() || out.is_name_data_truncated() {
            return None;
        }
        let peer = PeerAddr::from_raw(out.name_data())?;
        let ancillary = Ancillary::parse(out.control_data());
        let start = out.payload_data().as_ptr().addr() - buffer.as_ptr().addr();
        Some(Message { peer, ancillary, payload: start..start + out.payload_data().len() })
    }
}
