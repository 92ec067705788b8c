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
use sherwood::io::sim::Random;
use sherwood::memory::grace::Member;
use sherwood::table::{Found, Lookup};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

const BATCH: usize = 32;

/// What the reader saw.
#[derive(Default)]
struct Seen {
    reads: u64,
    misses: u64,
    unsettled: u64,
}

/// Reads `reads` times; says whether no key was missed.
pub fn run(options: &Options, reads: u64) -> bool {
    let mut field = Field::new(options.size(1));
    let statics = options.items[0] / 2;
    let (stop, begun) = (AtomicBool::new(false), Instant::now());
    let reader_member = field.reader.take().expect("a new field has its reader");
    let shard = &mut field.shards[0];
    let view = std::sync::Arc::clone(&shard.view);
    let key_bytes = options.key_bytes[0];
    let (replaced, seen) = std::thread::scope(|scope| {
        let reader = scope.spawn(|| read(&view, &reader_member, statics, key_bytes, reads, &stop));
        let replaced = churn(shard, statics..options.items[0], key_bytes, &stop);
        (replaced, reader.join().expect("a reader that counts"))
    });
    let spent_s = begun.elapsed().as_secs_f64();
    println!(
        "{} reads of {statics} static keys in {spent_s:.1} s ({:.1} M/s) against {replaced} replacements ({:.1} M/s): \
         {} false misses, {} unsettled",
        seen.reads,
        seen.reads as f64 / spent_s / 1e6,
        replaced as f64 / spent_s / 1e6,
        seen.misses,
        seen.unsettled
    );
    seen.misses == 0
}

/// Replaces keys, oldest first, until `stop`; says how many.
fn churn(shard: &mut Shard, numbers: std::ops::Range<u64>, key_bytes: usize, stop: &AtomicBool) -> u64 {
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
            shard.remove(Lookup { key: &old, hash: old_hash });
            // An eviction could hit a static key, and a miss of that would be no lie. At this load there is none.
            let evicted = shard.insert(oldest + live, Lookup { key: &new, hash: new_hash });
            assert!(!evicted, "a line is crowded: choose fewer items");
            oldest += 1;
        }
        shard.tick();
    }
    shard.offline();
    oldest - numbers.start
}

fn read(view: &View, member: &Member, statics: u64, key_bytes: usize, reads: u64, stop: &AtomicBool) -> Seen {
    // Keys are made before: the reader does nothing but read.
    let keys: Vec<u8> = (0..statics)
        .flat_map(|number| {
            let mut buffer = vec![0; key_bytes];
            key(number, &mut buffer);
            buffer
        })
        .collect();
    let all: Vec<Lookup<'_>> =
        keys.chunks(key_bytes).map(|key| Lookup { key, hash: view.hash.hash(key) }).collect();
    let (mut seen, mut random) = (Seen::default(), Random::new(1));
    member.online();
    while seen.reads < reads {
        let first = random.below(statics - BATCH as u64) as usize;
        view.tables[0].find_batch(&view.items, &all[first..first + BATCH], |_, found| match found {
            Found::Hit(_) => {}
            Found::Miss => seen.misses += 1,
            Found::Unsettled => seen.unsettled += 1,
        });
        seen.reads += BATCH as u64;
        member.quiescent();
    }
    member.offline();
    stop.store(true, Ordering::Relaxed);
    seen
}
