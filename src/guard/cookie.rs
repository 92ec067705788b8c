//! Address validation for strangers: a cookie proves that whoever asks can read what is sent to its address.
//!
//! ```text
//! stranger ─ any datagram ───────────────▶      answered by nothing but a challenge, no longer than the datagram:
//!          ◀──── COOKIE 0123456789abcdef ─
//!          ─ cookie 0123456789abcdef\r\n get a\r\n ─▶      served
//! ```
//! The cookie is SipHash-2-4 (Aumasson & Bernstein 2012) of the address and the minute under a secret: nothing is kept
//! per client, all servers that share the secret file take each other's cookies, and one is good for one to two minutes.
//! Who guesses one of 2^64 may do what any validated client may: read and write data, nothing else.

use protocol::batch::SealKey;
use protocol::batch::seal::derive;
use siphasher::sip::SipHasher24;
use std::hash::Hasher;
use std::net::IpAddr;

/// What a client puts before its commands: `cookie <16 hex digits>\r\n`.
const WORD: &[u8] = b"cookie ";
const DIGITS: usize = 16;
const LINE_BYTES: usize = WORD.len() + DIGITS + 2;
/// How long a cookie is the newest, in seconds; it is taken for as long again.
const PERIOD_S: u64 = 60;

/// The keys that cookies and seals are made with.
#[derive(Clone)]
pub struct Secret {
    key: (u64, u64),
    /// Of sealed frames.
    pub seal: SealKey,
}

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Secret(…)")
    }
}

impl Secret {
    /// Bytes of a challenge.
    pub const CHALLENGE_BYTES: usize = LINE_BYTES;

    /// From the content of a secret file.
    ///
    /// # Errors
    /// One line: it is too short to be a secret.
    pub fn new(content: &[u8]) -> Result<Secret, String> {
        let seal = SealKey::new(content)?;
        let content = content.trim_ascii();
        Ok(Secret { key: (derive(content, 1), derive(content, 2)), seal })
    }

    /// The line that a client at `ip` may put before its commands: the answer to strangers.
    pub fn challenge(&self, ip: IpAddr, unix_s: u64) -> [u8; LINE_BYTES] {
        let mut line = [0; LINE_BYTES];
        line[..WORD.len()].copy_from_slice(b"COOKIE ");
        let cookie = self.fresh_cookie(ip, unix_s);
        for (i, digit) in line[WORD.len()..][..DIGITS].iter_mut().enumerate() {
            *digit = b"0123456789abcdef"[(cookie >> (60 - 4 * i)) as usize & 15];
        }
        line[LINE_BYTES - 2..].copy_from_slice(b"\r\n");
        line
    }

    /// The cookie that a batch frame from `ip` may carry: the answer to strangers who sent one.
    pub fn fresh_cookie(&self, ip: IpAddr, unix_s: u64) -> u64 {
        self.cookie(ip, unix_s / PERIOD_S)
    }

    /// Whether `cookie` is good for `ip` now.
    pub fn accepts(&self, cookie: u64, ip: IpAddr, unix_s: u64) -> bool {
        let period = unix_s / PERIOD_S;
        cookie == self.cookie(ip, period) || cookie == self.cookie(ip, period.wrapping_sub(1))
    }

    fn cookie(&self, ip: IpAddr, period: u64) -> u64 {
        let mut hasher = SipHasher24::new_with_keys(self.key.0, self.key.1);
        match ip.to_canonical() {
            IpAddr::V4(ip) => hasher.write(&ip.to_ipv6_mapped().octets()),
            IpAddr::V6(ip) => hasher.write(&ip.octets()),
        }
        hasher.write_u64(period);
        hasher.finish()
    }
}

/// The cookie before the commands of `body`, and the commands; `None` where there is none.
pub fn split(body: &[u8]) -> Option<(u64, &[u8])> {
    let digits = body.strip_prefix(WORD)?;
    let (digits, rest) = digits.split_at_checked(DIGITS)?;
    let rest = rest.strip_prefix(b"\r\n").or_else(|| rest.strip_prefix(b"\n"))?;
    let cookie = digits
        .iter()
        .try_fold(0u64, |cookie, &digit| Some(cookie << 4 | (digit as char).to_digit(16)? as u64))?;
    Some((cookie, rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW_S: u64 = 1_700_000_040;

    fn cookie_of(challenge: &[u8]) -> u64 {
        let line = [&b"cookie "[..], &challenge[WORD.len()..], b"mn\r\n"].concat();
        let (cookie, rest) = split(&line).unwrap();
        assert_eq!(rest, b"mn\r\n");
        cookie
    }

    #[test]
    fn a_cookie_is_good_for_its_address_and_for_one_to_two_minutes() {
        let secret = Secret::new(b"0123456789abcdef").unwrap();
        let (ip, other): (IpAddr, IpAddr) = ("192.0.2.1".parse().unwrap(), "192.0.2.2".parse().unwrap());
        let cookie = cookie_of(&secret.challenge(ip, NOW_S));
        for (later_s, good) in [(0, true), (60, true), (79, true), (120, false), (100_000, false)] {
            assert_eq!(secret.accepts(cookie, ip, NOW_S + later_s), good, "{later_s} s later");
        }
        assert!(!secret.accepts(cookie, other, NOW_S));
        assert!(!Secret::new(b"another secret of mine").unwrap().accepts(cookie, ip, NOW_S));
        assert!(secret.accepts(cookie, "::ffff:192.0.2.1".parse().unwrap(), NOW_S));
    }

    #[test]
    fn what_is_no_cookie_line_is_left_alone() {
        for body in [
            &b"get a\r\n"[..],
            b"cookie",
            b"cookie 0123",
            b"cookie 0123456789abcdeg\r\n",
            b"cookie 0123456789abcdef",
            b"cookie 0123456789abcdef0\r\n",
        ] {
            assert_eq!(split(body), None, "{}", body.escape_ascii());
        }
    }

    #[test]
    fn a_secret_has_a_length() {
        assert!(Secret::new(b"short").unwrap_err().contains("at least 16"));
    }
}
