//! The policy's budget is what items really hold, the chunks of long values included. Counted by their head slots alone, one
//! step of the budget told 48 values of 60 KB to go: a full cache dropped up to 80 % of itself within five stores.

use super::World;
use crate::support::client::Client;
use crate::support::program::Serve;
use cache::base::random::{Random, mix};
use cache::base::zipf::Zipf;
use cache::memory::class::Class;
use cache::memory::{Layout, Size};
use cache::policy::{Goal, PolicyKind};
use sherwood::cli::simulate::replay::{Capacity, Setup, replay};
use sherwood::load::trace::{Op, Record};

const KINDS: [PolicyKind; 3] = [PolicyKind::Wtinylfu, PolicyKind::S3fifo, PolicyKind::Lru];

/// As many of each magnitude, by key.
fn mixed(key: u64, bytes_max: u64) -> usize {
    let unit = mix(key) as f64 / u64::MAX as f64;
    (100.0 * (bytes_max as f64 / 100.0).powf(unit)) as usize
}

/// Stores many times what fits; at each store the items, or their bytes, that are there.
fn fill(world: &mut World, size_of: impl Fn(u64) -> usize, stores: u64, counter: &str) -> Vec<u64> {
    let value = vec![b'v'; 60_000];
    let mut there = Vec::new();
    for key in 0..stores {
        world.set(&format!("k{key:07}"), &value[..size_of(key)]);
        there.push(world.owner(counter));
    }
    there
}

/// The peak, the most that five stores cost, and the least that is there behind the peak.
fn shape_of(there: &[u64]) -> (u64, u64, u64) {
    let peak = *there.iter().max().unwrap();
    let dropped = there.windows(6).map(|window| window[0].saturating_sub(window[5])).max().unwrap();
    let at = there.iter().position(|&items| items == peak).unwrap();
    (peak, dropped, *there[at..].iter().min().unwrap())
}

#[test]
fn a_full_cache_of_long_values_gives_way_one_for_one() {
    for (memory_mib, bytes) in [(16, 8_000), (16, 30_000), (16, 60_000), (64, 30_000), (64, 60_000)] {
        for kind in KINDS {
            let mut world = World::new(1, memory_mib << 20, 10_000, kind);
            let stores = 5 * (memory_mib << 20) / bytes / 2;
            let items = fill(&mut world, |_| bytes, stores as u64, "curr_items");
            let (peak, dropped, least) = shape_of(&items);
            println!(
                "{kind:?} {memory_mib} MiB, {bytes} bytes: peak {peak}, five stores cost {dropped}, least {least}"
            );
            assert!(
                peak as usize * bytes * 100 > (memory_mib << 20) * 85,
                "{kind:?}: only {peak} items of {bytes}"
            );
            assert!(dropped <= 20, "{kind:?}: five stores of {bytes} bytes cost {dropped} of {peak} items");
            assert!(least * 100 >= peak * 95, "{kind:?}: {least} of {peak} items of {bytes} bytes are left");
            agrees(&world, kind);
        }
    }
}

/// What the policy believes to be there is what the owner counts.
fn agrees(world: &World, kind: PolicyKind) {
    let policy = &world.whole.policies[0];
    let (live, budget, used) =
        (policy.live_bytes.get(), policy.budget_bytes.get(), world.owner("used_bytes"));
    let item_bytes = world.owner("item_bytes");
    assert!(live <= budget, "{kind:?}: {live} of {budget} bytes");
    assert!(live.abs_diff(used) * 20 < used, "{kind:?}: {live} bytes live, {used} bytes of slots are used");
    assert!(live * 100 > item_bytes * 95, "{kind:?}: {live} bytes live, items have {item_bytes}");
}

#[test]
fn a_full_cache_of_mixed_values_gives_way_little_by_little() {
    for kind in KINDS {
        let mut world = World::new(1, 32 << 20, 10_000, kind);
        let size_of = |key| mixed(key, 60_000);
        fill(&mut world, size_of, 6_000, "item_bytes");
        let bytes: Vec<u64> = fill(&mut world, |key| mixed(key + 6_000, 60_000), 6_000, "item_bytes");
        let (peak, dropped, least) = shape_of(&bytes);
        println!("{kind:?}: peak {peak} bytes, five stores cost {dropped}, least {least}");
        assert!(dropped <= 5 * 4 * 60_000, "{kind:?}: five stores cost {dropped} bytes");
        assert!(least * 100 >= peak * 90, "{kind:?}: {least} of {peak} bytes are left");
        agrees(&world, kind);
    }
}

/// An append makes an item heavier, and its policy knows.
#[test]
fn what_is_appended_weighs() {
    for kind in KINDS {
        let mut world = World::new(1, 16 << 20, 10_000, kind);
        let piece = vec![b'p'; 50_000];
        for round in 0..8 {
            for key in 0..30 {
                let verb = if round == 0 { "set" } else { "append" };
                let line = format!("{verb} k{key} 0 0 {}\r\n", piece.len());
                let body = [line.as_bytes(), &piece, b"\r\n"].concat();
                assert_eq!(world.ask(0, &body), b"STORED\r\n");
            }
        }
        (0..1_000).for_each(|_| world.tick());
        assert_eq!(world.owner("curr_items"), 30, "{kind:?}: 12 MB fit");
        agrees(&world, kind);
    }
}

/// The program itself, as it was seen: 784 of 1,057 items gone within five stores.
#[test]
fn a_running_server_keeps_its_long_values() {
    let serve = Serve::start(&["--memory", "64MiB", "--workers", "1", "--huge", "off"]);
    let mut client = Client::new(serve.addr);
    let value = vec![b'x'; 60_000];
    let mut items = Vec::new();
    for key in 0..2_500 {
        let body = super::set(&format!("k{key:06}"), &value);
        assert_eq!(client.ask(&body).as_deref(), Some(&b"STORED\r\n"[..]));
        if key % 5 == 4 {
            items.push(serve.stat("curr_items"));
        }
    }
    let peak = *items.iter().max().unwrap();
    let dropped = items.windows(2).map(|pair| pair[0].saturating_sub(pair[1])).max().unwrap();
    let at = items.iter().position(|&items| items == peak).unwrap();
    let least = *items[at..].iter().min().unwrap();
    println!("peak {peak}, five stores cost {dropped}, least {least}");
    // A policy on a busy machine may be late, and then makes up for that at once.
    let is_steady = dropped * 20 <= peak && least * 100 >= peak * 95;
    assert!(is_steady, "peak {peak}, five stores cost {dropped}, least {least}");
    let policy = String::from_utf8(client.ask(b"stats policy\r\n").unwrap()).unwrap();
    let figure = |name: &str| -> u64 {
        let line = policy.lines().find_map(|line| line.strip_prefix(&format!("STAT 0:{name} ")));
        line.expect("a figure of the policy").parse().unwrap()
    };
    let item_bytes = serve.stat("item_bytes");
    assert!(
        figure("live_bytes") * 100 > item_bytes * 90 && figure("budget_bytes") * 100 > item_bytes * 95,
        "{policy}"
    );
    assert!(serve.terminate().0.success());
}

const KEYS: u64 = 12_000;
const REQUESTS: usize = 60_000;
const MEMORY: usize = 32 << 20;

fn name(key: u64) -> String {
    format!("key:{key:06}")
}

/// One of a few sizes, by key.
fn one_of_some(key: u64) -> usize {
    [100, 500, 2_000, 8_000, 30_000, 60_000][(mix(key) % 6) as usize]
}

/// What a server with this policy did: its hit ratio in percent and the bytes of slots that it used, both over the second half,
/// and who evicted.
#[derive(Debug)]
struct Outcome {
    hit_ratio: f64,
    used_bytes: u64,
    by_policy: u64,
    by_pressure: u64,
}

/// Seeds of which the mean counts: which keys W-TinyLFU samples makes a difference of half a point to either side; the other
/// policies do the same with each.
fn seeds(kind: PolicyKind) -> std::ops::Range<u64> {
    if kind == PolicyKind::Wtinylfu { 1..9 } else { 1..2 }
}

/// The mean over its seeds.
fn served(keys: &[u64], size_of: fn(u64) -> usize, kind: PolicyKind) -> Outcome {
    let of_seeds: Vec<_> = seeds(kind).map(|seed| served_once(keys, size_of, kind, seed)).collect();
    println!("{kind:?} {of_seeds:?}");
    Outcome {
        hit_ratio: of_seeds.iter().map(|one| one.hit_ratio).sum::<f64>() / of_seeds.len() as f64,
        used_bytes: of_seeds.iter().map(|one| one.used_bytes).sum::<u64>() / of_seeds.len() as u64,
        by_policy: of_seeds.iter().map(|one| one.by_policy).sum(),
        by_pressure: of_seeds.iter().map(|one| one.by_pressure).sum(),
    }
}

fn served_once(keys: &[u64], size_of: fn(u64) -> usize, kind: PolicyKind, seed: u64) -> Outcome {
    let mut world = World::seeded(seed, 1, MEMORY, KEYS, kind);
    let value = vec![b'v'; 60_000];
    let (mut hits, mut used) = (0, 0);
    for (i, &key) in keys.iter().enumerate() {
        let found = world.ask(0, format!("mg {} s\r\n", name(key)).as_bytes()).starts_with(b"HD");
        if !found {
            world.set(&name(key), &value[..size_of(key)]);
        }
        if i >= keys.len() / 2 {
            (hits, used) = (hits + found as u64, used + world.owner("used_bytes"));
        }
    }
    let half = keys.len() - keys.len() / 2;
    Outcome {
        hit_ratio: hits as f64 / half as f64 * 100.0,
        used_bytes: used / half as u64,
        by_policy: world.owner("evicted_by_policy"),
        by_pressure: world.owner("evicted_by_pressure"),
    }
}

/// The hit ratio in percent of the same by `sherwood simulate`, in a cache of so many bytes; the mean over its seeds.
fn simulated(keys: &[u64], size_of: fn(u64) -> usize, bytes: u64, kind: PolicyKind) -> f64 {
    let chunks = Layout::of(MEMORY, 1).chunks();
    let weight = |key| {
        let size = Size::of(name(key).len(), size_of(key), 0);
        let shape = size.shape(chunks);
        Class::of(shape.bytes_in_slot(size.fixed_bytes())).slot_bytes() + shape.chunks * chunks.slot_bytes()
    };
    let record = |&key: &u64| Record { key, t_ms: 0, size: weight(key) as u32, ttl_s: 0, op: Op::Get };
    let records: Vec<Record> = keys.iter().map(record).collect();
    let second_half = |seed| {
        let capacity = Capacity::Bytes(bytes);
        // What the server was told, so that both begin with a sketch and shadows of one size.
        let mean_item_bytes = Some(MEMORY as u64 / KEYS);
        let (goal, loss_percent) = (Goal::Objects, 0.0);
        let setup = Setup { kind, goal, capacity, loss_percent, value_bytes: 1, mean_item_bytes, seed };
        let half = replay(&records[..keys.len() / 2], &setup);
        let all = replay(&records, &setup);
        (all.hits - half.hits) as f64 / (all.requests - half.requests) as f64 * 100.0
    };
    let of_seeds: Vec<f64> = seeds(kind).map(second_half).collect();
    println!("{kind:?} simulated {of_seeds:.2?}");
    of_seeds.iter().sum::<f64>() / of_seeds.len() as f64
}

/// A policy that counts what items really hold serves mixed sizes as well as the same policy does in the simulator, and better
/// than none.
#[test]
fn mixed_sizes_are_served_as_they_are_simulated() {
    let (zipf, mut random) = (Zipf::new(KEYS, 0.9), Random::new(11));
    let keys: Vec<u64> = (0..REQUESTS).map(|_| zipf.draw(&mut random)).collect();
    let without = served(&keys, one_of_some, PolicyKind::None);
    for kind in KINDS {
        let with_policy = served(&keys, one_of_some, kind);
        let simulated = simulated(&keys, one_of_some, with_policy.used_bytes, kind);
        println!("{kind:?} {with_policy:?}, simulated {simulated:.2} %, without {without:?}");
        assert!(
            with_policy.hit_ratio > simulated - 0.5,
            "{kind:?} {with_policy:?}, simulated {simulated:.2} %"
        );
        assert!(with_policy.by_pressure * 100 < with_policy.by_policy, "the policy decides: {with_policy:?}");
        if kind == PolicyKind::Wtinylfu {
            assert!(with_policy.hit_ratio > without.hit_ratio + 1.0, "{with_policy:?}, without {without:?}");
        }
    }
}

/// A hundred size classes, each with a page that is partly filled: memory is full before the budget is, and owners decide.
#[test]
fn sizes_of_all_kinds_are_served_no_worse_than_without_a_policy() {
    let (zipf, mut random) = (Zipf::new(KEYS, 0.9), Random::new(11));
    let keys: Vec<u64> = (0..REQUESTS).map(|_| zipf.draw(&mut random)).collect();
    let size_of: fn(u64) -> usize = |key| mixed(key, 60_000);
    let without = served(&keys, size_of, PolicyKind::None);
    let with_policy = served(&keys, size_of, PolicyKind::Wtinylfu);
    let simulated = simulated(&keys, size_of, with_policy.used_bytes, PolicyKind::Wtinylfu);
    println!("no policy {without:?}, {with_policy:?}, simulated {simulated:.2} %");
    assert!(with_policy.hit_ratio > simulated - 0.5, "{with_policy:?}, simulated {simulated:.2} %");
    assert!(with_policy.hit_ratio > without.hit_ratio - 0.1, "{with_policy:?}, without {without:?}");
}
