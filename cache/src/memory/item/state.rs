//! The state word of an item: what its owner may change.

/// The owner-written word of an item.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct State(pub(super) u64);

impl State {
    const DEADLINE_MASK: u64 = (1 << 44) - 1;
    const STALE: u64 = 1 << 44;
    const WIN_SENT: u64 = 1 << 45;
    const HAS_FLAGS: u64 = 1 << 46;

    const GENERATION_SHIFT: u32 = 47;
    /// Largest generation; the next is 0 again.
    pub const GENERATION_MAX: u32 = (1 << 17) - 1;

    pub(super) fn new(deadline_ms: u64, generation: u32, has_flags: bool) -> State {
        let flags = if has_flags { Self::HAS_FLAGS } else { 0 };
        State(deadline_ms & Self::DEADLINE_MASK | flags | (generation as u64) << Self::GENERATION_SHIFT)
    }

    /// The generation of the shard when the item was stored.
    #[inline]
    pub fn generation(self) -> u32 {
        (self.0 >> Self::GENERATION_SHIFT) as u32
    }

    /// Milliseconds since the server epoch; 0 = never.
    #[inline]
    pub fn deadline_ms(self) -> u64 {
        self.0 & Self::DEADLINE_MASK
    }

    /// Whether the deadline has passed at `now_ms`.
    #[inline]
    pub fn expired(self, now_ms: u64) -> bool {
        // A deadline of 0 wraps to the largest number: never.
        self.deadline_ms().wrapping_sub(1) < now_ms
    }

    /// Marked stale by a meta delete with I.
    pub fn stale(self) -> bool {
        self.0 & Self::STALE != 0
    }

    /// Somebody has been told that it won the right to refresh.
    pub fn win_sent(self) -> bool {
        self.0 & Self::WIN_SENT != 0
    }

    /// As if it was stored with this generation.
    pub fn with_generation(self, generation: u32) -> State {
        let rest = self.0 & ((1 << Self::GENERATION_SHIFT) - 1);
        State(rest | (generation as u64) << Self::GENERATION_SHIFT)
    }

    /// With another deadline (ms since the server epoch, 0 = never).
    pub fn with_deadline_ms(self, deadline_ms: u64) -> State {
        State(self.0 & !Self::DEADLINE_MASK | deadline_ms & Self::DEADLINE_MASK)
    }

    /// With the stale mark set or cleared.
    pub fn with_stale(self, stale: bool) -> State {
        State(if stale { self.0 | Self::STALE } else { self.0 & !Self::STALE })
    }

    /// With the win-sent mark set or cleared.
    pub fn with_win_sent(self, sent: bool) -> State {
        State(if sent { self.0 | Self::WIN_SENT } else { self.0 & !Self::WIN_SENT })
    }

    pub(super) fn has_flags(self) -> bool {
        self.0 & Self::HAS_FLAGS != 0
    }
}
