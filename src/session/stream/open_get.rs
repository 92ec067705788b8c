//! Reads with more keys than a line may have bytes: their keys are read as they come (memcached takes such a line whole, however long).
//!
//! ```text
//! get a b c … k1│00 k1 … z ␍␊        the keys before the cut are read now, what is behind waits for the rest of its word
//! ```

use crate::limits::KEY_BYTES_MAX;
use crate::session::serial::position::KeysLeft;

/// A read whose line has not ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct OpenGet {
    with_cas: bool,
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
    /// A word is longer than keys are.
    TooLong,
}

impl OpenGet {
    /// The read that a line begins with, which is longer than other lines may be; `None` if it is no `get` or `gets`. Says where its
    /// first key begins.
    pub(crate) fn of(line: &[u8]) -> Option<(OpenGet, usize)> {
        let words = line.trim_ascii_start();
        let (with_cas, verb_bytes) = match words {
            [b'g', b'e', b't', b' ', ..] => (false, 4),
            [b'g', b'e', b't', b's', b' ', ..] => (true, 5),
            _ => return None,
        };
        Some((OpenGet { with_cas, end: 0 }, line.len() - words.len() + verb_bytes))
    }

    /// The keys from `start` of the window on.
    pub(crate) fn keys(&mut self, window: &[u8], start: usize) -> Keys {
        let text = &window[start..];
        let line_end = memchr::memchr(b'\n', text);
        let line = &text[..line_end.unwrap_or(text.len())];
        let words = match line_end {
            Some(_) => line.strip_suffix(b"\r").unwrap_or(line),
            None => &line[..memchr::memrchr(b' ', line).unwrap_or(0)],
        };
        if line.split(|&byte| byte == b' ').any(|word| word.len() > KEY_BYTES_MAX + 1) {
            return Keys::TooLong;
        }
        let (end, behind) = (start + words.len(), start + line_end.map_or(words.len(), |at| at + 1));
        let keys = KeysLeft::in_range(start..end, behind, self.with_cas, line_end.is_none());
        match line_end {
            Some(_) => Keys::Last(keys),
            None if words.trim_ascii().is_empty() => Keys::NotYet,
            None => {
                self.end = end;
                Keys::Some(keys)
            }
        }
    }
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
        let Keys::Some(keys) = open.keys(line, start) else { panic!() };
        assert_eq!((read(&keys, line), open.end), (vec!["a".to_owned(), "bb".to_owned()], line.len() - 2));
        assert!(keys.get(line).with_cas && keys.get(line).is_open);
        assert_eq!(open.keys(b" c", 0), Keys::NotYet);
        let Keys::Last(keys) = open.keys(b" cc d\r\nget x\r\n", 0) else { panic!() };
        assert_eq!((read(&keys, b" cc d\r\n"), keys.behind), (vec!["cc".to_owned(), "d".to_owned()], 7));
        assert!(!keys.get(b" cc d\r\n").is_open);
        let long = [b" ".as_slice(), &[b'x'; 300]].concat();
        assert_eq!(open.keys(&long, 0), Keys::TooLong);
        assert_eq!(OpenGet::of(b"gat 1 a b"), None);
    }
}
