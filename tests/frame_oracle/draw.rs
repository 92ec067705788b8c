//! Frames as a client makes them, and what becomes of them on a bad way.

use crate::reading::Operation;
use cache::base::random::Random;
use std::collections::HashMap;

const CODES: [u8; 12] = [0x01, 0x02, 0x10, 0x11, 0x12, 0x13, 0x14, 0x15, 0x20, 0x21, 0x22, 0x23];
/// Keys that hold numbers, mostly.
const NUMBERS: usize = 4;
/// Bytes that a datagram can have.
const DATAGRAM_MAX: usize = 65_507;

/// What frames are made of.
pub struct Draw {
    pub random: Random,
    pub keys: Vec<Vec<u8>>,
    /// Their cas numbers, as far as they are known.
    pub cas: HashMap<Vec<u8>, u64>,
}

/// A frame in pieces.
struct Frame {
    header: [u8; 24],
    operations: Vec<Vec<u8>>,
    /// Whether its header says how many operations it has.
    is_counted: bool,
    /// What follows the preamble, where a seal would.
    seal: Vec<u8>,
}

impl Draw {
    pub fn new(seed: u64) -> Draw {
        let named = ["1", "22", "n:3", "n:4", "a", "key:1", "key:2", "12345678", "user:1234567890:profile"];
        let mut keys: Vec<Vec<u8>> = named.iter().map(|key| key.as_bytes().to_vec()).collect();
        keys.extend([b" with spaces ".to_vec(), vec![0, 0xff, b'\n', 0x80], vec![b'k'; 250], vec![3; 200]]);
        Draw { random: Random::new(seed), keys, cas: HashMap::new() }
    }

    fn one<T: Copy>(&mut self, of: &[T]) -> T {
        of[self.random.below(of.len() as u64) as usize]
    }

    fn is_one_in(&mut self, many: u64) -> bool {
        self.random.below(many) == 0
    }

    fn operation(&mut self) -> Vec<u8> {
        let code = self.one(&CODES);
        let is_counting = matches!(code, 0x22 | 0x23);
        let of = if is_counting && !self.is_one_in(5) { NUMBERS } else { self.keys.len() };
        let at = self.random.below(of as u64) as usize;
        let value =
            if matches!(code, 0x10..=0x15) || self.is_one_in(10) { self.value(at) } else { Vec::new() };
        let ttl_ms = self.one(&[0, 0, 0, 0, 1, 7, 30, 1_000, 60_000, u32::MAX]);
        encode(&Operation {
            code,
            key: self.keys[at].clone(),
            ttl_ms,
            client_flags: self.random.bits() as u32 >> (self.random.below(4) * 10),
            number: if code == 0x13 { self.cas_of(at) } else { self.number() },
            value,
        })
    }

    /// What a cas of this key compares: mostly its number, as far as it is known.
    fn cas_of(&mut self, key: usize) -> u64 {
        let known = self.cas.get(&self.keys[key]).copied().unwrap_or(0);
        known.wrapping_add(self.one(&[0, 0, 0, 1, u64::MAX]))
    }

    fn number(&mut self) -> u64 {
        let bits = self.random.bits();
        self.one(&[0, 1, 1, 7, 100, bits, u64::MAX])
    }

    fn value(&mut self, key: usize) -> Vec<u8> {
        if key < NUMBERS && !self.is_one_in(8) {
            return (self.random.bits() >> self.random.below(64)).to_string().into_bytes();
        }
        let bytes = match self.random.below(200) {
            0 => 20_000,
            1..6 => 3_000,
            6..20 => 1_100,
            20..40 => 0,
            _ => self.random.below(100) as usize,
        };
        let byte = self.random.bits() as u8;
        (0..bytes).map(|i| byte.wrapping_add(i as u8)).collect()
    }

    /// A frame that is right.
    fn frame(&mut self) -> Frame {
        let count = match self.random.below(200) {
            0 => 1 + self.random.below(1_024),
            1..10 => 1 + self.random.below(200),
            _ => 1 + self.random.below(9),
        };
        let operations = (0..count).map(|_| self.operation()).collect();
        let mut header = [0; 24];
        header[6..8].copy_from_slice(&[0x53, 0x01]);
        header[8..12].copy_from_slice(&(self.random.bits() as u32).to_be_bytes());
        header[15] = self.random.below(2) as u8;
        Frame { header, operations, is_counted: true, seal: Vec::new() }
    }

    /// Reads, and a few others, whose results are longer than a reply may be.
    fn long_reply(&mut self) -> Frame {
        let mut frame = self.frame();
        let (key, bytes) =
            (self.keys[NUMBERS].clone(), self.one(&[1_060, 1_100, 1_150, 1_200, 3_000, 20_000]));
        let of = |code, value: Vec<u8>| {
            let key = key.clone();
            encode(&Operation { code, key, ttl_ms: 0, client_flags: 7, number: 0, value })
        };
        frame.operations = vec![of(0x10, vec![b'v'; bytes])];
        let reads = (1_200_000 / bytes).min(1_023);
        frame
            .operations
            .extend((0..reads).map(|_| if self.is_one_in(9) { of(0x21, vec![]) } else { of(0x01, vec![]) }));
        while frame.operations.len() < 1_024 && self.random.below(20) > 0 {
            frame.operations.push(self.operation());
        }
        frame
    }

    /// A frame, and in nine cases of ten something wrong with it.
    pub fn mutated(&mut self) -> Vec<u8> {
        let mut frame = if self.is_one_in(150) { self.long_reply() } else { self.frame() };
        let changes = self.one(&[0, 1, 1, 1, 1, 1, 1, 2, 2, 3]);
        let mut late = 0;
        for _ in 0..changes {
            match self.random.below(12) {
                0..4 => self.change_operations(&mut frame),
                4..7 => self.change_field(&mut frame),
                7..9 => self.change_header(&mut frame),
                _ => late += 1,
            }
        }
        let mut bytes = frame.flat();
        (0..late).for_each(|_| self.change_bytes(&mut bytes));
        bytes.truncate(DATAGRAM_MAX);
        bytes
    }

    /// Repeats, cuts out, exchanges or adds operations.
    fn change_operations(&mut self, frame: &mut Frame) {
        if frame.operations.is_empty() {
            return;
        }
        let at = self.random.below(frame.operations.len() as u64) as usize;
        let last = frame.operations.len() - 1;
        match self.random.below(5) {
            0 => frame.operations.insert(at, frame.operations[at].clone()),
            1 => drop(frame.operations.remove(at)),
            2 => frame.operations.swap(at, last),
            3 => {
                let other = self.frame();
                frame.operations.truncate(at);
                frame.operations.extend(other.operations);
            }
            _ => {
                let times = self.random.below(40) as usize;
                let again = frame.operations[at].clone();
                frame.operations.extend(std::iter::repeat_n(again, times));
            }
        }
        if self.is_one_in(4) {
            frame.is_counted = false;
            frame.header[12..14].copy_from_slice(&(last as u16 + 1).to_be_bytes());
        }
    }

    /// Changes a field of an operation: mostly its code or one of its lengths.
    fn change_field(&mut self, frame: &mut Frame) {
        if frame.operations.is_empty() {
            return;
        }
        let at = self.random.below(frame.operations.len() as u64) as usize;
        let code = self.one(&CODES);
        let byte = self.random.bits() as u8;
        let operation = &mut frame.operations[at];
        let value_bytes = operation.get(8..12).map(|bytes| u32::from_be_bytes(bytes.try_into().unwrap()));
        match self.random.below(7) {
            0 => operation[0] = code,
            1 => operation[0] = byte,
            2 => operation[1] = self.one(&[0, 1, 2, 5, 249, 250, 251, 255, byte]),
            3 => operation[1] = operation[1].wrapping_add(self.one(&[1, 255])),
            4 => operation[2 + (byte & 1) as usize] = byte,
            _ => {
                let Some(bytes) = value_bytes else { return };
                let other = self.random.bits() as u32;
                let wrong = self.one(&[
                    bytes.wrapping_add(1),
                    bytes.wrapping_sub(1),
                    0,
                    1,
                    0x80000000,
                    u32::MAX,
                    other & 0xff,
                    other,
                ]);
                operation[8..12].copy_from_slice(&wrong.to_be_bytes());
            }
        }
    }

    fn change_header(&mut self, frame: &mut Frame) {
        let byte = self.random.bits() as u8;
        let count = frame.operations.len() as u16;
        match self.random.below(9) {
            0 => frame.header[2 + (byte & 1) as usize] = byte,
            1 => frame.header[4 + (byte & 1) as usize] = self.one(&[0, 1, 2, byte]),
            2 => frame.header[6 + (byte & 1) as usize] = self.one(&[0, 1, 2, 0x53, byte]),
            3 | 4 => {
                frame.is_counted = false;
                let wrong = [0, 1, count + 1, count.wrapping_sub(1), 1_024, 1_025, u16::MAX];
                frame.header[12..14].copy_from_slice(&self.one(&wrong).to_be_bytes());
            }
            5 => frame.header[14 + (byte & 1) as usize] = self.one(&[0, 1, 2, 3, 4, 0x80, byte]),
            6 => {
                frame.header[15] |= 2;
                frame.seal = (0..self.one(&[40, 40, 40, 39])).map(|i: u8| i ^ byte).collect();
            }
            7 => frame.header[16..24].fill(byte),
            _ => frame.header[8 + (byte & 3) as usize] = byte,
        }
    }

    /// Changes bytes wherever they stand.
    fn change_bytes(&mut self, bytes: &mut Vec<u8>) {
        if bytes.is_empty() {
            return;
        }
        let any = self.random.below(bytes.len() as u64) as usize;
        // Most of what matters is in front.
        let at = if self.is_one_in(2) { any } else { any.min(self.random.below(80) as usize) };
        match self.random.below(7) {
            0 | 1 => bytes[at] ^= 1 << self.random.below(8),
            2 => bytes[at] = self.random.bits() as u8,
            3 => bytes.truncate(at),
            4 => drop(bytes.remove(at)),
            5 => bytes.insert(at, self.random.bits() as u8),
            _ => bytes.extend((0..self.random.below(60)).map(|i| i as u8)),
        }
    }
}

impl Frame {
    fn flat(mut self) -> Vec<u8> {
        if self.is_counted {
            self.header[12..14].copy_from_slice(&(self.operations.len() as u16).to_be_bytes());
        }
        [&self.header[..], &self.seal, &self.operations.concat()].concat()
    }
}

fn encode(operation: &Operation) -> Vec<u8> {
    let Operation { code, key, ttl_ms, client_flags, number, value } = operation;
    let mut out = vec![*code, key.len() as u8, 0, 0];
    if !matches!(code, 0x01 | 0x02) {
        out.extend(ttl_ms.to_be_bytes());
        out.extend((value.len() as u32).to_be_bytes());
        out.extend(client_flags.to_be_bytes());
        out.extend(number.to_be_bytes());
    }
    out.extend(key);
    if out.len() > 4 + key.len() {
        out.extend(value);
    }
    out
}
