//! Times of a trace: from whatever clock its records are of to ms since its first record.

/// Sees the time of each record in turn.
#[derive(Clone, Copy, Debug, Default)]
pub struct Clock {
    first_ms: Option<u64>,
    latest_ms: u64,
}

impl Clock {
    /// ms since the first record. A time before the latest one counts as that: records keep their order, and a pause is
    /// kept as it is.
    pub fn since_first_ms(&mut self, time_ms: u64) -> u64 {
        let first_ms = *self.first_ms.get_or_insert(time_ms);
        self.latest_ms = self.latest_ms.max(time_ms.saturating_sub(first_ms));
        self.latest_ms
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_record_is_time_zero_and_times_do_not_go_back() {
        let mut clock = Clock::default();
        let times = [564_726_470_000, 564_726_470_000, 564_726_472_000, 564_726_471_000, 7, 564_726_999_000];
        assert_eq!(times.map(|time| clock.since_first_ms(time)), [0, 0, 2000, 2000, 2000, 529_000]);
    }
}
