//! The rivals, each as "store" and "copy the value out", with keys and values of a fixed size.

use crate::Boxed;
use crate::contest::{Contestant, Seat};
use crate::stretch::{Case, Mix, Stretch, key};
use foldhash::quality::RandomState;
use cache::base::random::Random;
use std::collections::HashMap;
use std::ops::Range;
use std::sync::{Mutex, RwLock};

/// Value bytes.
pub const VALUE: usize = 100;
type Value = [u8; VALUE];

/// A rival by name.
pub struct Rival<'a> {
    pub name: &'static str,
    /// About the memory that it takes, to see whether it fits; measured afterwards.
    pub bytes_per_item: u64,
    /// Makes one with so many items.
    pub fill: &'a dyn Fn(u64) -> Boxed,
}

/// Calls `with` for each rival.
pub fn all<const K: usize>(with: &mut dyn FnMut(&Rival<'_>)) {
    // Tables whose length is a power of two may be half empty.
    let (entry, inline) = ((K + VALUE) as u64, 2 * (K + VALUE) as u64 + 8);
    let mut rival = |name, bytes_per_item, fill: &dyn Fn(u64) -> Boxed| {
        with(&Rival { name, bytes_per_item, fill });
    };
    rival("papaya", entry + 64, &fill::<K, papaya::HashMap<[u8; K], Value, RandomState>>);
    rival("dashmap", inline, &fill::<K, dashmap::DashMap<[u8; K], Value, RandomState>>);
    rival("scc", inline, &fill::<K, scc::HashMap<[u8; K], Value, RandomState>>);
    rival("quick_cache", inline + 48, &fill::<K, QuickCache<K>>);
    rival("moka", entry + 250, &fill::<K, moka::sync::Cache<[u8; K], Value, RandomState>>);
    rival("sharded RwLock", inline, &fill::<K, Sharded<K>>);
    rival("Mutex", inline, &fill::<K, Mutex<HashMap<[u8; K], Value, RandomState>>>);
}

/// What a rival can do.
trait Map<const K: usize>: Send + Sync + 'static {
    fn for_items(items: usize) -> Self;
    fn store(&self, key: [u8; K], value: Value);
    /// Copies the value out; says whether there was one.
    fn copy(&self, key: &[u8; K], value: &mut Value) -> bool;
}

fn fill<const K: usize, M: Map<K>>(items: u64) -> Boxed {
    let map = M::for_items(items as usize);
    for number in 0..items {
        let mut buffer = [0; K];
        key(number, &mut buffer);
        map.store(buffer, value());
    }
    Box::new(Filled(map))
}

fn value() -> Value {
    std::array::from_fn(|i| i as u8)
}

/// A map of `K`-byte keys.
struct Filled<M, const K: usize>(M);

impl<M: Map<K>, const K: usize> Contestant for Filled<M, K> {
    fn seats(&mut self, threads: usize) -> Vec<Box<dyn Seat + '_>> {
        let map = &self.0;
        (0..threads).map(|_| Box::new(User::<M, K>(map)) as Box<dyn Seat>).collect()
    }
}

struct User<'a, M, const K: usize>(&'a M);

impl<M: Map<K>, const K: usize> Seat for User<'_, M, K> {
    fn work(&mut self, case: &Case, stretch: &Stretch, part: Range<usize>, _random: &mut Random) -> u64 {
        assert!(case.mix != Mix::Replace, "rivals delete nothing here");
        let (mut copied, mut digest) = ([0; VALUE], 0u64);
        let new = value();
        for index in part {
            let key: &[u8; K] = stretch.key(index).try_into().expect("keys of this size");
            if stretch.is_write[index] {
                self.0.store(*key, new);
            } else if self.0.copy(key, &mut copied) {
                // The copy must happen, all of it.
                std::hint::black_box(&copied);
                digest = digest.wrapping_add(copied[7] as u64);
            } else {
                digest = digest.wrapping_add(1);
            }
        }
        digest
    }
}

impl<const K: usize> Map<K> for papaya::HashMap<[u8; K], Value, RandomState> {
    fn for_items(items: usize) -> Self {
        papaya::HashMap::with_capacity_and_hasher(items, RandomState::default())
    }
    fn store(&self, key: [u8; K], value: Value) {
        self.pin().insert(key, value);
    }
    fn copy(&self, key: &[u8; K], value: &mut Value) -> bool {
        self.pin().get(key).map(|found| value.copy_from_slice(found)).is_some()
    }
}

impl<const K: usize> Map<K> for dashmap::DashMap<[u8; K], Value, RandomState> {
    fn for_items(items: usize) -> Self {
        dashmap::DashMap::with_capacity_and_hasher(items, RandomState::default())
    }
    fn store(&self, key: [u8; K], value: Value) {
        self.insert(key, value);
    }
    fn copy(&self, key: &[u8; K], value: &mut Value) -> bool {
        self.get(key).map(|found| value.copy_from_slice(&*found)).is_some()
    }
}

impl<const K: usize> Map<K> for scc::HashMap<[u8; K], Value, RandomState> {
    fn for_items(items: usize) -> Self {
        scc::HashMap::with_capacity_and_hasher(items, RandomState::default())
    }
    fn store(&self, key: [u8; K], value: Value) {
        self.upsert_sync(key, value);
    }
    fn copy(&self, key: &[u8; K], value: &mut Value) -> bool {
        self.read_sync(key, |_, found| value.copy_from_slice(found)).is_some()
    }
}

type QuickCache<const K: usize> =
    quick_cache::sync::Cache<[u8; K], Value, quick_cache::UnitWeighter, RandomState>;

impl<const K: usize> Map<K> for QuickCache<K> {
    fn for_items(items: usize) -> Self {
        // A fifth more than there are: shards fill unevenly, and nothing should be evicted.
        let capacity = items + items / 5 + 1000;
        quick_cache::sync::Cache::with(
            capacity,
            capacity as u64,
            quick_cache::UnitWeighter,
            RandomState::default(),
            quick_cache::sync::DefaultLifecycle::default(),
        )
    }
    fn store(&self, key: [u8; K], value: Value) {
        self.insert(key, value);
    }
    fn copy(&self, key: &[u8; K], value: &mut Value) -> bool {
        self.get(key).map(|found| value.copy_from_slice(&found)).is_some()
    }
}

impl<const K: usize> Map<K> for moka::sync::Cache<[u8; K], Value, RandomState> {
    fn for_items(items: usize) -> Self {
        moka::sync::Cache::builder()
            .max_capacity(items as u64 + items as u64 / 5)
            .initial_capacity(items)
            .build_with_hasher(RandomState::default())
    }
    fn store(&self, key: [u8; K], value: Value) {
        self.insert(key, value);
    }
    fn copy(&self, key: &[u8; K], value: &mut Value) -> bool {
        self.get(key).map(|found| value.copy_from_slice(&found)).is_some()
    }
}

/// Many locks over many maps.
struct Sharded<const K: usize> {
    shards: Vec<Shard<K>>,
    hasher: RandomState,
}

/// On a cache line of its own, so that locks do not share one.
#[repr(align(128))]
struct Shard<const K: usize>(RwLock<HashMap<[u8; K], Value, RandomState>>);

impl<const K: usize> Sharded<K> {
    const SHARDS: usize = 64;

    fn shard(&self, key: &[u8; K]) -> &RwLock<HashMap<[u8; K], Value, RandomState>> {
        use std::hash::BuildHasher;
        let hash = self.hasher.hash_one(key);
        &self.shards[(hash >> 32) as usize % Self::SHARDS].0
    }
}

impl<const K: usize> Map<K> for Sharded<K> {
    fn for_items(items: usize) -> Self {
        let room = items / Self::SHARDS + items / Self::SHARDS / 20;
        let shard = |_| Shard(RwLock::new(HashMap::with_capacity_and_hasher(room, RandomState::default())));
        Sharded { shards: (0..Self::SHARDS).map(shard).collect(), hasher: RandomState::default() }
    }
    fn store(&self, key: [u8; K], value: Value) {
        self.shard(&key).write().expect("no thread died with the lock").insert(key, value);
    }
    fn copy(&self, key: &[u8; K], value: &mut Value) -> bool {
        let map = self.shard(key).read().expect("no thread died with the lock");
        map.get(key).map(|found| value.copy_from_slice(found)).is_some()
    }
}

impl<const K: usize> Map<K> for Mutex<HashMap<[u8; K], Value, RandomState>> {
    fn for_items(items: usize) -> Self {
        Mutex::new(HashMap::with_capacity_and_hasher(items, RandomState::default()))
    }
    fn store(&self, key: [u8; K], value: Value) {
        self.lock().expect("no thread died with the lock").insert(key, value);
    }
    fn copy(&self, key: &[u8; K], value: &mut Value) -> bool {
        let map = self.lock().expect("no thread died with the lock");
        map.get(key).map(|found| value.copy_from_slice(found)).is_some()
    }
}
