//! Reads with more keys than a line may have bytes: their keys are read as they come (memcached takes such a line whole, however long).
//!
//! ```text
//! get a b c … k1│00 k1 … z ␍␊        the keys before the cut are read now, what is behind waits for the rest of its word
//! ```

use crate::limits::{KEY_BYTES_MAX, STREAM_LINE_BLANKS_MAX, STREAM_LINE_BYTES_MAX};
use crate::session::serial::position::KeysLeft;
use protocol::request::{Expiry, Get};
use protocol::token::{Number, Tokens};

/// A read whose line has not ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct OpenGet {
    with_cas: bool,
    touch: Option<Expiry>,
    has_keys: bool,
    /// Bytes of the window that belong to the keys which are being read.
    pub(crate) end: usize,
}

/// The keys that can be read next of an open read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Keys {
    /// These, and more may come.
    Some(KeysLeft),
    /// These are the last.
    Last(KeysLeft),
    /// None, until more comes.
    NotYet,
    /// A word is longer than keys are, or there is none.
    Wrong,
}

/// Whether the first line of a text is longer than lines may be, or has more blanks in a row.
#[cold]
pub(crate) fn is_long_line(text: &[u8]) -> bool {
    let head = text.get(..=STREAM_LINE_BYTES_MAX).unwrap_or(text);
    let line_end = memchr::memchr(b'\n', head);
    let line = &head[..line_end.unwrap_or(head.len())];
    line.len() > STREAM_LINE_BYTES_MAX || line.len() > STREAM_LINE_BLANKS_MAX && has_many_blanks(line)
}

fn has_many_blanks(line: &[u8]) -> bool {
    line.split(|&byte| byte != b' ').any(|blanks| blanks.len() > STREAM_LINE_BLANKS_MAX)
}

impl OpenGet {
    /// The read that a line begins with, which is longer than other lines may be; `None` if it is none, or what stands before its keys is
    /// longer already. Says where its first key begins.
    pub(crate) fn of(line: &[u8]) -> Option<(OpenGet, usize)> {
        let head = line.get(..STREAM_LINE_BYTES_MAX).unwrap_or(line);
        let mut words = Tokens::new(head);
        let (with_cas, touches) = match words.next()? {
            b"get" => (false, false),
            b"gets" => (true, false),
            b"gat" => (false, true),
            b"gats" => (true, true),
            _ => return None,
        };
        let touch = match touches {
            true => Some(Expiry::from_exptime(i64::parse(words.next()?)?)),
            false => None,
        };
        // What is behind the last of these words must be seen, or that could be longer.
        let keys_at = head.len() - words.rest().len();
        let is_read = keys_at < head.len() && !has_many_blanks(&head[..keys_at]);
        is_read.then_some((OpenGet { with_cas, touch, has_keys: false, end: 0 }, keys_at))
    }

    /// The keys that a window begins with. Those before a wrong one come first, so that it does not matter how the line was cut.
    pub(crate) fn keys(&mut self, window: &[u8]) -> Keys {
        let line_end = memchr::memchr(b'\n', window);
        let line = &window[..line_end.unwrap_or(window.len())];
        let words = match line_end {
            Some(_) => line.strip_suffix(b"\r").unwrap_or(line),
            None => &line[..memchr::memrchr(b' ', line).map_or(0, |at| at + 1)],
        };
        // The last word may not be all there, and then its end may be that of the line.
        let is_last_wrong = line.len() - words.len() > KEY_BYTES_MAX + 1;
        let right = &words[..first_wrong(words).unwrap_or(words.len())];
        let (is_cut, is_blank) = (right.len() < words.len() || is_last_wrong, right.trim_ascii().is_empty());
        match line_end {
            _ if is_blank && is_cut => Keys::Wrong,
            Some(_) if is_blank && !self.has_keys => Keys::Wrong,
            Some(end) if !is_cut => Keys::Last(self.left(right.len(), end + 1, false)),
            None if is_blank => Keys::NotYet,
            _ => {
                (self.has_keys, self.end) = (true, right.len());
                Keys::Some(self.left(right.len(), right.len(), true))
            }
        }
    }

    fn left(&self, end: usize, behind: usize, is_open: bool) -> KeysLeft {
        let OpenGet { with_cas, touch, .. } = *self;
        KeysLeft::in_range(0..end, behind, &Get { keys: Tokens::new(b""), with_cas, touch, is_open })
    }
}

/// Where the first word begins that is longer than keys are.
fn first_wrong(words: &[u8]) -> Option<usize> {
    let wrong = Tokens::new(words).find(|word| word.len() > KEY_BYTES_MAX)?;
    // A word lies in its line: both addresses are of the same bytes.
    Some(wrong.as_ptr() as usize - words.as_ptr() as usize)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(keys: &KeysLeft, window: &[u8]) -> Vec<String> {
        keys.get(window).keys().map(|key| String::from_utf8_lossy(key.bytes()).into_owned()).collect()
    }

    #[test]
    fn keys_are_read_as_they_come() {
        let line = b"  gets a bb c";
        let (mut open, start) = OpenGet::of(line).unwrap();
        let line = &line[start..];
        let Keys::Some(keys) = open.keys(line) else { panic!() };
        assert_eq!((read(&keys, line), open.end), (vec!["a".to_owned(), "bb".to_owned()], line.len() - 1));
        assert!(keys.get(line).with_cas && keys.get(line).is_open);
        assert_eq!(open.keys(b" c"), Keys::NotYet);
        let Keys::Last(keys) = open.keys(b" cc d\r\nget x\r\n") else { panic!() };
        assert_eq!((read(&keys, b" cc d\r\n"), keys.behind), (vec!["cc".to_owned(), "d".to_owned()], 7));
        assert!(!keys.get(b" cc d\r\n").is_open);
    }

    #[test]
    fn keys_before_a_wrong_one_are_read() {
        for bytes in [251, 252, 300] {
            for end in [&b" d\r\n"[..], b"\r\n", b" "] {
                let line = [b" a bb ".as_slice(), &vec![b'x'; bytes], end].concat();
                let (mut open, _) = OpenGet::of(b"get a").unwrap();
                let Keys::Some(keys) = open.keys(&line) else { panic!("{bytes}") };
                assert_eq!(read(&keys, &line), ["a", "bb"]);
                assert_eq!(open.keys(&line[open.end..]), Keys::Wrong, "{bytes}");
            }
        }
        let (mut open, _) = OpenGet::of(b"get a").unwrap();
        // It may end with the line.
        let line = [&[b'x'; 250][..], b"\r"].concat();
        assert_eq!(open.keys(&line), Keys::NotYet);
        assert!(matches!(open.keys(&[&line[..], b"\n"].concat()), Keys::Last(_)));
        assert_eq!(open.keys(&[&line[..], b"x"].concat()), Keys::Wrong);
    }

    #[test]
    fn what_stands_before_the_keys_is_bounded() {
        let (open, at) = OpenGet::of(b"gats 5  a b").unwrap();
        assert_eq!((open.with_cas, open.touch, at), (true, Some(Expiry::InMs(5_000)), 6));
        for line in ["gat x a", "gat 5", "get", "mg a", "incr a 1", &" ".repeat(20_000)] {
            assert_eq!(OpenGet::of(line.as_bytes()), None, "{line}");
        }
        let blank = |bytes| " ".repeat(bytes);
        for (bytes, is_read) in [(STREAM_LINE_BLANKS_MAX, true), (STREAM_LINE_BLANKS_MAX + 1, false)] {
            let lines = [
                format!("{}get{}", blank(bytes), blank(9_000)),
                format!("gat{}5 {}a", blank(bytes), blank(9_000)),
            ];
            assert!(lines.iter().all(|line| OpenGet::of(line.as_bytes()).is_some() == is_read), "{bytes}");
        }
        let (mut open, _) = OpenGet::of(b"get a").unwrap();
        assert_eq!(open.keys(b"   \r\n"), Keys::Wrong);
    }

    #[test]
    fn a_line_may_have_so_many_bytes() {
        for (bytes, is_long) in [(0, false), (16_384, false), (16_385, true), (50_000, true)] {
            let line = vec![b'x'; bytes];
            assert_eq!(is_long_line(&[&line[..], b"\nmore"].concat()), is_long, "{bytes}");
        }
        for (blanks, is_long) in [(2_048, false), (2_049, true)] {
            let line = ["incr a", &" ".repeat(blanks), "1"].concat();
            assert_eq!(
                [&line, &(line.clone() + "\nmore")].map(|text| is_long_line(text.as_bytes())),
                [is_long; 2]
            );
        }
    }
}
