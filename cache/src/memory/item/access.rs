//! The access word: when an item was read last, and whether the policy knows of it.
//!
//! ```text
//! seconds since the epoch of the last access (30 bits) · untold · fetched
//! ```
//!
//! Under load workers leave hit records out. A read that no record tells of sets `untold`; who is asked to evict such an
//! item spares it once and tells the policy so. It is the reference bit of CLOCK (Corbató, "A paging experiment with the
//! Multics system", 1968), for those reads only that the policy did not hear of.
//! A record clears the bit, but in the first read of a second only: a hot item's line is not to travel between cores with
//! every sampled record.

/// The word.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Access(pub u32);

const FETCHED: u32 = 1;
const UNTOLD: u32 = 2;
const SECONDS_SHIFT: u32 = 2;

impl Access {
    /// Of an item that is stored at `now_s`, in seconds since the server epoch (30 bits, 34 years).
    pub fn new(now_s: u64) -> Access {
        Access((now_s as u32) << SECONDS_SHIFT)
    }

    /// Seconds since the server epoch of the last access.
    pub fn last_s(self) -> u64 {
        (self.0 >> SECONDS_SHIFT) as u64
    }

    /// Whether anybody has read the item since it was stored.
    pub fn fetched(self) -> bool {
        self.0 & FETCHED != 0
    }

    /// Whether it was read, and the policy was not told.
    pub fn untold(self) -> bool {
        self.0 & UNTOLD != 0
    }

    /// After a read at `now_s`; `told`: the policy learns of it.
    #[inline]
    pub fn read(self, now_s: u64, told: bool) -> Access {
        let fresh = Access(Access::new(now_s).0 | FETCHED);
        match told {
            false => Access(fresh.0 | UNTOLD),
            true if fresh.0 | UNTOLD == self.0 => self,
            true => fresh,
        }
    }

    /// After the policy was told.
    pub fn with_second_chance(self) -> Access {
        Access(self.0 & !UNTOLD)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_read_without_a_record_is_remembered_until_one_is_sent() {
        let stored = Access::new(7);
        assert_eq!((stored.last_s(), stored.fetched(), stored.untold()), (7, false, false));
        let told = stored.read(8, true);
        assert_eq!((told.last_s(), told.fetched(), told.untold()), (8, true, false));
        let untold = told.read(8, false);
        assert_eq!((untold.last_s(), untold.fetched(), untold.untold()), (8, true, true));
        assert_eq!(untold.with_second_chance(), told);
        assert_eq!(untold.read(8, true), untold, "not in the same second");
        assert_eq!(untold.read(9, true), Access::new(7).read(9, true));
        assert_eq!(untold.read(8, false), untold, "so the word is not written again");
    }
}
