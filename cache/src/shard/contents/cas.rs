//! Numbers for compare-and-set, unique in the process: of `count` shards, shard `number` gives every `count`-th.

/// The cas numbers of one shard.
pub(super) struct CasNumbers {
    coming: u64,
    step: u64,
}

impl CasNumbers {
    pub(super) fn new(number: usize, count: usize) -> CasNumbers {
        CasNumbers { coming: number as u64 + 1, step: count as u64 }
    }

    /// The number that the next item gets.
    #[inline]
    pub(super) fn coming(&self) -> u64 {
        self.coming
    }

    /// An item with this number was published. A number that a client chose may be any, and uses up none.
    #[inline]
    pub(super) fn published(&mut self, cas: u64) {
        self.coming += if cas == self.coming { self.step } else { 0 };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shards_share_no_number_and_a_client_s_own_uses_up_none() {
        let (mut first, mut second) = (CasNumbers::new(0, 2), CasNumbers::new(1, 2));
        assert_eq!((first.coming(), second.coming()), (1, 2));
        first.published(1);
        second.published(7);
        assert_eq!((first.coming(), second.coming()), (3, 2));
    }
}
