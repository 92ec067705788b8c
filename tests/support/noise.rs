//! Datagrams that no honest client sends: noise, words of the protocol in any order, frames that are damaged.

use sherwood::random::Random;
use sherwood::protocol::batch::{self, Code, FrameWriter, Operation};

/// Any bytes.
pub fn noise(random: &mut Random) -> Vec<u8> {
    (0..random.below(300)).map(|_| random.bits() as u8).collect()
}

/// Words of the protocol and numbers, some of them damaged.
pub fn words(random: &mut Random) -> Vec<u8> {
    const WORDS: &[&[u8]] = &[
        b"get",
        b"gets",
        b"gat",
        b"gats",
        b"set",
        b"add",
        b"replace",
        b"append",
        b"prepend",
        b"cas",
        b"delete",
        b"incr",
        b"decr",
        b"touch",
        b"version",
        b"verbosity",
        b"stats",
        b"flush_all",
        b"quit",
        b"mg",
        b"ms",
        b"md",
        b"ma",
        b"me",
        b"mn",
        b"noreply",
        b"k",
        b"key",
        b"0",
        b"1",
        b"2",
        b"5",
        b"-1",
        b"4294967296",
        b"18446744073709551616",
        b"b",
        b"v",
        b"q",
        b"q",
        b"N30",
        b"R30",
        b"T0",
        b"C1",
        b"E1",
        b"MA",
        b"Oabc",
        b"I",
        b"x",
        b"k",
        b"c",
        b"YQ==",
    ];
    let mut body = Vec::new();
    for _ in 0..random.below(40) {
        body.extend_from_slice(WORDS[random.below(WORDS.len() as u64) as usize]);
        let end: &[u8] = match random.below(8) {
            0 => b"\r\n",
            1 => b"\n",
            2 => b" 0 0 2\r\nab\r\n",
            3 => b"",
            _ => b" ",
        };
        body.extend_from_slice(end);
    }
    if random.below(4) == 0 && !body.is_empty() {
        let at = random.below(body.len() as u64) as usize;
        body[at] = random.bits() as u8;
    }
    body
}

/// The body of a batch frame with any operations, some of it damaged.
pub fn operations(random: &mut Random) -> Vec<u8> {
    let mut out = Vec::new();
    let mut writer = FrameWriter::begin(1, &mut out);
    if random.below(4) == 0 {
        writer = writer.sealed(random.bits(), 1, 1, &mut out);
    }
    for _ in 0..random.below(8) + 1 {
        let code = Code::ALL[random.below(Code::ALL.len() as u64) as usize];
        let key = &b"a key of some length"[..random.below(20) as usize + 1];
        let value = if code.mode().is_some() { &b"a value"[..random.below(8) as usize] } else { b"" };
        writer.put(&Operation { value, ..Operation::short(code, key) }, &mut out);
    }
    writer.finish(&mut out);
    let mut body = out.split_off(8);
    for _ in 0..random.below(3) {
        let at = random.below(body.len() as u64) as usize;
        body[at] = random.bits() as u8;
    }
    body.truncate(body.len() - random.below(3) as usize);
    body
}

/// A datagram with a header that is mostly right.
pub fn framed(random: &mut Random) -> Vec<u8> {
    let body = match random.below(3) {
        0 => words(random),
        1 => operations(random),
        _ => noise(random),
    };
    let total = random.below(3) as u8;
    let mark = if random.below(2) == 0 { [0; 2] } else { batch::MARK.to_be_bytes() };
    [&[random.bits() as u8, 1, 0, 0, 0, total][..], &mark, &body].concat()
}
