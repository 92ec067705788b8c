//! Operations as the meta commands that mean the same, on a server of their own: its answers are the results that a frame
//! should have had.

use crate::reading::{
    self, DONE, EXISTS, Got, MISSING, NO_ROOM, NOT_A_NUMBER, NOT_STORED, NUMBER, Operation, TOO_LARGE, VALUE,
};
use crate::support::stepped::Stepped;
use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::time::Duration;

/// Bytes of values that one reply in text is asked for at most.
const ASKED_MAX: usize = 900_000;
/// Bytes of commands in one datagram at most.
const COMMANDS_MAX: usize = 60_000;

/// The server that is asked in text.
pub struct Reference {
    stepped: Stepped,
    /// Keys have other names here: text cannot name all that a frame can.
    names: HashMap<Vec<u8>, String>,
    /// The cas number of an item: with the server under test, and here.
    cas: HashMap<Vec<u8>, (u64, u64)>,
    /// Bytes that the value of a key has at most.
    bytes: HashMap<Vec<u8>, usize>,
    /// Operations, what the server under test made of them, and commands that were not executed yet.
    pending: Vec<(Operation, Got)>,
    commands: Vec<u8>,
    asked: usize,
}

/// An answer in text, taken apart.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Answer {
    /// The first word, or an error's line.
    pub word: String,
    /// The other words but for the cas number.
    pub words: Vec<String>,
    pub cas: Option<u64>,
    pub value: Vec<u8>,
}

impl Reference {
    pub fn new() -> Reference {
        Reference {
            stepped: Stepped::of(1, Default::default()),
            names: HashMap::new(),
            cas: HashMap::new(),
            bytes: HashMap::new(),
            pending: Vec::new(),
            commands: Vec::new(),
            asked: 0,
        }
    }

    pub fn advance(&self, by: Duration) {
        self.stepped.advance(by);
    }

    /// The cas number that the server under test gave to the item of this key.
    pub fn cas(&self, key: &[u8]) -> Option<u64> {
        self.cas.get(key).map(|&(there, _)| there)
    }

    /// All keys that were ever named.
    pub fn keys(&self) -> Vec<Vec<u8>> {
        self.names.keys().cloned().collect()
    }

    /// Executes the operations of a frame, and compares.
    pub fn judge(&mut self, operations: Vec<Operation>, results: Vec<Got>) {
        assert_eq!(results.len(), operations.len(), "results, and operations");
        let mut used = 0;
        for (operation, got) in operations.into_iter().zip(results) {
            used += 16 + got.value.len();
            if got.status == NO_ROOM {
                self.judge_no_room(&operation, used);
                continue;
            }
            // What it compares depends on the answers before it.
            if operation.code == 0x13 {
                self.execute();
            }
            self.add(operation, got);
        }
        self.execute();
        assert!(reading::with_headers(used) <= reading::REPLY_MAX, "a reply with {used} bytes of results");
    }

    /// The server under test found no room for the result of a read, and did not do it.
    fn judge_no_room(&mut self, operation: &Operation, used: usize) {
        self.execute();
        assert!(matches!(operation.code, 0x01 | 0x21), "{operation:?} has a small result");
        let name = self.name(&operation.key);
        let answers = self.ask(format!("mg {name} s\r\n").as_bytes(), 1);
        let bytes = answers[0].words.first().map_or(0, |word| word[1..].parse().expect("a length"));
        // Room is kept for the results of all operations that a frame can hold, with a number, if any value.
        let least = reading::REPLY_MAX - reading::with_headers(1_024 * 24) - 300;
        assert!(
            reading::with_headers(used + bytes) > least,
            "no room for {bytes} bytes behind {used}: {operation:?}"
        );
    }

    fn name(&mut self, key: &[u8]) -> String {
        let next = self.names.len();
        match self.names.entry(key.to_vec()) {
            Entry::Occupied(known) => known.get().clone(),
            Entry::Vacant(new) => new.insert(format!("name{next}")).clone(),
        }
    }

    fn add(&mut self, operation: Operation, got: Got) {
        let (name, command) = (self.name(&operation.key), self.cas.get(&operation.key));
        let compared = match command {
            Some(&(there, here)) if there == operation.number => here,
            // Nobody has a number like this one.
            _ => u64::MAX / 2,
        };
        let command = command_of(&operation, &name, compared);
        let bytes = self.bytes.entry(operation.key.clone()).or_default();
        *bytes = match operation.code {
            0x10 => operation.value.len(),
            0x14 | 0x15 => *bytes + operation.value.len(),
            0x11..=0x13 => (*bytes).max(operation.value.len()),
            _ => (*bytes).max(24),
        };
        let asks = 100 + *bytes;
        if self.asked + asks > ASKED_MAX || self.commands.len() + command.len() > COMMANDS_MAX {
            self.execute();
        }
        self.asked += asks;
        self.commands.extend(command);
        self.pending.push((operation, got));
    }

    /// Executes what is pending, and compares.
    fn execute(&mut self) {
        if self.pending.is_empty() {
            return;
        }
        let commands = std::mem::take(&mut self.commands);
        self.asked = 0;
        let answers = self.ask(&commands, self.pending.len());
        for ((operation, got), answer) in std::mem::take(&mut self.pending).into_iter().zip(answers) {
            self.compare(&operation, &got, &answer);
        }
    }

    fn compare(&mut self, operation: &Operation, got: &Got, answer: &Answer) {
        let want = wanted(operation, answer);
        let got_without_cas = Got { cas: 0, ..got.clone() };
        let brief = |got: &Got| format!("{:x} {} {}", got.status, got.client_flags, got.value.escape_ascii());
        assert!(got_without_cas == want, "{}, not {} for {}", brief(got), brief(&want), describe(operation));
        let Some(here) = answer.cas else {
            assert_eq!(got.cas, 0, "a cas number of {}", describe(operation));
            return;
        };
        assert_ne!(got.cas, 0, "no cas number of {}", describe(operation));
        let is_read = got.status == VALUE;
        let known = self.cas.insert(operation.key.clone(), (got.cas, here));
        if is_read {
            assert_eq!(known, Some((got.cas, here)), "the cas number of {}", describe(operation));
        }
    }

    /// Asks this server and another one for the state of keys, and compares.
    pub fn compare_states(&mut self, keys: &[Vec<u8>], mut ask: impl FnMut(&[u8], usize) -> Vec<Answer>) {
        let mut rest = keys;
        while !rest.is_empty() {
            let (mut here, mut there, mut asked, mut count) = (Vec::new(), Vec::new(), 0, 0);
            for key in rest {
                asked += 1_000 + self.bytes.get(key).copied().unwrap_or(0);
                if count > 0 && (asked > ASKED_MAX || there.len() > COMMANDS_MAX) {
                    break;
                }
                here.extend(format!("mg {} v f t s c\r\n", self.name(key)).as_bytes());
                there.extend([b"mg ", &spelled(key)[..], b" v f t s c\r\n"].concat());
                count += 1;
            }
            let (here, there) = (self.ask(&here, count), ask(&there, count));
            for ((key, want), got) in rest.iter().zip(here).zip(there) {
                let (key, same) = (key.escape_ascii(), self.cas.get(key).copied());
                assert_eq!(got.cas.zip(want.cas), got.cas.and(same), "the cas number of {key}");
                assert!(Answer { cas: want.cas, ..got.clone() } == want, "{key}: {got:?}, not {want:?}");
            }
            rest = &rest[count..];
        }
    }

    fn ask(&mut self, commands: &[u8], count: usize) -> Vec<Answer> {
        self.stepped.send(0, &text(1, commands));
        let mut datagrams = Vec::new();
        for _ in 0..10_000 {
            self.stepped.tick(0);
            datagrams.extend(std::iter::from_fn(|| self.stepped.receive(0)));
            if !datagrams.is_empty() {
                break;
            }
        }
        in_order(&mut datagrams);
        answers(&reading::body(&datagrams, 0), count)
    }
}

/// A text datagram.
pub fn text(id: u16, body: &[u8]) -> Vec<u8> {
    [&id.to_be_bytes()[..], &[0, 0, 0, 1, 0, 0], body].concat()
}

/// Sorts the datagrams of one message.
pub fn in_order(datagrams: &mut [Vec<u8>]) {
    datagrams.sort_by_key(|datagram| (datagram[2], datagram[3]));
}

/// A key as text can spell it, with what has to follow it.
fn spelled(key: &[u8]) -> Vec<u8> {
    use base64::Engine;
    let is_plain = key.iter().all(|&byte| byte > b' ' && byte != 0x7f);
    match base64::engine::general_purpose::STANDARD.encode(key) {
        _ if is_plain => key.to_vec(),
        word if word.len() <= 250 => format!("{word} b").into_bytes(),
        _ => panic!("text cannot name {}", key.escape_ascii()),
    }
}

/// Whether text can name a key.
pub fn is_spelled(key: &[u8]) -> bool {
    key.iter().all(|&byte| byte > b' ' && byte != 0x7f) || key.len() <= 187
}

/// The answers in a body, which are so many.
pub fn answers(mut body: &[u8], count: usize) -> Vec<Answer> {
    let mut all = Vec::new();
    while !body.is_empty() {
        let end = body.windows(2).position(|end| end == b"\r\n").expect("a line that ends");
        let line = std::str::from_utf8(&body[..end]).expect("a line of text");
        body = &body[end + 2..];
        let is_error = line.contains("ERROR");
        let mut words = line.split(' ').map(str::to_owned);
        let mut answer = match is_error {
            true => Answer { word: line.to_owned(), ..Answer::default() },
            false => Answer { word: words.next().unwrap_or_default(), ..Answer::default() },
        };
        for word in words.filter(|_| !is_error) {
            match word.strip_prefix('c') {
                // 0 where there is no item.
                Some(cas) => answer.cas = Some(cas.parse().expect("a cas number")).filter(|&cas| cas != 0),
                None => answer.words.push(word),
            }
        }
        if answer.word == "VA" {
            let bytes: usize = answer.words.remove(0).parse().expect("a length");
            answer.value = body[..bytes].to_vec();
            assert_eq!(&body[bytes..bytes + 2], b"\r\n");
            body = &body[bytes + 2..];
        }
        all.push(answer);
    }
    assert_eq!(all.len(), count, "answers, and commands");
    all
}

fn command_of(operation: &Operation, name: &str, compared: u64) -> Vec<u8> {
    let Operation { code, ttl_ms, client_flags, number, value, .. } = operation;
    let bytes = value.len();
    let store =
        |more: String| [format!("ms {name} {bytes} c {more}\r\n").as_bytes(), value, b"\r\n"].concat();
    let terms = format!("F{client_flags} A{ttl_ms}");
    let line = match code {
        0x01 => format!("mg {name} v f c\r\n"),
        0x02 => format!("md {name}\r\n"),
        0x10 => return store(terms),
        0x11 => return store(format!("{terms} ME")),
        0x12 => return store(format!("{terms} MR")),
        0x13 => return store(format!("{terms} C{compared}")),
        0x14 => return store("MA".into()),
        0x15 => return store("MP".into()),
        0x20 => format!("mg {name} A{ttl_ms}\r\n"),
        0x21 => format!("mg {name} v f c A{ttl_ms}\r\n"),
        0x22 => format!("ma {name} MI D{number} v c\r\n"),
        0x23 => format!("ma {name} MD D{number} v c\r\n"),
        _ => panic!("code {code:x}"),
    };
    line.into_bytes()
}

/// The result that corresponds to an answer, without the cas number.
fn wanted(operation: &Operation, answer: &Answer) -> Got {
    let status = match (operation.code, answer.word.as_str()) {
        (0x01 | 0x21, "VA") => VALUE,
        (0x22 | 0x23, "VA") => NUMBER,
        (_, "HD") => DONE,
        (_, "EN" | "NF") => MISSING,
        (_, "EX") => EXISTS,
        (_, "NS") => NOT_STORED,
        (_, "SERVER_ERROR object too large for cache") => TOO_LARGE,
        (0x22 | 0x23, error) if error.starts_with("CLIENT_ERROR cannot increment") => NOT_A_NUMBER,
        (code, word) => panic!("code {code:x} is answered {word}"),
    };
    let flags = answer.words.iter().find_map(|word| word.strip_prefix('f')).map(|word| word.parse().unwrap());
    let value = match status {
        NUMBER => std::str::from_utf8(&answer.value).unwrap().parse::<u64>().unwrap().to_be_bytes().to_vec(),
        _ => answer.value.clone(),
    };
    Got { status, client_flags: flags.unwrap_or(0), cas: 0, value }
}

fn describe(operation: &Operation) -> String {
    let Operation { code, key, ttl_ms, client_flags, number, value } = operation;
    let value = &value[..value.len().min(40)];
    format!(
        "code {code:x} of {}: ttl {ttl_ms}, flags {client_flags}, number {number}, value {}",
        key.escape_ascii(),
        value.escape_ascii()
    )
}
