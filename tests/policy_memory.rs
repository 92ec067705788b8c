//! What the policy costs: at most 16 bytes an item and 1 MB, and 8 bytes more for an item with a deadline. S3-FIFO's ghost
//! makes it 28.
//!
//! Counted: nodes, pages, blocks, sketch, shadow caches (`memory_bytes`); wheel and deadlines apart (`wheel_bytes`).
//! Not counted: the rings, which are the server's.

use cache::base::item_ref::ItemRef;
use cache::policy::{Goal, Policy, PolicyConfig, PolicyKind, build};
use cache::ring::Event;
use cache::ring::record::{ChunkUnits, Deadline};

const PAGE_UNITS: u64 = 1 << 17;
const SLOT_UNITS: u32 = 10;

/// A policy that holds `items` items of 160 bytes on 2 MiB pages, all read a few times.
fn filled(kind: PolicyKind, items: u64, ttl: bool) -> Box<dyn Policy> {
    let slots = PAGE_UNITS / SLOT_UNITS as u64;
    let mut policy = build(
        kind,
        Goal::Objects,
        &PolicyConfig {
            budget_bytes: items * SLOT_UNITS as u64 * 16,
            page_units: PAGE_UNITS,
            pages: (items / slots + 2) as usize,
            mean_item_bytes: SLOT_UNITS as u64 * 16,
            seed: 1,
        },
    );
    for i in 0..items {
        let at = (1 + i / slots) * PAGE_UNITS + i % slots * SLOT_UNITS as u64;
        let deadline = if ttl { 10_000 + i * 7919 % 100_000_000 } else { 0 };
        let item = ItemRef::new(at).expect("a reference");
        let hash = (i as u32).wrapping_mul(0x9e37_79b9);
        let deadline = Deadline::new(deadline, SLOT_UNITS);
        policy.event(&Event::Store { item, replaced: None, deadline, chunks: ChunkUnits::NONE, hash }, 1);
    }
    policy
}

#[test]
fn memory_is_within_its_bound() {
    for (kind, item_bytes) in [(PolicyKind::Wtinylfu, 16), (PolicyKind::Lru, 16), (PolicyKind::S3fifo, 28)] {
        for items in [1_000, 100_000, 2_000_000u64] {
            let stats = filled(kind, items, false).stats();
            let bound = items * item_bytes + (1 << 20);
            println!("{kind:?}, {items} items: {} bytes of {bound}", stats.memory_bytes);
            assert_eq!(stats.items, items);
            assert!(stats.memory_bytes <= bound, "{kind:?}, {items}: {} > {bound}", stats.memory_bytes);
        }
    }
}

#[test]
fn a_deadline_costs_no_more_than_eight_bytes() {
    let items = 2_000_000;
    let kind = PolicyKind::Wtinylfu;
    let (with, without) = (filled(kind, items, true).stats(), filled(kind, items, false).stats());
    let wheel = with.wheel_bytes - without.wheel_bytes;
    println!("{items} deadlines: {wheel} bytes");
    // Half-filled chunks of 1024 buckets are part of the fixed megabyte.
    assert!(wheel <= items * 8 + (1 << 19), "{wheel}");
}
