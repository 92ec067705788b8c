//! memcached's meta protocol. With several keys each carries its number as opaque, and with `name_keys` the key comes
//! back too: so hits, misses and losses of one datagram cannot be confused, in whatever order its replies arrive.

use super::{
    Answer, Codec, DatagramCodec, Split, StreamCodec, Unread, decimal, decode_whole, is_error, line,
    push_decimal, value,
};

/// The meta protocol: `mg`, `ms`, `md`.
#[derive(Clone, Copy, Debug)]
pub struct Meta {
    /// Ask the server to repeat the key (for `--verify`).
    pub name_keys: bool,
}

impl Codec for Meta {
    fn begin_get(&self, _count: usize, _out: &mut Vec<u8>) {}

    #[inline]
    fn get_key(&self, index: usize, count: usize, key: &[u8], out: &mut Vec<u8>) {
        out.extend_from_slice(b"mg ");
        out.extend_from_slice(key);
        out.extend_from_slice(b" v");
        if self.name_keys {
            out.extend_from_slice(b" k");
        }
        if count > 1 {
            // Two digits always: requests stay equally long and travel as one train.
            out.extend_from_slice(&[b' ', b'O', b'0' + (index / 10) as u8, b'0' + (index % 10) as u8]);
        }
        out.extend_from_slice(b"\r\n");
    }

    fn end_get(&self, _out: &mut Vec<u8>) {}

    fn begin_set(&self, key: &[u8], ttl_s: u32, value_bytes: usize, out: &mut Vec<u8>) {
        out.extend_from_slice(b"ms ");
        out.extend_from_slice(key);
        out.push(b' ');
        push_decimal(value_bytes as u64, out);
        if ttl_s != 0 {
            out.extend_from_slice(b" T");
            push_decimal(ttl_s as u64, out);
        }
        out.extend_from_slice(b"\r\n");
    }

    fn end_set(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(b"\r\n");
    }

    fn delete(&self, key: &[u8], out: &mut Vec<u8>) {
        out.extend_from_slice(b"md ");
        out.extend_from_slice(key);
        out.extend_from_slice(b"\r\n");
    }

    fn touch(&self, key: &[u8], ttl_s: u32, out: &mut Vec<u8>) {
        out.extend_from_slice(b"mg ");
        out.extend_from_slice(key);
        out.extend_from_slice(b" T");
        push_decimal(ttl_s as u64, out);
        out.extend_from_slice(b"\r\n");
    }
}

impl DatagramCodec for Meta {
    #[inline]
    fn decode(&self, body: &[u8], each: &mut impl FnMut(Answer)) {
        decode_whole(self, body, each);
    }
}

impl StreamCodec for Meta {
    #[inline]
    fn split<'a>(&self, bytes: &'a [u8]) -> Split<'a> {
        let Some((head, rest)) = line(bytes) else { return Split::Cut };
        let (status, flags) = head.split_at(head.len().min(2));
        let answer = match status {
            b"VA" => return hit(flags, rest).into(),
            b"EN" => {
                let tokens = Tokens::of(flags);
                Answer::Miss { index: tokens.index, key: tokens.key }
            }
            b"HD" => Answer::Done,
            b"NF" | b"NS" | b"EX" => Answer::Refused,
            _ if is_error(head) => Answer::Error(head),
            _ => return Split::Garbage,
        };
        Split::Whole(answer, rest)
    }

    /// A command a key.
    fn answers(&self, count: usize) -> u8 {
        count as u8
    }

    #[inline]
    fn ends(&self, _answer: &Answer) -> bool {
        true
    }
}

/// ` BYTES FLAGS*` and the value after the line.
#[inline]
fn hit<'a>(head: &'a [u8], body: &'a [u8]) -> Result<(Answer<'a>, &'a [u8]), Unread> {
    let head = head.strip_prefix(b" ").ok_or(Unread::Garbage)?;
    let end = head.iter().position(|&b| b == b' ').unwrap_or(head.len());
    let bytes = decimal(&head[..end]).ok_or(Unread::Garbage)?;
    let (data, rest) = value(body, bytes)?;
    let tokens = Tokens::of(&head[end..]);
    Ok((Answer::Value { index: tokens.index, key: tokens.key, data }, rest))
}

/// The return flags that we ask for.
#[derive(Default)]
struct Tokens<'a> {
    index: Option<usize>,
    key: Option<&'a [u8]>,
}

impl<'a> Tokens<'a> {
    #[inline]
    fn of(flags: &'a [u8]) -> Tokens<'a> {
        let mut tokens = Tokens::default();
        if flags.is_empty() {
            return tokens;
        }
        for flag in flags.split(|&b| b == b' ') {
            match flag.split_first() {
                Some((b'O', number)) => tokens.index = decimal(number),
                Some((b'k', key)) => tokens.key = Some(key),
                _ => {}
            }
        }
        tokens
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(body: &[u8], want: &[&str]) {
        let mut got = Vec::new();
        let show = |index: Option<usize>, key: Option<&[u8]>| {
            format!("{}{}", index.map_or("-".into(), |i| i.to_string()), key.unwrap_or(b"").escape_ascii())
        };
        Meta { name_keys: true }.decode(body, &mut |answer| {
            got.push(match answer {
                Answer::Value { index, key, data } => {
                    format!("{}={}", show(index, key), data.escape_ascii())
                }
                Answer::Miss { index, key } => format!("{}?", show(index, key)),
                other => format!("{other:?}"),
            })
        });
        assert_eq!(got, want, "{}", body.escape_ascii());
    }

    #[test]
    fn replies_are_read() {
        check(b"VA 1 O00\r\nA\r\nEN O01\r\nVA 2 kb O12\r\nBB\r\n", &["0=A", "1?", "12b=BB"]);
        check(b"VA 0\r\n\r\nEN\r\nEN kzz O3\r\n", &["-=", "-?", "3zz?"]);
        check(b"HD\r\nNF\r\nNS\r\n", &["Done", "Refused", "Refused"]);
    }

    #[test]
    fn damaged_replies_are_garbage_and_never_a_panic() {
        for body in [&b"VA\r\n"[..], b"VA 5\r\nA\r\n", b"VA x\r\n\r\n", b"V", b"\r\n", b"WHAT\r\n"] {
            check(body, &["Garbage"]);
        }
    }

    #[test]
    fn keys_of_one_datagram_are_numbered() {
        let mut out = Vec::new();
        let meta = Meta { name_keys: false };
        meta.get_key(0, 1, b"a", &mut out);
        meta.get_key(3, 20, b"b", &mut out);
        meta.begin_set(b"k", 9, 1, &mut out);
        assert_eq!(out, b"mg a v\r\nmg b v O03\r\nms k 1 T9\r\n");
    }
}
