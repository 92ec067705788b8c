//! An independent reading of batch frames, after docs/protocol.md alone. It shares nothing with the crate's parser: numbers are
//! taken from the bytes where the tables of that page say that they are.

/// Bytes of a reply message at most, headers included.
pub const REPLY_MAX: usize = 1_120_000;
/// Bytes of every datagram of a reply but the last.
const DATAGRAM: usize = 1_400;

pub const VALUE: u8 = 0x80;
pub const DONE: u8 = 0x81;
pub const NUMBER: u8 = 0x82;
pub const MISSING: u8 = 0x83;
pub const EXISTS: u8 = 0x84;
pub const NOT_STORED: u8 = 0x85;
pub const TOO_LARGE: u8 = 0x86;
pub const NOT_A_NUMBER: u8 = 0x87;
pub const NO_ROOM: u8 = 0x8a;
pub const BAD: u8 = 0x8b;

/// What a datagram gets.
#[derive(Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Nothing, and nothing is done.
    Silence,
    /// An answer in text: it is no batch frame.
    Text,
    /// One result that says that the frame cannot be read; nothing is done.
    Bad,
    /// A result for each of these.
    Operations(Vec<Operation>),
}

/// An operation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Operation {
    pub code: u8,
    pub key: Vec<u8>,
    pub ttl_ms: u32,
    pub client_flags: u32,
    pub number: u64,
    pub value: Vec<u8>,
}

/// A result.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Got {
    pub status: u8,
    pub client_flags: u32,
    pub cas: u64,
    pub value: Vec<u8>,
}

/// A big-endian number of the bytes from `at` to `end`; `None` where there are fewer.
fn number(bytes: &[u8], at: usize, end: usize) -> Option<u64> {
    Some(bytes.get(at..end)?.iter().fold(0, |number, &byte| number << 8 | byte as u64))
}

/// What a datagram from a trusted address gets.
pub fn read(datagram: &[u8]) -> Verdict {
    if datagram.len() < 9 {
        return Verdict::Silence;
    }
    let field = |at| number(datagram, at, at + 2).expect("a whole header");
    let (sequence, total, reserved) = (field(2), field(4), field(6));
    match (total, reserved) {
        (0, 0x5301) if sequence == 0 => read_frame(datagram),
        (1, _) => match datagram[8] {
            0x80.. | b'A'..=b'Z' | b'0'..=b'9' => Verdict::Silence,
            _ => Verdict::Text,
        },
        _ => Verdict::Silence,
    }
}

fn read_frame(datagram: &[u8]) -> Verdict {
    let (Some(count), Some(flags)) = (number(datagram, 12, 14), number(datagram, 14, 16)) else {
        return Verdict::Silence;
    };
    let begin = if flags & 2 == 0 { 24 } else { 64 };
    if datagram.len() < begin || !(1..=1024).contains(&count) || flags > 3 {
        return Verdict::Silence;
    }
    read_operations(datagram, begin, count).map_or(Verdict::Bad, Verdict::Operations)
}

/// `count` operations from `at` on; `None` where one cannot be read.
fn read_operations(datagram: &[u8], mut at: usize, count: u64) -> Option<Vec<Operation>> {
    (0..count)
        .map(|_| {
            let (operation, bytes) = read_operation(&datagram[at..])?;
            at += bytes;
            Some(operation)
        })
        .collect()
}

/// The operation at the head of `bytes`, and how many of them it takes.
fn read_operation(bytes: &[u8]) -> Option<(Operation, usize)> {
    let (code, key_bytes, zero) = (number(bytes, 0, 1)?, number(bytes, 1, 2)?, number(bytes, 2, 4)?);
    let head = match code {
        0x01 | 0x02 => 4,
        0x10..=0x15 | 0x20..=0x23 => 24,
        _ => return None,
    };
    if zero != 0 || !(1..=250).contains(&key_bytes) {
        return None;
    }
    let of_head = |at, end| if head == 24 { number(bytes, at, end) } else { Some(0) };
    let (ttl_ms, value_bytes) = (of_head(4, 8)?, of_head(8, 12)?);
    let (client_flags, number) = (of_head(12, 16)?, of_head(16, 24)?);
    let key_end = head + key_bytes as usize;
    let end = key_end + value_bytes as usize;
    let operation = Operation {
        code: code as u8,
        key: bytes.get(head..key_end)?.to_vec(),
        ttl_ms: ttl_ms as u32,
        client_flags: client_flags as u32,
        number,
        value: bytes.get(key_end..end)?.to_vec(),
    };
    Some((operation, end))
}

/// Whether whoever sent this frame agrees to padding.
pub fn takes_padding(datagram: &[u8]) -> bool {
    datagram[15] & 1 != 0
}

/// Bytes that a message with a body of so many takes.
pub fn with_headers(body: usize) -> usize {
    body + 8 * body.div_ceil(DATAGRAM - 8)
}

/// The body of a message that is whole, from its datagrams in the order of their sequences.
pub fn body(datagrams: &[Vec<u8>], reserved: u64) -> Vec<u8> {
    let last = datagrams.len() - 1;
    for (sequence, datagram) in datagrams.iter().enumerate() {
        let field = |at| number(datagram, at, at + 2).expect("a header");
        assert_eq!((field(2), field(4)), (sequence as u64, datagrams.len() as u64), "sequence and total");
        assert_eq!(field(6), reserved, "what stands in the reserved field");
        assert!(sequence == last || datagram.len() == DATAGRAM, "{} bytes in the middle", datagram.len());
        assert!((9..=DATAGRAM).contains(&datagram.len()), "a datagram of {} bytes", datagram.len());
    }
    datagrams.iter().flat_map(|datagram| &datagram[8..]).copied().collect()
}

/// The results of a reply, which is padded only where that was agreed.
pub fn results(datagrams: &[Vec<u8>], may_be_padded: bool) -> Vec<Got> {
    let body = body(datagrams, 0x5301);
    let (mut all, mut rest) = (Vec::new(), &body[..]);
    while rest.first().is_some_and(|&status| status >= 0x80) {
        let field = |at, end| number(rest, at, end).expect("a result that is cut off");
        let end = 16 + field(1, 4) as usize;
        let value = rest.get(16..end).expect("a value that is cut off").to_vec();
        all.push(Got { status: rest[0], client_flags: field(4, 8) as u32, cas: field(8, 16), value });
        rest = &rest[end..];
    }
    let last = datagrams.last().expect("a datagram").len();
    if may_be_padded {
        assert!([64, 128, 256, 512, 1024, 1400].contains(&last), "padded to {last}");
        assert!(rest.iter().all(|&byte| byte == 0), "padding that is not zero");
    } else {
        assert!(rest.is_empty(), "{} bytes behind the results", rest.len());
    }
    all
}
