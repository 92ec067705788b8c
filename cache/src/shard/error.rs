//! Why a write did not happen.

/// It may happen later, without anybody's help.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Blocked {
    /// Memory was evicted, but readers may still look at it: try again in the next tick.
    OnGrace,
    /// Dead items of earlier flushes and invalidations are still being removed: try again in some seconds.
    OnScrub,
    /// Values that are still coming hold as much memory as they may ([`UNFINISHED_SHARE`](crate::limits::UNFINISHED_SHARE)): try
    /// again in the next tick.
    OnUnfinished,
}

/// Why a write did not happen; nothing has changed then.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WriteError {
    /// Not now.
    Blocked(Blocked),
    /// The value is larger than `value_bytes_max`, or than memory could hold.
    TooLarge,
    /// Nothing of this owner can be evicted: other owners have all pages, or the cache does not evict.
    OutOfMemory,
    /// The value to count is no decimal number.
    NotANumber,
}

impl From<Blocked> for WriteError {
    fn from(blocked: Blocked) -> WriteError {
        WriteError::Blocked(blocked)
    }
}

impl std::fmt::Display for WriteError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            WriteError::Blocked(Blocked::OnGrace) => {
                "evicted memory may still be read: try again in the next tick"
            }
            WriteError::Blocked(Blocked::OnScrub) => {
                "items of earlier flushes are being removed: try again later"
            }
            WriteError::Blocked(Blocked::OnUnfinished) => {
                "values that are still coming hold as much memory as they may: try again in the next tick"
            }
            WriteError::TooLarge => "the value is larger than the cache takes",
            WriteError::OutOfMemory => "no memory, and nothing of this owner can be evicted",
            WriteError::NotANumber => "the value is no decimal number",
        })
    }
}

impl std::error::Error for WriteError {}
