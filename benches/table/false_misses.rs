//! How often a key that is there is missed, while a writer replaces everything else at full speed. It must be never.
//!
//! ```text
//! writer   delete oldest, insert fresh, delete oldest, …    (the upper half of the keys; all shifts and displacements)
//! reader   the lower half, in batches of 32, over and over   Hit | Miss: a lie | Unsettled: the owner would be asked
//! ```
//! The table is small, so that both stay in the cache and each line is rewritten as often as possible.

use crate::field::{Field, Shard, View};
use crate::options::Options;
use crate::stretch::key;
use cache::base::random::Random;
use cache::memory::grace::Participant;
use cache::table::{Found, Lookup};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Instant;

const BATCH: usize = 32;

/// What the reader saw.
#[derive(Default)]
struct Seen {
    reads: u64,
    misses: u64,
    unsettled: u64,
    /// Misses of keys that a crowded line has cost.
    evicted: u64,
    /// Time from the first read to the last.
    spent_s: f64,
}

impl Seen {
    fn rate(&self) -> f64 {
        self.reads as f64 / self.spent_s
    }
}

/// Reads a tenth of `reads` times alone, then `reads` times beside the writer; says whether no key was missed.
pub fn run(options: &Options, reads: u64) -> bool {
    let mut field = Field::new(options.size(1));
    let statics = options.items[0] / 2;
    let evicted = (0..statics).map(|_| AtomicBool::new(false)).collect();
    let progress = Progress { evicted, rounds: AtomicU64::new(0) };
    let stop = AtomicBool::new(false);
    let mut participant = field.reader.take();
    let shard = &mut field.shards[0];
    let view = std::sync::Arc::clone(&shard.view);
    let key_bytes = options.key_bytes[0];
    let alone = read(&view, &mut participant, key_bytes, reads / 10, &progress, &stop);
    stop.store(false, Ordering::Relaxed);
    let (replaced, seen) = std::thread::scope(|scope| {
        let reader = scope.spawn(|| read(&view, &mut participant, key_bytes, reads, &progress, &stop));
        let replaced = churn(shard, statics..options.items[0], key_bytes, &progress, &stop);
        (replaced, reader.join().expect("a reader that counts"))
    });
    let spent_s = seen.spent_s;
    println!(
        "the reader alone: {:.1} M/s; beside a full-speed writer {:.2} of that",
        alone.rate() / 1e6,
        seen.rate() / alone.rate()
    );
    println!(
        "{} reads of {statics} static keys in {spent_s:.1} s ({:.1} M/s) against {replaced} replacements ({:.1} M/s): \
         {} false misses, {} unsettled, {} of keys that were evicted",
        seen.reads,
        seen.rate() / 1e6,
        replaced as f64 / spent_s / 1e6,
        seen.misses,
        seen.unsettled,
        seen.evicted
    );
    seen.misses == 0
}

/// What the writer tells the reader, so that a key that a crowded line has cost is not called a lie.
struct Progress {
    /// One for each static key.
    evicted: Vec<AtomicBool>,
    /// Rounds of the writer; what they evicted is noted.
    rounds: AtomicU64,
}

impl Progress {
    /// Whether a key was evicted, once the writer has noted what it was at.
    fn was_evicted(&self, number: u64) -> bool {
        if self.evicted[number as usize].load(Ordering::Acquire) {
            return true;
        }
        let seen = self.rounds.load(Ordering::Acquire);
        while self.rounds.load(Ordering::Acquire) <= seen.saturating_add(1).min(u64::MAX - 1) {
            std::thread::yield_now();
        }
        self.evicted[number as usize].load(Ordering::Acquire)
    }
}

/// Replaces keys, oldest first, until `stop`; says how many.
fn churn(
    shard: &mut Shard,
    numbers: std::ops::Range<u64>,
    key_bytes: usize,
    progress: &Progress,
    stop: &AtomicBool,
) -> u64 {
    let live = numbers.end - numbers.start;
    let (mut old, mut new) = (vec![0u8; key_bytes], vec![0u8; key_bytes]);
    shard.online();
    let mut oldest = numbers.start;
    while !stop.load(Ordering::Relaxed) {
        for _ in 0..BATCH {
            key(oldest, &mut old);
            key(oldest + live, &mut new);
            let hash = |key: &[u8]| shard.view.hash.hash(key);
            let (old_hash, new_hash) = (hash(&old), hash(&new));
            shard.remove(Lookup { key: &old, hash: old_hash, table: 0 });
            let evicted = shard.insert(oldest + live, Lookup { key: &new, hash: new_hash, table: 0 });
            if let Some(gone) = evicted.and_then(|number| progress.evicted.get(number as usize)) {
                gone.store(true, Ordering::Release);
            }
            oldest += 1;
        }
        progress.rounds.fetch_add(1, Ordering::Release);
        shard.tick();
    }
    progress.rounds.store(u64::MAX, Ordering::Release);
    shard.offline();
    oldest - numbers.start
}

fn read(
    view: &View,
    participant: &mut Option<Participant>,
    key_bytes: usize,
    reads: u64,
    progress: &Progress,
    stop: &AtomicBool,
) -> Seen {
    let statics = progress.evicted.len() as u64;
    // Keys are made before: the reader does nothing but read.
    let keys: Vec<u8> = (0..statics)
        .flat_map(|number| {
            let mut buffer = vec![0; key_bytes];
            key(number, &mut buffer);
            buffer
        })
        .collect();
    let all: Vec<Lookup<'_>> =
        keys.chunks(key_bytes).map(|key| Lookup { key, hash: view.hash.hash(key), table: 0 }).collect();
    let (mut seen, mut random) = (Seen::default(), Random::new(1));
    let mut pin = participant.take().expect("a new field has its reader").pin();
    let begun = Instant::now();
    while seen.reads < reads {
        let first = random.below(statics - BATCH as u64) as usize;
        let mut missed = Vec::new();
        view.tables[0].find_batch(view, &all[first..first + BATCH], |i, found| match found {
            Found::Hit(_) => {}
            Found::Miss => missed.push((first + i) as u64),
            Found::Unsettled => seen.unsettled += 1,
        });
        seen.reads += BATCH as u64;
        pin.quiescent();
        // The writer waits for nobody but for memory, and that is free while this thread is asleep.
        if !missed.is_empty() {
            let is_lie = |number: &&u64| !progress.was_evicted(**number);
            let lies = pin.asleep(|| missed.iter().filter(is_lie).count());
            seen.misses += lies as u64;
            seen.evicted += (missed.len() - lies) as u64;
        }
    }
    seen.spent_s = begun.elapsed().as_secs_f64();
    *participant = Some(pin.unpin());
    stop.store(true, Ordering::Relaxed);
    seen
}
