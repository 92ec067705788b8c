//! How a contestant is timed: stretches of work by one or more threads at once.
//!
//! ```text
//! thread 0   draw keys │ meet │ work ──┤ clock      draw keys │ meet │ work ──┤ …
//! thread 1   draw keys │ meet │ work ────┤ clock    draw keys │ meet │ work ───┤ …
//! ```
//! What others take of a busy machine must not count, and must not count more for those who are slow:
//! - one thread: operations over the time that the thread had a processor;
//! - two threads: [`CHUNK`] operations over the *median* time of so many, on the wall's clock, because waiting for a lock
//!   takes no processor time. A chunk is so short that few are interrupted.

use crate::stretch::{Case, Mix, STRETCH, Stretch};
use cache::base::clock::Clock;
use cache::base::random::Random;
use std::ops::Range;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

/// Something that is measured.
pub trait Contestant {
    /// One seat for each thread.
    fn seats(&mut self, threads: usize) -> Vec<Box<dyn Seat + '_>>;
}

/// What one thread has of a contestant.
pub trait Seat: Send {
    /// Whether this thread may write the key of this index.
    fn may_write(&self, _stretch: &Stretch, _index: usize) -> bool {
        true
    }
    /// Does a part of the work; the digest adds up what was copied.
    fn work(&mut self, case: &Case, stretch: &Stretch, part: Range<usize>, random: &mut Random) -> u64;
    /// While keys are drawn: nobody waits for this thread.
    fn pause(&mut self) {}
    /// Before work goes on.
    fn resume(&mut self) {}
}

/// Operations that are timed together; a multiple of every batch.
pub const CHUNK: usize = 256;

/// How much of what.
#[derive(Clone, Copy)]
pub struct Round {
    pub items: u64,
    pub key_bytes: usize,
    pub threads: usize,
    pub time: Duration,
    pub seed: u64,
}

/// Operations a second of all threads together, and the digest. `oldest` moves on where keys are replaced.
pub fn run(contestant: &mut dyn Contestant, case: &Case, round: &Round, oldest: &mut u64) -> (f64, u64) {
    let meeting = Meeting::new(round.threads, round.time);
    let first = *oldest;
    let results: Vec<Result> = std::thread::scope(|scope| {
        let seats = contestant.seats(round.threads);
        let meeting = &meeting;
        let threads: Vec<_> = seats
            .into_iter()
            .enumerate()
            .map(|(index, seat)| scope.spawn(move || sit(seat, case, round, index, first, meeting)))
            .collect();
        threads.into_iter().map(|thread| thread.join().expect("a thread that counts")).collect()
    });
    if case.mix == Mix::Replace {
        *oldest += results[0].stretches * STRETCH as u64;
    }
    let digest = results.iter().fold(0u64, |sum, result| sum.wrapping_add(result.digest));
    (results.iter().map(|result| result.rate).sum(), digest)
}

struct Result {
    rate: f64,
    digest: u64,
    stretches: u64,
}

fn sit(
    mut seat: Box<dyn Seat + '_>,
    case: &Case,
    round: &Round,
    index: usize,
    mut oldest: u64,
    meeting: &Meeting,
) -> Result {
    let mut random = Random::new(round.seed << 8 | index as u64);
    let mut stretch = Stretch::new(round.items, round.key_bytes);
    let (mut times, mut digest, mut stretches, mut spent_ns) = (Vec::new(), 0u64, 0u64, 0u64);
    let clock = Clock::system();
    loop {
        stretch.draw(case, oldest, &mut random, &|stretch, index| seat.may_write(stretch, index));
        if !meeting.goes_on(index == 0) {
            break;
        }
        seat.resume();
        let began_ns = clock.thread_cpu_ns();
        for first in (0..STRETCH).step_by(CHUNK) {
            let begun = Instant::now();
            digest = digest.wrapping_add(seat.work(case, &stretch, first..first + CHUNK, &mut random));
            times.push(begun.elapsed().as_secs_f64());
        }
        spent_ns += clock.thread_cpu_ns() - began_ns;
        seat.pause();
        stretches += 1;
        oldest += if case.mix == Mix::Replace { STRETCH as u64 } else { 0 };
    }
    let rate = match round.threads {
        1 => (stretches as usize * STRETCH) as f64 * 1e9 / spent_ns as f64,
        _ => CHUNK as f64 / median(&times),
    };
    Result { rate, digest, stretches }
}

/// Where threads wait for each other. They spin: waking up from a sleep would spread their starts.
struct Meeting {
    threads: usize,
    arrived: AtomicUsize,
    /// The number of the meeting that is the last.
    last: AtomicUsize,
    until: Instant,
}

impl Meeting {
    fn new(threads: usize, time: Duration) -> Meeting {
        let (arrived, last) = (AtomicUsize::new(0), AtomicUsize::new(usize::MAX));
        Meeting { threads, arrived, last, until: Instant::now() + time }
    }

    /// Waits for all; says whether another stretch follows. The first thread decides, before it arrives.
    fn goes_on(&self, decides: bool) -> bool {
        if decides {
            // Nobody has left the meeting before this one without the first thread, so this is its number.
            let number = self.arrived.load(Ordering::Acquire) / self.threads;
            if number > 0 && Instant::now() >= self.until {
                self.last.store(number, Ordering::Release);
            }
        }
        // AcqRel: what the first thread decided is seen by whoever sees it arrive.
        let number = self.arrived.fetch_add(1, Ordering::AcqRel) / self.threads;
        while self.arrived.load(Ordering::Acquire) < (number + 1) * self.threads {
            std::thread::yield_now();
        }
        self.last.load(Ordering::Acquire) != number
    }
}

/// The middle of some values.
pub fn median(values: &[f64]) -> f64 {
    let mut values = values.to_vec();
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}
