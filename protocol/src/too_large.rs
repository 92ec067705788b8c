//! Stores with a longer value than is taken. They store nothing, and are commands all the same: memcached lets no old value stand behind
//! a `set` that failed, so the owner of the key has something to do.

use crate::Error;
use crate::limits::KEY_BYTES_MAX;
use crate::meta::{self, Meta};
use crate::request::{Key, Mode, Store};

/// A store whose value is too large.
#[derive(Clone, Copy, Debug)]
pub struct TooLarge<'a> {
    /// The key as it was sent.
    key_word: &'a [u8],
    is_base64: bool,
    /// Whether what the key has is removed: by `set`, and by `ms` in any mode.
    pub removes: bool,
    /// Whether it is a meta command.
    pub is_meta: bool,
    /// No reply.
    pub is_quiet: bool,
}

impl<'a> TooLarge<'a> {
    pub(super) fn of_store(store: &Store<'a>) -> TooLarge<'a> {
        TooLarge {
            key_word: store.key.bytes(),
            is_base64: false,
            removes: store.is_set(),
            is_meta: false,
            is_quiet: store.quiet,
        }
    }

    pub(super) fn of_meta(meta: &Meta<'a>) -> TooLarge<'a> {
        // An error is answered, also where `q` leaves out what is usual.
        TooLarge {
            key_word: meta.key_word,
            is_base64: meta.has(b'b'),
            removes: true,
            is_meta: true,
            is_quiet: false,
        }
    }

    /// The key, decoded into `buffer` if it is base64.
    ///
    /// # Errors
    /// [`Error::BadBase64`]: it is no base64 of 1 to 250 bytes.
    pub fn key<'k>(&self, buffer: &'k mut [u8; KEY_BYTES_MAX + 2]) -> Result<Key<'k>, Error>
    where
        'a: 'k,
    {
        if !self.is_base64 {
            return Key::new(self.key_word);
        }
        meta::decoded(self.key_word, buffer).ok_or(Error::BadBase64)
    }
}

impl Store<'_> {
    /// Whether it replaces whatever the key has: `set`, and not `cas`.
    pub fn is_set(&self) -> bool {
        self.mode == Mode::Set && self.cas.is_none()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::request::{Command, Commands};

    fn of(body: &[u8]) -> TooLarge<'_> {
        match Commands::new(body, 3).next() {
            Some(Ok(Command::TooLarge(store))) => store,
            other => panic!("{}: {other:?}", body.escape_ascii()),
        }
    }

    #[test]
    fn it_names_its_key_and_what_becomes_of_that() {
        let table: [(&[u8], &[u8], bool, bool); 8] = [
            (b"set k 0 0 4\r\nabcd\r\n", b"k", true, false),
            (b"set k 0 0 4 noreply\r\nabcd\r\n", b"k", true, true),
            (b"set k 0 0 2147483645\r\nabcd", b"k", true, false),
            (b"cas k 0 0 4 7\r\nabcd\r\n", b"k", false, false),
            (b"add k 0 0 4\r\nabcd\r\n", b"k", false, false),
            (b"append k 0 0 4 noreply\r\nabcd\r\n", b"k", false, true),
            (b"ms k 4 q MA\r\nabcd\r\n", b"k", true, false),
            (b"ms AAEC/w== 4 b\r\nabcdef\r\n", &[0, 1, 2, 255], true, false),
        ];
        for (body, key, removes, is_quiet) in table {
            let (store, mut buffer) = (of(body), [0; KEY_BYTES_MAX + 2]);
            let got = (store.key(&mut buffer).map(Key::bytes), store.removes, store.is_quiet);
            assert_eq!(got, (Ok(key), removes, is_quiet), "{}", body.escape_ascii());
        }
        assert_eq!(of(b"ms !!! 4 b\r\nabcd\r\n").key(&mut [0; KEY_BYTES_MAX + 2]), Err(Error::BadBase64));
    }

    #[test]
    fn its_value_is_passed_over_and_what_is_wrong_with_its_line_is_said_first() {
        let errors = |body| Commands::new(body, 3).map(|command| command.err()).collect::<Vec<_>>();
        assert_eq!(errors(b"set k 0 0 4\r\nabcd\r\nversion\r\n"), [None, None]);
        assert_eq!(errors(b"set k x 0 4\r\nabcd\r\nversion\r\n"), [Some(Error::BadLine), None]);
        assert_eq!(errors(b"ms k 4 !\r\nabcd\r\nmn\r\n"), [Some(Error::InvalidFlag), None]);
        assert_eq!(errors(b"ms k 2 !\r\nabcd\r\nmn\r\n"), [Some(Error::InvalidFlag)]);
    }
}
