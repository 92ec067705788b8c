//! The cheapest possible server of streams: answers every pipelined command without looking anything up. It bounds what any
//! server can do over TCP with one thread, since none does less.
//!
//! ```text
//! cargo run --release --example stream_echo -- 127.0.0.1:22500 &         # every key of a get hits, with 100 bytes
//! sherwood load --target 127.0.0.1:22500 --transport tcp --mix get:1 --connections 8 --window 32 --cpus 1
//! ```
//! A tick: wait for completions, frame what came by its line ends, one send a connection. io_uring with one issuer and deferred
//! task work, multishot accepts into its own table of files, multishot receives into provided buffers.
//! `get` is answered with a value for each key and `END`, any other line with `STORED`; of `set` the value is passed over.
//! It trusts its clients: no line is checked, and a client that does not read makes it keep what it has not read.

#![allow(unsafe_code)]

use io_uring::types::{BufRingEntry, Fixed};
use io_uring::{IoUring, cqueue, opcode, squeue};
use memchr::{memchr, memchr_iter, memrchr};
use nix::sys::socket::{setsockopt, sockopt};
use std::alloc::{Layout, alloc_zeroed};
use std::io;
use std::net::TcpListener;
use std::os::fd::AsRawFd;
use std::sync::atomic::{AtomicU16, Ordering};

const BUFFERS: u16 = 256;
const BUFFER_BYTES: usize = 16 << 10;
const RING_BYTES: usize = 4096;
const GROUP: u16 = 0;
const CONNECTIONS_MAX: u32 = 16_384;

const ACCEPT: u64 = 0;
const RECEIVE: u64 = 1;
const SEND: u64 = 2;
const CLOSE: u64 = 3;

const ENOBUFS: i32 = nix::errno::Errno::ENOBUFS as i32;

type Failure = Box<dyn std::error::Error>;

fn main() -> Result<(), Failure> {
    let mut arguments = std::env::args().skip(1);
    let address = arguments.next().ok_or("usage: stream_echo ADDR:PORT [VALUE_BYTES]")?;
    let value = arguments.next().map_or(Ok(100), |bytes| bytes.parse())?;
    let listener = TcpListener::bind(address)?;
    // Accepted connections have it from the listener.
    setsockopt(&listener, sockopt::TcpNoDelay, &true)?;
    Echo::new(listener, value)?.run()
}

/// The server.
struct Echo {
    ring: IoUring,
    listener: TcpListener,
    buffers: Buffers,
    connections: Vec<Connection>,
    /// Connections that have something to send.
    dirty: Vec<u32>,
    /// What stands behind a key in a reply.
    value: Vec<u8>,
}

impl Echo {
    fn new(listener: TcpListener, value: usize) -> Result<Echo, Failure> {
        let ring = IoUring::builder()
            .setup_single_issuer()
            .setup_defer_taskrun()
            .setup_cqsize(32_768)
            .build(8_192)?;
        ring.submitter().register_files_sparse(CONNECTIONS_MAX)?;
        let buffers = Buffers::register(&ring)?;
        let connections = (0..CONNECTIONS_MAX).map(|_| Connection::default()).collect();
        let value = [format!(" 0 {value}\r\n").as_bytes(), &vec![b'v'; value], b"\r\n"].concat();
        Ok(Echo { ring, listener, buffers, connections, dirty: Vec::new(), value })
    }

    fn run(&mut self) -> Result<(), Failure> {
        self.accept()?;
        let mut completions = Vec::with_capacity(32_768);
        loop {
            self.ring.submit_and_wait(1)?;
            completions.extend(self.ring.completion());
            for completion in completions.drain(..) {
                self.complete(&completion)?;
            }
            self.buffers.give_back();
            self.send_all()?;
        }
    }

    fn accept(&mut self) -> io::Result<()> {
        let fd = io_uring::types::Fd(self.listener.as_raw_fd());
        self.push(opcode::AcceptMulti::new(fd).allocate_file_index(true).build().user_data(ACCEPT))
    }

    fn receive(&mut self, index: u32) -> io::Result<()> {
        self.push(opcode::RecvMulti::new(Fixed(index), GROUP).build().user_data(data(RECEIVE, index)))
    }

    fn push(&mut self, entry: squeue::Entry) -> io::Result<()> {
        // SAFETY: what an entry points to (the outbox of a connection) stays as it is until its completion.
        while unsafe { self.ring.submission().push(&entry) }.is_err() {
            self.ring.submit()?;
        }
        Ok(())
    }

    fn complete(&mut self, completion: &cqueue::Entry) -> io::Result<()> {
        let (result, flags) = (completion.result(), completion.flags());
        let index = (completion.user_data() >> 8) as u32;
        match completion.user_data() & 0xff {
            ACCEPT => {
                if !cqueue::more(flags) {
                    self.accept()?;
                }
                if let Ok(index) = u32::try_from(result) {
                    self.connections[index as usize] = Connection::default();
                    self.receive(index)?;
                }
                Ok(())
            }
            RECEIVE => self.received(index, result, flags),
            SEND => self.sent(index, result),
            _ => Ok(()),
        }
    }

    fn received(&mut self, index: u32, result: i32, flags: u32) -> io::Result<()> {
        let connection = &mut self.connections[index as usize];
        if let Some(buffer) = cqueue::buffer_select(flags) {
            let bytes = &self.buffers.bytes(buffer)[..result.max(0) as usize];
            let was_empty = connection.outbox.is_empty();
            connection.take(bytes, &self.value);
            if was_empty && !connection.outbox.is_empty() {
                self.dirty.push(index);
            }
            self.buffers.held.push(buffer);
        }
        // Out of buffers is no reason to close; an end and an error are.
        if result == 0 || (result < 0 && result != -ENOBUFS) {
            connection.is_closing = true;
            return self.close(index);
        }
        if cqueue::more(flags) { Ok(()) } else { self.receive(index) }
    }

    fn sent(&mut self, index: u32, result: i32) -> io::Result<()> {
        let connection = &mut self.connections[index as usize];
        connection.in_flight.clear();
        if result < 0 {
            connection.is_closing = true;
        }
        if connection.is_closing {
            return self.close(index);
        }
        if !connection.outbox.is_empty() {
            self.dirty.push(index);
        }
        Ok(())
    }

    fn close(&mut self, index: u32) -> io::Result<()> {
        let connection = &mut self.connections[index as usize];
        // Its memory is the kernel's until the send is done.
        if !connection.in_flight.is_empty() || connection.is_closed {
            return Ok(());
        }
        connection.is_closed = true;
        self.push(opcode::Close::new(Fixed(index)).build().user_data(data(CLOSE, index)))
    }

    /// One send a connection that has something and whose last one is done.
    fn send_all(&mut self) -> io::Result<()> {
        let mut dirty = std::mem::take(&mut self.dirty);
        for index in dirty.drain(..) {
            let connection = &mut self.connections[index as usize];
            if connection.is_closing || !connection.in_flight.is_empty() {
                continue; // Its completion makes it dirty again.
            }
            std::mem::swap(&mut connection.in_flight, &mut connection.outbox);
            let (bytes, length) = (connection.in_flight.as_ptr(), connection.in_flight.len() as u32);
            // The kernel goes on until all of it is sent.
            let whole = nix::sys::socket::MsgFlags::MSG_WAITALL.bits();
            let send = opcode::Send::new(Fixed(index), bytes, length).flags(whole);
            self.push(send.build().user_data(data(SEND, index)))?;
        }
        self.dirty = dirty;
        Ok(())
    }
}

fn data(what: u64, index: u32) -> u64 {
    what | u64::from(index) << 8
}

/// A connection.
#[derive(Default)]
struct Connection {
    /// A line that is cut.
    rest: Vec<u8>,
    /// Bytes of a value that are still to come.
    skip: usize,
    /// What is to be sent.
    outbox: Vec<u8>,
    /// What is being sent.
    in_flight: Vec<u8>,
    is_closing: bool,
    is_closed: bool,
}

impl Connection {
    /// Answers the lines in these bytes.
    fn take(&mut self, mut bytes: &[u8], value: &[u8]) {
        loop {
            let skipped = self.skip.min(bytes.len());
            self.skip -= skipped;
            bytes = &bytes[skipped..];
            let Some(end) = memchr(b'\n', bytes) else { break };
            let (line, behind) = bytes.split_at(end + 1);
            bytes = behind;
            if self.rest.is_empty() {
                self.skip = answer(line, value, &mut self.outbox);
            } else {
                self.rest.extend_from_slice(line);
                self.skip = answer(&self.rest, value, &mut self.outbox);
                self.rest.clear();
            }
        }
        self.rest.extend_from_slice(bytes);
    }
}

/// Answers a line with its end; how many bytes of a value follow.
fn answer(line: &[u8], value: &[u8], out: &mut Vec<u8>) -> usize {
    let line = &line[..line.len() - 2];
    let Some(keys) = line.strip_prefix(b"get ") else {
        out.extend_from_slice(b"STORED\r\n");
        let length = memrchr(b' ', line).map_or(&b""[..], |space| &line[space + 1..]);
        let number = length.iter().fold(0, |number, digit| number * 10 + usize::from(digit - b'0'));
        return if line.starts_with(b"set ") { number + 2 } else { 0 };
    };
    let mut begin = 0;
    for end in memchr_iter(b' ', keys).chain([keys.len()]) {
        out.extend_from_slice(b"VALUE ");
        out.extend_from_slice(&keys[begin..end]);
        out.extend_from_slice(value);
        begin = end + 1;
    }
    out.extend_from_slice(b"END\r\n");
    0
}

/// Provided buffers: a ring of entries, and the memory behind it.
struct Buffers {
    memory: *mut u8,
    tail: u16,
    held: Vec<u16>,
}

impl Buffers {
    fn register(ring: &IoUring) -> Result<Buffers, Failure> {
        let layout = Layout::from_size_align(RING_BYTES + usize::from(BUFFERS) * BUFFER_BYTES, RING_BYTES)?;
        // SAFETY: the layout is not empty. The memory is never freed.
        let memory = unsafe { alloc_zeroed(layout) };
        if memory.is_null() {
            return Err("no memory for receive buffers".into());
        }
        // SAFETY: page-aligned, and 256 entries of 16 bytes are RING_BYTES.
        unsafe { ring.submitter().register_buf_ring_with_flags(memory as u64, BUFFERS, GROUP, 0)? };
        let mut buffers = Buffers { memory, tail: 0, held: (0..BUFFERS).collect() };
        buffers.give_back();
        Ok(buffers)
    }

    fn bytes(&self, buffer: u16) -> &[u8] {
        // SAFETY: inside the memory, and the kernel's only between `give_back` and the completion that names it.
        unsafe { std::slice::from_raw_parts(self.start(buffer), BUFFER_BYTES) }
    }

    fn start(&self, buffer: u16) -> *mut u8 {
        // SAFETY: inside the memory.
        unsafe { self.memory.add(RING_BYTES + usize::from(buffer) * BUFFER_BYTES) }
    }

    fn give_back(&mut self) {
        let entries: *mut BufRingEntry = self.memory.cast();
        for at in 0..self.held.len() {
            let buffer = self.held[at];
            // SAFETY: inside the ring; the kernel does not read it before the tail passes it.
            let entry = unsafe { &mut *entries.add(usize::from(self.tail & (BUFFERS - 1))) };
            entry.set_addr(self.start(buffer) as u64);
            entry.set_len(BUFFER_BYTES as u32);
            entry.set_bid(buffer);
            self.tail = self.tail.wrapping_add(1);
        }
        self.held.clear();
        // SAFETY: the first entry of the registered ring, whose last two bytes are the tail.
        let tail = unsafe { &*BufRingEntry::tail(entries).cast::<AtomicU16>() };
        // Release: the kernel sees the entries before the tail.
        tail.store(self.tail, Ordering::Release);
    }
}
