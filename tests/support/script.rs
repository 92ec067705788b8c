//! Conversations as text.
//!
//! ```text
//! # a comment
//! + 30s                 the clock moves
//! @ sequence=1 total=2  the frame of the next request, where it is not 0 of 1
//! > get a               a request: lines of one datagram, each ended with \r\n unless it ends in \
//! < VALUE a 0 1         its reply, written the same way
//! < x
//! < END
//! -                     instead of a reply: silence
//! <18 ERROR             what Debian's memcached 1.6.18 answers, where it differs (all lines of the reply)
//! ~ why                 the next request is not sent to memcached, and why
//! <stream ERROR         what a connection is answered, where that differs (all lines of the reply)
//! ~stream why           the next request is not sent over a connection, and why
//! %                     behind a reply: the connection is closed
//! ```
//! Files whose names begin with `stream` are for connections only. A request whose frame is said is for datagrams only.
//! Escapes: `\xNN \r \n \t \0 \\`. `{x*5000}` is 5000 times x. In a reply `{any}` is some digits, `{=name}` digits that
//! are remembered (and must be the same again), in a request the digits; `{1..9}` is a number in that range.

use std::collections::HashMap;
use std::path::PathBuf;
use std::time::Duration;

/// A step of a conversation.
#[derive(Debug)]
pub enum Step {
    /// The clock moves.
    Advance(Duration),
    /// A request and what comes back.
    Exchange(Box<Exchange>),
}

/// A request and what comes back.
#[derive(Debug, Default)]
pub struct Exchange {
    /// Line of the file, for messages.
    pub line: usize,
    /// Sequence, total and reserved of the frame.
    pub frame: (u16, u16, u16),
    /// The body.
    pub request: Text,
    /// What we answer; `None` is silence.
    pub reply: Option<Text>,
    /// Whether the file says that there is none.
    is_silent: bool,
    /// What memcached answers if not the same.
    pub reply_18: Option<Text>,
    /// Why it is not sent to memcached.
    pub not_memcached: Option<String>,
    /// What a connection is answered if not the same.
    reply_stream: Option<Text>,
    /// Why it is not sent over a connection.
    not_stream: Option<String>,
    /// Whether the connection is closed behind the reply.
    pub closes: bool,
}

/// Bytes with places to fill in.
#[derive(Debug, Default)]
pub struct Text(Vec<Part>);

#[derive(Debug)]
enum Part {
    Bytes(Vec<u8>),
    Digits,
    Name(String),
    Range(u64, u64),
}

/// What names stand for.
pub type Names = HashMap<String, Vec<u8>>;

/// Name and text of every file of `tests/conversations` that is played over datagrams.
pub fn files() -> Vec<(String, String)> {
    all_files().into_iter().filter(|(name, _)| !name.starts_with("stream")).collect()
}

/// The same with those for connections only.
pub fn all_files() -> Vec<(String, String)> {
    let folder = PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/conversations"));
    let mut paths: Vec<_> = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    let name = |path: &PathBuf| path.file_name().unwrap().to_string_lossy().into_owned();
    paths.iter().map(|path| (name(path), std::fs::read_to_string(path).unwrap())).collect()
}

/// The steps of a file.
pub fn parse(text: &str) -> Vec<Step> {
    let mut steps = Vec::new();
    let mut open: Option<Exchange> = None;
    let (mut frame, mut reason, mut not_stream) = ((0, 1, 0), None, None);
    for (i, line) in text.lines().enumerate() {
        let (sign, rest) = line.split_once(' ').unwrap_or((line, ""));
        let replied = open.as_ref().is_some_and(Exchange::is_replied);
        let begins = !matches!(sign, "<" | "<18" | "<stream" | "-" | "%") && (sign != ">" || replied);
        if begins && let Some(exchange) = open.take() {
            steps.push(Step::Exchange(Box::new(exchange)));
        }
        match sign {
            "" | "#" => {}
            "+" => steps.push(Step::Advance(duration(rest))),
            "~" => reason = Some(rest.to_owned()),
            "~stream" => not_stream = Some(rest.to_owned()),
            "@" => (frame, not_stream) = (header(rest), Some("a connection has no frames".into())),
            ">" => {
                let exchange = open.get_or_insert_with(|| Exchange {
                    line: i + 1,
                    frame: std::mem::replace(&mut frame, (0, 1, 0)),
                    not_memcached: reason.take(),
                    not_stream: not_stream.take(),
                    ..Exchange::default()
                });
                exchange.request.add(rest);
            }
            "<" => open.as_mut().expect("a request").reply.get_or_insert_default().add(rest),
            "<18" => open.as_mut().expect("a request").reply_18.get_or_insert_default().add(rest),
            "<stream" => {
                open.as_mut().expect("a request").reply_stream.get_or_insert_default().add(rest);
            }
            "%" => open.as_mut().expect("a request").closes = true,
            "-" => open.as_mut().expect("a request").is_silent = true,
            _ => panic!("line {}: {line}", i + 1),
        }
    }
    steps.extend(open.map(|exchange| Step::Exchange(Box::new(exchange))));
    steps
}

impl Exchange {
    fn is_replied(&self) -> bool {
        self.is_silent || self.reply.is_some() || self.reply_18.is_some() || self.closes
    }

    /// What a connection is answered; `None` is silence.
    pub fn reply_of_stream(&self) -> Option<&Text> {
        self.reply_stream.as_ref().or(self.reply.as_ref())
    }

    /// Whether it is sent over a connection.
    pub fn is_for_streams(&self) -> bool {
        self.not_stream.is_none()
    }

    /// What went wrong, in a line.
    pub fn fault(&self, file: &str, request: &[u8], got: &[u8]) -> String {
        let short = |bytes: &[u8]| bytes[..bytes.len().min(300)].escape_ascii().to_string();
        format!("{file}, line {}: {} -> {}", self.line, short(request), short(got))
    }
}

impl Text {
    fn add(&mut self, line: &str) {
        let (line, end) = match line.strip_suffix('\\') {
            Some(line) => (line, ""),
            None => (line, "\\r\\n"),
        };
        let mut rest = &format!("{line}{end}")[..];
        while !rest.is_empty() {
            let (plain, braces) = rest.split_at(rest.find('{').unwrap_or(rest.len()));
            self.0.push(Part::Bytes(unescape(plain)));
            let Some(inner) = braces.strip_prefix('{') else { break };
            let (inner, later) = inner.split_once('}').expect("a closing brace");
            self.0.push(part(inner));
            rest = later;
        }
    }

    /// The bytes, every name filled in.
    pub fn bytes(&self, names: &Names) -> Vec<u8> {
        let mut bytes = Vec::new();
        for part in &self.0 {
            match part {
                Part::Bytes(plain) => bytes.extend_from_slice(plain),
                Part::Name(name) => bytes.extend_from_slice(names.get(name).expect("a known name")),
                Part::Digits | Part::Range(..) => panic!("only a reply may be vague"),
            }
        }
        bytes
    }

    /// Whether `bytes` are this; learns names.
    pub fn matches(&self, mut bytes: &[u8], names: &mut Names) -> bool {
        for part in &self.0 {
            let length = match part {
                Part::Bytes(plain) => {
                    if !bytes.starts_with(plain) {
                        return false;
                    }
                    plain.len()
                }
                _ => bytes.iter().take_while(|b| b.is_ascii_digit()).count(),
            };
            let (here, later) = bytes.split_at(length);
            let number = || std::str::from_utf8(here).ok().and_then(|text| text.parse::<u64>().ok());
            let fits = match part {
                Part::Bytes(_) => true,
                Part::Digits => number().is_some(),
                Part::Range(from, to) => number().is_some_and(|number| (from..=to).contains(&&number)),
                Part::Name(name) => names.entry(name.clone()).or_insert_with(|| here.to_vec()) == here,
            };
            if !fits {
                return false;
            }
            bytes = later;
        }
        bytes.is_empty()
    }
}

fn part(inner: &str) -> Part {
    if inner == "any" {
        return Part::Digits;
    }
    if let Some(name) = inner.strip_prefix('=') {
        return Part::Name(name.to_owned());
    }
    if let Some((from, to)) = inner.split_once("..") {
        return Part::Range(from.parse().expect("a number"), to.parse().expect("a number"));
    }
    let (what, times) = inner.rsplit_once('*').expect("what*times");
    Part::Bytes(unescape(what).repeat(times.parse().expect("a number")))
}

fn unescape(text: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut rest = text.as_bytes();
    while let [first, later @ ..] = rest {
        rest = later;
        if *first != b'\\' {
            bytes.push(*first);
            continue;
        }
        let (byte, length) = match rest {
            [b'r', ..] => (b'\r', 1),
            [b'n', ..] => (b'\n', 1),
            [b't', ..] => (b'\t', 1),
            [b'0', ..] => (0, 1),
            [b'\\', ..] => (b'\\', 1),
            [b'x', high, low, ..] => {
                let digits = [*high, *low];
                let digits = std::str::from_utf8(&digits).expect("two digits");
                (u8::from_str_radix(digits, 16).expect("hexadecimal"), 3)
            }
            _ => panic!("an unknown escape in {text}"),
        };
        bytes.push(byte);
        rest = &rest[length..];
    }
    bytes
}

fn duration(text: &str) -> Duration {
    match text.strip_suffix("ms") {
        Some(ms) => Duration::from_millis(ms.parse().expect("a number")),
        None => Duration::from_secs(text.strip_suffix('s').expect("a unit").parse().expect("a number")),
    }
}

fn header(text: &str) -> (u16, u16, u16) {
    let mut frame = (0, 1, 0);
    for word in text.split(' ') {
        let (name, number) = word.split_once('=').expect("name=number");
        let number = number.parse().expect("a number");
        match name {
            "sequence" => frame.0 = number,
            "total" => frame.1 = number,
            "reserved" => frame.2 = number,
            _ => panic!("{name} is no field of a frame"),
        }
    }
    frame
}
