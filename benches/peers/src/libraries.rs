//! The libraries, each as "read, and insert on a miss", single-threaded, one shard where that can be asked for.
//!
//! stretto hands every insert to a thread of its own, and a run that does not wait for that thread measures how many inserts
//! it dropped. Waiting costs a round trip between two threads a miss, and now and then never ends; so every library has a
//! time limit for a cell, and a cell that it did not finish has no figure of it.

use foyer_memory::{Cache, CacheBuilder, EvictionConfig, LfuConfig, LruConfig, S3FifoConfig};
use sherwood::load::trace::Record;
use std::sync::Arc;
use std::sync::mpsc::sync_channel;
use std::thread;
use std::time::{Duration, Instant};

/// Reads between two looks at the clock.
const READS_A_LOOK: usize = 1024;

/// Names that [`hits_of`] knows.
pub const LIBRARIES: [&str; 8] =
    ["moka", "mini-moka", "quick_cache", "foyer-lfu", "foyer-s3fifo", "foyer-lru", "stretto", "lru"];

/// Hits of a library over `records`, holding `items` items; `None` where it takes longer than `limit`. A library that does not
/// come back at all keeps its thread until the process ends.
pub fn hits_within(limit: Duration, name: &'static str, items: usize, records: &Arc<Vec<Record>>) -> Option<u64> {
    let (tell, answer) = sync_channel(1);
    let records = Arc::clone(records);
    let end = Instant::now() + limit;
    thread::spawn(move || {
        let mut cut = false;
        let keys = records.iter().enumerate().map_while(|(i, record)| {
            cut |= i % READS_A_LOOK == 0 && Instant::now() >= end;
            (!cut).then_some(record.key)
        });
        let hits = hits_of(name, items, keys);
        // Nobody listens any more if it was cut.
        let _ = tell.send((!cut).then_some(hits));
    });
    answer.recv_timeout(limit + Duration::from_secs(1)).ok().flatten()
}

fn hits_of(name: &str, items: usize, keys: impl Iterator<Item = u64>) -> u64 {
    match name {
        "moka" => moka(items, keys),
        "mini-moka" => mini_moka(items, keys),
        "quick_cache" => quick_cache(items, keys),
        "foyer-lfu" => foyer(items, LfuConfig::default().into(), keys),
        "foyer-s3fifo" => foyer(items, S3FifoConfig::default().into(), keys),
        "foyer-lru" => foyer(items, LruConfig::default().into(), keys),
        "stretto" => stretto(items, keys),
        "lru" => lru(items, keys),
        other => panic!("unknown library {other}"),
    }
}

fn count(keys: impl Iterator<Item = u64>, mut read: impl FnMut(u64) -> bool) -> u64 {
    keys.map(|key| read(key) as u64).sum()
}

fn moka(items: usize, keys: impl Iterator<Item = u64>) -> u64 {
    let cache = moka::sync::Cache::new(items as u64);
    count(keys, |key| {
        let hit = cache.get(&key).is_some();
        if !hit {
            cache.insert(key, ());
        }
        // Its housekeeping is deferred; without this a small cache holds more than it may.
        cache.run_pending_tasks();
        hit
    })
}

fn mini_moka(items: usize, keys: impl Iterator<Item = u64>) -> u64 {
    let mut cache = mini_moka::unsync::Cache::new(items as u64);
    count(keys, |key| {
        let hit = cache.get(&key).is_some();
        if !hit {
            cache.insert(key, ());
        }
        hit
    })
}

fn quick_cache(items: usize, keys: impl Iterator<Item = u64>) -> u64 {
    let mut cache = quick_cache::unsync::Cache::new(items);
    count(keys, |key| {
        let hit = cache.get(&key).is_some();
        if !hit {
            cache.insert(key, ());
        }
        hit
    })
}

fn foyer(items: usize, eviction: EvictionConfig, keys: impl Iterator<Item = u64>) -> u64 {
    let cache: Cache<u64, ()> =
        CacheBuilder::new(items).with_shards(1).with_eviction_config(eviction).build();
    count(keys, |key| {
        let hit = cache.get(&key).is_some();
        if !hit {
            cache.insert(key, ());
        }
        hit
    })
}

fn stretto(items: usize, keys: impl Iterator<Item = u64>) -> u64 {
    let cache = stretto::Cache::builder(items * 10, items as i64)
        .set_ignore_internal_cost(true)
        .finalize()
        .expect("a valid configuration");
    count(keys, |key| {
        let hit = cache.get(&key).is_some();
        if !hit {
            cache.insert(key, (), 1);
            // Inserts travel through a thread of its own; wait, or it drops them.
            let _ = cache.wait();
        }
        hit
    })
}

fn lru(items: usize, keys: impl Iterator<Item = u64>) -> u64 {
    let mut cache = lru::LruCache::new(std::num::NonZeroUsize::new(items).expect("at least one item"));
    count(keys, |key| {
        let hit = cache.get(&key).is_some();
        if !hit {
            cache.put(key, ());
        }
        hit
    })
}
