//! Clients over connections: pipelines, long values, slow reading and writing, resets and half closes, anywhere in a command.

use super::{Request, World, name};
use crate::history::Asked;
use sherwood::net::sim::{Link, StreamFaults};
use sherwood::net::{PeerAddr, StreamPeer};
use std::collections::VecDeque;
use std::net::SocketAddr;

pub const STREAM_CLIENTS: usize = 6;
/// Connections that the server lets in: fewer than clients want.
pub const CONNECTIONS_MAX: usize = STREAM_CLIENTS - 1;

pub const FAULTS: StreamFaults =
    StreamFaults { cut_percent: 30, late_percent: 20, short_percent: 20, socket_bytes: 40_000 };

const PIPELINED_MAX: usize = 12;
const TURNED_AWAY: &[u8] = b"ERROR Too many open connections\r\n";

/// One client.
#[derive(Default)]
pub struct StreamClient {
    link: Option<Link>,
    /// What it will write.
    outgoing: VecDeque<u8>,
    incoming: Vec<u8>,
    pending: VecDeque<Pending>,
    /// Bytes of its commands on this connection, and those of them that it has written.
    queued: usize,
    written: usize,
    /// It does not read before this step.
    stalled_until: u64,
    is_ending: bool,
    has_ended: bool,
}

/// A command that is not answered yet.
struct Pending {
    request: Request,
    form: Form,
    /// Where it ends in the bytes of its connection.
    end: usize,
}

/// How its reply can be told from the next one.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Form {
    Line,
    Classic,
    Meta,
}

impl Form {
    fn of(command: &[u8]) -> Form {
        match command {
            [b'g', b'e', b't', ..] => Form::Classic,
            [b'm', b'g', ..] => Form::Meta,
            _ => Form::Line,
        }
    }

    /// Bytes of the reply that `bytes` begin with, if all of it is there.
    fn reply_bytes(self, bytes: &[u8]) -> Option<usize> {
        let mut at = 0;
        loop {
            let line_bytes = bytes[at..].iter().position(|&byte| byte == b'\n')? + 1;
            let line = std::str::from_utf8(&bytes[at..at + line_bytes]).expect("text").trim_end();
            at += line_bytes;
            let words: Vec<&str> = line.split(' ').collect();
            match (self, words[0]) {
                (Form::Classic, "VALUE") => at += words[3].parse::<usize>().expect("a length") + 2,
                (Form::Meta, "VA") => at += words[1].parse::<usize>().expect("a length") + 2,
                _ => return (at <= bytes.len()).then_some(at),
            }
            if at > bytes.len() {
                return None;
            }
            if self == Form::Meta {
                return Some(at);
            }
        }
    }
}

impl World {
    /// One of the clients over connections does something.
    pub fn step_stream(&mut self) {
        let client = self.random.below(STREAM_CLIENTS as u64) as usize;
        if self.streams[client].link.is_none() {
            return self.connect(client);
        }
        match self.random.below(400) {
            0 => self.reset_stream(client),
            1..4 => self.streams[client].is_ending = true,
            4..8 => self.streams[client].stalled_until = self.step + self.random.below(500),
            8..120 => self.ask_over_stream(client),
            _ => self.write_stream(client),
        }
    }

    fn connect(&mut self, client: usize) {
        let wire = self.random.below(self.wires.len() as u64) as usize;
        let inet = PeerAddr::from(SocketAddr::from(([127, 0, 0, 1], 50_000 + client as u16)));
        let peer = if self.random.chance(30) { StreamPeer::Unix } else { StreamPeer::Inet(inet) };
        let link = Some(self.wires[wire].connect(peer));
        self.streams[client] = StreamClient { link, ..StreamClient::default() };
    }

    fn reset_stream(&mut self, client: usize) {
        self.streams[client].link.as_ref().expect("it is connected").reset();
        self.tally.resets += 1;
        self.leave(client);
    }

    /// A connection is over: what was asked may have happened, or may yet happen.
    fn leave(&mut self, client: usize) {
        let left = std::mem::take(&mut self.streams[client]);
        for pending in &left.pending {
            self.tally.unanswered += 1;
            self.forget(&pending.request);
        }
    }

    /// Puts a few commands into what a client will write.
    fn ask_over_stream(&mut self, client: usize) {
        if self.streams[client].is_ending {
            return;
        }
        for _ in 0..=self.random.below(4) {
            if self.streams[client].pending.len() >= PIPELINED_MAX {
                return;
            }
            let (parts, text, clears) = if self.random.chance(25) { self.draw_long() } else { self.draw() };
            for &(_, asked) in &parts {
                if let Asked::Set(value) = asked {
                    self.lives[value as usize].once = true;
                }
            }
            let (invoked, invoked_ms) = (self.step, self.clock.now().ms());
            let request = Request { id: 0, parts, clears, invoked, invoked_ms, copies: 1 };
            let of_client = &mut self.streams[client];
            of_client.queued += text.len();
            let (form, end) = (Form::of(&text), of_client.queued);
            of_client.pending.push_back(Pending { request, form, end });
            of_client.outgoing.extend(text);
        }
    }

    /// A command on one of the keys that have long values.
    fn draw_long(&mut self) -> (Vec<(u64, Asked)>, Vec<u8>, bool) {
        let key = self.scene.keys + self.random.below(self.scene.long_keys);
        let name = name(key);
        let (asked, text) = match self.random.below(10) {
            0..4 => {
                let unique = self.new_value(0, true);
                let value = self.value(unique);
                self.tally.long_values += 1;
                let line = match self.random.chance(50) {
                    true => format!("set {name} 0 0 {}", value.len()),
                    false => format!("ms {name} {}", value.len()),
                };
                (Asked::Set(unique), format!("{line}\r\n{value}\r\n"))
            }
            4 => (Asked::Delete, format!("delete {name}\r\n")),
            5 => (Asked::Get, format!("mg {name} v\r\n")),
            _ => (Asked::Get, format!("get {name}\r\n")),
        };
        (vec![(key, asked)], text.into_bytes(), false)
    }

    /// A client writes some of what it has to, or all, and ends behind that, perhaps in the middle of a command.
    fn write_stream(&mut self, client: usize) {
        let (is_part, share) = (self.random.chance(60), self.random.below(1_000) as usize);
        let of_client = &mut self.streams[client];
        let Some(link) = of_client.link.as_ref().filter(|_| !of_client.has_ended) else { return };
        let all = of_client.outgoing.len();
        let bytes = if is_part { all * share / 1_000 } else { all };
        let part: Vec<u8> = of_client.outgoing.drain(..bytes).collect();
        link.write(&part);
        of_client.written += bytes;
        if of_client.is_ending {
            link.end();
            of_client.has_ended = true;
        }
    }

    /// Clients read what has come, and see whether their connections are over.
    pub fn deliver_streams(&mut self) {
        for client in 0..STREAM_CLIENTS {
            let bytes_max =
                if self.random.chance(50) { usize::MAX } else { self.random.below(3_000) as usize };
            let of_client = &mut self.streams[client];
            if of_client.stalled_until > self.step {
                continue;
            }
            let Some(link) = &of_client.link else { continue };
            of_client.incoming.extend(link.read(bytes_max));
            let is_over = link.is_over();
            if of_client.incoming.starts_with(TURNED_AWAY) {
                // Nothing that was written has happened.
                assert_eq!(of_client.incoming, TURNED_AWAY);
                if is_over {
                    *of_client = StreamClient::default();
                    self.tally.turned_away += 1;
                }
                continue;
            }
            self.take_replies(client);
            if is_over {
                self.is_right_to_end(client);
                self.leave(client);
            }
        }
    }

    fn take_replies(&mut self, client: usize) {
        loop {
            let of_client = &mut self.streams[client];
            let Some(pending) = of_client.pending.front() else { break };
            let Some(bytes) = pending.form.reply_bytes(&of_client.incoming) else { break };
            let reply: Vec<u8> = of_client.incoming.drain(..bytes).collect();
            assert!(!reply.starts_with(b"SERVER_ERROR busy"), "a stream waits instead");
            // A long value is refused when its line is there.
            let is_early = pending.end > of_client.written;
            assert!(
                !is_early || reply.starts_with(b"SERVER_ERROR"),
                "an answer before its command was there"
            );
            let pending = of_client.pending.pop_front().expect("just seen");
            self.tally.over_streams += 1;
            self.answer(&pending.request, &reply);
        }
    }

    /// The server hangs up behind the last command that was whole, when no more comes.
    fn is_right_to_end(&mut self, client: usize) {
        let of_client = &self.streams[client];
        assert!(of_client.has_ended, "it was hung up on");
        assert!(
            of_client.incoming.is_empty(),
            "what answers nothing: {:?}",
            of_client.incoming.escape_ascii().to_string()
        );
        let unanswered = of_client.pending.iter().filter(|pending| pending.end <= of_client.written).count();
        assert_eq!(unanswered, 0, "commands without an answer");
        self.tally.ended += 1;
    }

    /// All clients write the rest, read, and end.
    pub fn end_streams(&mut self) {
        for client in &mut self.streams {
            let Some(link) = &client.link else { continue };
            if !client.has_ended {
                link.write(client.outgoing.make_contiguous());
                client.written += client.outgoing.len();
                client.outgoing.clear();
                link.end();
            }
            (client.is_ending, client.has_ended, client.stalled_until) = (true, true, 0);
        }
    }

    pub fn streams_are_over(&self) -> bool {
        self.streams.iter().all(|client| client.link.is_none())
            && self.wires.iter().all(|wire| wire.streams().open == 0)
    }

    /// Of connections that are over the server keeps nothing.
    pub fn nothing_is_left_of_streams(&self) {
        for (index, worker) in self.workers.iter().enumerate() {
            let left = self.wires[index].streams();
            assert_eq!(
                (left.open, left.held_buffers, left.unsent_bytes),
                (0, 0, 0),
                "worker {index}: {left:?}"
            );
            assert_eq!(worker.counters().curr_connections.get(), 0, "worker {index}");
            let of_owner = &self.owners[index];
            let unfinished = (of_owner.unfinished_items.get(), of_owner.unfinished_bytes.get());
            assert_eq!(unfinished, (0, 0), "worker {index}");
        }
    }
}
