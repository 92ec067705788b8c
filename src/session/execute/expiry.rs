//! When an expiry that a client named is due.

use cache::base::clock::Now;
use protocol::request::Expiry;

/// In ms since the server epoch; 0 = never. A time that has passed is 1: due at once.
pub fn due_ms(expiry: Expiry, now: Now) -> u64 {
    const LATEST_MS: u64 = (1 << 44) - 1;
    match expiry {
        Expiry::Never => 0,
        Expiry::Past => 1,
        Expiry::InMs(ms) => now.ms().saturating_add(ms).min(LATEST_MS),
        Expiry::AtUnixS(at_s) => match at_s.checked_sub(now.unix_s) {
            None | Some(0) => 1,
            Some(in_s) => now.ms().saturating_add(in_s.saturating_mul(1000)).min(LATEST_MS),
        },
    }
}
