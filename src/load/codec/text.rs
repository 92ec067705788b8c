//! memcached's classic text protocol.

use super::{
    Answer, Codec, DatagramCodec, Split, StreamCodec, Unread, decimal, decode_whole, is_error, line,
    push_decimal, value,
};

/// The classic text protocol: `get`, `set`, `delete`, `touch`.
#[derive(Clone, Copy, Debug)]
pub struct Text;

impl Codec for Text {
    #[inline]
    fn begin_get(&self, _count: usize, out: &mut Vec<u8>) {
        out.extend_from_slice(b"get");
    }

    #[inline]
    fn get_key(&self, _index: usize, _count: usize, key: &[u8], out: &mut Vec<u8>) {
        out.push(b' ');
        out.extend_from_slice(key);
    }

    #[inline]
    fn end_get(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(b"\r\n");
    }

    fn begin_set(&self, key: &[u8], ttl_s: u32, value_bytes: usize, out: &mut Vec<u8>) {
        out.extend_from_slice(b"set ");
        out.extend_from_slice(key);
        out.extend_from_slice(b" 0 ");
        push_decimal(ttl_s as u64, out);
        out.push(b' ');
        push_decimal(value_bytes as u64, out);
        out.extend_from_slice(b"\r\n");
    }

    fn end_set(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(b"\r\n");
    }

    fn delete(&self, key: &[u8], out: &mut Vec<u8>) {
        out.extend_from_slice(b"delete ");
        out.extend_from_slice(key);
        out.extend_from_slice(b"\r\n");
    }

    fn touch(&self, key: &[u8], ttl_s: u32, out: &mut Vec<u8>) {
        out.extend_from_slice(b"touch ");
        out.extend_from_slice(key);
        out.push(b' ');
        push_decimal(ttl_s as u64, out);
        out.extend_from_slice(b"\r\n");
    }
}

impl DatagramCodec for Text {
    #[inline]
    fn decode(&self, body: &[u8], each: &mut impl FnMut(Answer)) {
        decode_whole(self, body, each);
    }
}

impl StreamCodec for Text {
    #[inline]
    fn split<'a>(&self, bytes: &'a [u8]) -> Split<'a> {
        let Some((head, rest)) = line(bytes) else { return Split::Cut };
        let answer = match head {
            b"END" => Answer::End,
            b"STORED" | b"DELETED" | b"TOUCHED" => Answer::Done,
            b"NOT_FOUND" | b"NOT_STORED" | b"EXISTS" => Answer::Refused,
            _ if head.starts_with(b"VALUE ") => return hit(&head[6..], rest).into(),
            _ if is_error(head) => Answer::Error(head),
            _ => return Split::Garbage,
        };
        Split::Whole(answer, rest)
    }

    /// However many keys it has: values are followed by `END` or an error, and anything else is one line.
    fn answers(&self, _count: usize) -> u8 {
        1
    }

    #[inline]
    fn ends(&self, answer: &Answer) -> bool {
        !matches!(answer, Answer::Value { .. })
    }
}

/// `KEY FLAGS BYTES [CAS]` and the value after the line.
#[inline]
fn hit<'a>(head: &'a [u8], body: &'a [u8]) -> Result<(Answer<'a>, &'a [u8]), Unread> {
    let mut words = head.split(|&b| b == b' ');
    let key = words.next();
    let bytes = words.nth(1).and_then(decimal).ok_or(Unread::Garbage)?;
    let (data, rest) = value(body, bytes)?;
    Ok((Answer::Value { index: None, key, data }, rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(body: &[u8], want: &[&str]) {
        let mut got = Vec::new();
        Text.decode(body, &mut |answer| {
            got.push(match answer {
                Answer::Value { key, data, .. } => {
                    format!("{}={}", key.unwrap().escape_ascii(), data.escape_ascii())
                }
                other => format!("{other:?}"),
            })
        });
        assert_eq!(got, want, "{}", body.escape_ascii());
    }

    #[test]
    fn replies_are_read() {
        check(b"VALUE a 0 1\r\nA\r\nVALUE b 7 2 99\r\nBB\r\nEND\r\n", &["a=A", "b=BB", "End"]);
        check(b"VALUE a 0 4\r\n\r\n\r\n\r\nEND\r\n", &["a=\\r\\n\\r\\n", "End"]);
        check(b"END\r\n", &["End"]);
        check(b"STORED\r\n", &["Done"]);
        check(b"NOT_FOUND\r\nDELETED\r\n", &["Refused", "Done"]);
        check(b"SERVER_ERROR busy\r\n", &[&format!("{:?}", Answer::Error(b"SERVER_ERROR busy"))]);
    }

    #[test]
    fn damaged_replies_are_garbage_and_never_a_panic() {
        for body in [
            &b"VALUE a 0 5\r\nA\r\n"[..],
            b"VALUE a 0 1\r\nAB\r\n",
            b"VALUE a\r\n",
            b"EN",
            b"\r\n",
            b"VALUE a 0 9999999999\r\n",
        ] {
            check(body, &["Garbage"]);
        }
    }

    #[test]
    fn requests_are_memcacheds() {
        let mut out = Vec::new();
        Text.begin_get(2, &mut out);
        Text.get_key(0, 2, b"a", &mut out);
        Text.get_key(1, 2, b"b", &mut out);
        Text.end_get(&mut out);
        Text.begin_set(b"k", 60, 2, &mut out);
        out.extend_from_slice(b"vv");
        Text.end_set(&mut out);
        Text.delete(b"k", &mut out);
        Text.touch(b"k", 0, &mut out);
        assert_eq!(out, b"get a b\r\nset k 0 60 2\r\nvv\r\ndelete k\r\ntouch k 0\r\n");
    }
}
