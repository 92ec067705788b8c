//! Seals: a frame that carries proof that its sender knows the secret.
//!
//! ```text
//! 24             32             40             48                      64
//! │ time, unix ms│ session      │ sequence     │ tag, 16 bytes         │ operations …
//! ```
//! The tag is SipHash-2-4 with 128 bits (Aumasson & Bernstein 2012) of all bytes of the datagram but its own, under a key
//! made of the secret file. A session is a number that a client draws when it starts, a sequence one that grows with each
//! frame of the session. Which of them are taken, and for how long, is the server's matter (`guard::replay` of the server).
//!
//! Not here: encryption. Whoever can read the network reads keys and values.

use super::{PREAMBLE_BYTES, SEAL_BYTES};
use siphasher::sip::SipHasher24;
use siphasher::sip128::{Hash128, Hasher128, SipHasher24 as SipHasher24Wide};
use std::hash::Hasher;

/// Shortest content of a secret file, in bytes.
pub const SECRET_BYTES_MIN: usize = 16;
const TAG_BYTES: usize = 16;
const TAG_AT: usize = PREAMBLE_BYTES + SEAL_BYTES - TAG_BYTES;

/// When and by whom a frame was sealed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Seal {
    /// The sender's clock, in ms since 1970.
    pub unix_ms: u64,
    /// The sender's session.
    pub session: u64,
    /// Number of the frame in its session.
    pub sequence: u64,
    tag: [u8; TAG_BYTES],
}

impl Seal {
    /// Reads a seal.
    #[inline]
    pub(super) fn read(bytes: &[u8; SEAL_BYTES]) -> Seal {
        let word = |at: usize| u64::from_be_bytes(bytes[at..at + 8].try_into().expect("8 bytes"));
        let tag = *bytes.last_chunk().expect("40 bytes end in 16");
        Seal { unix_ms: word(0), session: word(8), sequence: word(16), tag }
    }

    /// Bytes of a seal whose tag is still missing.
    pub(super) fn blank(unix_ms: u64, session: u64, sequence: u64) -> [u8; SEAL_BYTES] {
        let mut bytes = [0; SEAL_BYTES];
        for (at, word) in [(0, unix_ms), (8, session), (16, sequence)] {
            bytes[at..at + 8].copy_from_slice(&word.to_be_bytes());
        }
        bytes
    }
}

/// The key that seals are made with.
#[derive(Clone, Copy)]
pub struct SealKey(u64, u64);

impl std::fmt::Debug for SealKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("SealKey(…)")
    }
}

impl SealKey {
    /// From the content of a secret file, white space at its ends apart.
    ///
    /// # Errors
    /// One line: it is too short to be a secret.
    pub fn new(content: &[u8]) -> Result<SealKey, String> {
        let content = content.trim_ascii();
        if content.len() < SECRET_BYTES_MIN {
            return Err(format!(
                "the secret is {} bytes long: make it at least {SECRET_BYTES_MIN}, for example with openssl rand -hex 16",
                content.len()
            ));
        }
        // Cookies take 1 and 2: one secret, two keys that say nothing of each other.
        Ok(SealKey(derive(content, 3), derive(content, 4)))
    }

    /// Puts the tag into a sealed datagram.
    ///
    /// # Panics
    /// When the datagram is too short to be sealed.
    pub fn stamp(&self, datagram: &mut [u8]) {
        let tag = self.tag(datagram);
        datagram[TAG_AT..TAG_AT + TAG_BYTES].copy_from_slice(&tag.as_bytes());
    }

    /// Whether the seal of a sealed datagram is right. Takes the same time for every wrong one.
    pub fn is_right(&self, datagram: &[u8], seal: &Seal) -> bool {
        // The comparison of the crate is constant in time.
        self.tag(datagram) == Hash128::from(u128::from_le_bytes(seal.tag))
    }

    fn tag(&self, datagram: &[u8]) -> Hash128 {
        let mut hasher = SipHasher24Wide::new_with_keys(self.0, self.1);
        hasher.write(&datagram[..TAG_AT]);
        hasher.write(&datagram[TAG_AT + TAG_BYTES..]);
        hasher.finish128()
    }
}

/// One of the 64-bit keys that a secret gives.
pub fn derive(content: &[u8], which: u64) -> u64 {
    let mut hasher = SipHasher24::new_with_keys(which, 0);
    hasher.write(content);
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use super::super::{Frame, FrameWriter};
    use super::*;
    use crate::limits::FRAME_HEADER_BYTES;

    #[test]
    fn a_seal_is_of_every_byte() {
        let (ours, others) =
            (SealKey::new(b"0123456789abcdef").unwrap(), SealKey::new(b"0123456789abcdeg").unwrap());
        let mut out = Vec::new();
        let mut writer = FrameWriter::begin(7, &mut out).sealed(1, 2, 3, &mut out);
        writer.get(b"key", &mut out);
        writer.finish(&mut out);
        ours.stamp(&mut out);
        let seal = |out: &[u8]| Frame::open(&out[FRAME_HEADER_BYTES..]).unwrap().seal.unwrap();
        assert_eq!((seal(&out).unix_ms, seal(&out).session, seal(&out).sequence), (1, 2, 3));
        assert!(ours.is_right(&out, &seal(&out)) && !others.is_right(&out, &seal(&out)));
        for at in 0..out.len() {
            let mut changed = out.clone();
            changed[at] ^= 1;
            let seal = Frame::open(&changed[FRAME_HEADER_BYTES..]).and_then(|frame| frame.seal);
            assert!(seal.is_none_or(|seal| !ours.is_right(&changed, &seal)), "byte {at}");
        }
    }

    #[test]
    fn a_secret_has_a_length() {
        assert!(SealKey::new(b"short").unwrap_err().contains("at least 16"));
    }
}
