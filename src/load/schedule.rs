//! Open-loop arrivals: when each request is meant to be sent, whatever the server does.
//!
//! Latency counts from these times. A client that waits for a slow server before it sends the next request, and
//! counts from the sending, measures only the requests that the server let it send ("coordinated omission",
//! G. Tene). So a request that is late because of anything at all has that lateness in its latency.

use cache::base::random::Random;

/// The spacing of arrivals.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Arrivals {
    /// Equal gaps.
    Constant,
    /// Exponential gaps: independent clients.
    Poisson,
}

/// The times of one thread's requests.
#[derive(Clone, Debug)]
pub struct Schedule {
    arrivals: Arrivals,
    gap_ns: f64,
    next_ns: f64,
    random: Random,
}

impl Schedule {
    /// Arrivals at `rate_per_s` > 0 from `start_ns` on; part `part` of `parts` equal streams, whose constant gaps
    /// interleave.
    pub fn new(
        arrivals: Arrivals,
        rate_per_s: f64,
        start_ns: u64,
        part: usize,
        parts: usize,
        seed: u64,
    ) -> Schedule {
        let gap_ns = 1e9 * parts as f64 / rate_per_s;
        let next_ns = start_ns as f64 + gap_ns * part as f64 / parts as f64;
        let random = Random::part(seed ^ 0x7363_6865, part as u64);
        Schedule { arrivals, gap_ns, next_ns, random }
    }

    /// When the next request is meant to be sent, in nanoseconds.
    #[inline]
    pub fn next_ns(&self) -> u64 {
        self.next_ns as u64
    }

    /// Requests that were meant to leave before `end_ns` and have not, on average spacing.
    pub fn overdue(&self, end_ns: u64) -> u64 {
        ((end_ns as f64 - self.next_ns) / self.gap_ns).max(0.0).ceil() as u64
    }

    /// Requests that were meant to leave before `from_ns` and have not are given up; equal gaps go on as if they had left.
    #[inline]
    pub fn skip_to(&mut self, from_ns: u64) {
        let behind_ns = from_ns as f64 - self.next_ns;
        if behind_ns > 0.0 {
            self.next_ns += match self.arrivals {
                Arrivals::Constant => (behind_ns / self.gap_ns).ceil() * self.gap_ns,
                // What is to come of an exponential gap does not depend on what has passed of it.
                Arrivals::Poisson => behind_ns + self.gap_ns * self.random.exponential(),
            };
        }
    }

    /// `count` requests left together at [`Schedule::next_ns`]: moves on so that the rate in requests holds.
    #[inline]
    pub fn sent(&mut self, count: usize) {
        let gap_ns = self.gap_ns * count as f64;
        self.next_ns += match self.arrivals {
            Arrivals::Constant => gap_ns,
            Arrivals::Poisson => gap_ns * self.random.exponential(),
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn constant_streams_interleave() {
        let mut times = Vec::new();
        for part in 0..2 {
            let mut schedule = Schedule::new(Arrivals::Constant, 1e6, 1_000, part, 2, 1);
            for _ in 0..3 {
                times.push(schedule.next_ns());
                schedule.sent(1);
            }
        }
        times.sort_unstable();
        assert_eq!(times, [1_000, 2_000, 3_000, 4_000, 5_000, 6_000]);
    }

    #[test]
    fn poisson_keeps_the_rate_and_spreads() {
        let mut schedule = Schedule::new(Arrivals::Poisson, 1e6, 0, 0, 1, 1);
        let (mut previous, mut squares) = (0.0, 0.0);
        for _ in 0..100_000 {
            schedule.sent(1);
            let gap = schedule.next_ns - previous;
            squares += gap * gap;
            previous = schedule.next_ns;
        }
        assert!((0.98e8..1.02e8).contains(&schedule.next_ns), "{}", schedule.next_ns);
        // The second moment of an exponential of mean 1000 is 2 × 1000².
        assert!((1.9e6..2.1e6).contains(&(squares / 1e5)), "{squares}");
    }

    #[test]
    fn what_is_given_up_leaves_the_rhythm_as_it_was() {
        let mut schedule = Schedule::new(Arrivals::Constant, 1e6, 0, 1, 2, 1);
        schedule.skip_to(1_000);
        assert_eq!(schedule.next_ns(), 1_000, "the first gap of the second part ends there");
        schedule.skip_to(10_500);
        assert_eq!((schedule.next_ns(), schedule.overdue(21_000)), (11_000, 5));
        let mut sum = 0.0;
        for seed in 0..10_000 {
            let mut schedule = Schedule::new(Arrivals::Poisson, 1e6, 0, 0, 1, seed);
            schedule.skip_to(5_000_000);
            sum += schedule.next_ns - 5_000_000.0;
        }
        assert!((0.95e7..1.05e7).contains(&sum), "a mean gap of 1000: {sum}");
    }

    #[test]
    fn a_batch_moves_the_clock_by_its_size() {
        let mut schedule = Schedule::new(Arrivals::Constant, 1e6, 0, 0, 1, 1);
        schedule.sent(20);
        assert_eq!(schedule.next_ns(), 20_000);
        assert_eq!((schedule.overdue(20_000), schedule.overdue(50_000)), (0, 30));
    }
}
