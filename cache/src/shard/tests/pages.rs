//! Pages that change hands while something still refers to what was there.

use super::*;
use crate::base::item_ref::ItemRef;
use crate::memory::class::Class;

impl SingleOwner {
    /// A tick of which the policy hears nothing.
    fn tick_unheard(&mut self) {
        self.now.ns += 10_000_000;
        self.pin.quiescent();
        self.owner.tick(&mut self.pin, self.now, |_| ());
    }

    fn item_of(&self, key: u64) -> ItemRef {
        self.owner.find(&key.to_le_bytes(), self.now).expect("stored").at
    }

    fn class_of_page(&self, page: usize) -> Option<Class> {
        self.owner.contents().memory.slab().class_of(page)
    }
}

const SHORT: std::ops::Range<u64> = 0..1_000_000;
const LONG: u64 = 3_000_000;

/// The policy's ring is full, the last page has lost events, and meanwhile it has become chunks of a client's bytes.
fn last_page_is_chunks_and_its_events_are_lost(byte: u8) -> SingleOwner {
    let mut single = SingleOwner::new(4 << 20, 104);
    let last = single.pool.layout().pages - 1;
    let mut keys = SHORT;
    while single.pool.free_pages() > single.owner.contents().memory.free_pages_wanted() {
        single.set(keys.next().unwrap(), &[1; 150]);
        if keys.start.is_multiple_of(1000) {
            single.tick();
        }
    }
    let (one, other) = (2_000_000, 2_000_001);
    single.set(one, &[2; 1_000]);
    single.set(other, &[2; 2_500]);
    assert_eq!(
        single.owner.contents().memory.slab().page_of(single.item_of(other)),
        last,
        "the last two pages have an item each"
    );
    single.tick();
    let key = SHORT.start.to_le_bytes();
    (0..=EVENT_RING_RECORDS).for_each(|_| _ = single.owner.touch(&key, 0, true, single.now));
    assert!(single.remove(one));
    assert!(single.remove(other));
    (0..3).for_each(|_| single.tick_unheard());
    assert_eq!(single.class_of_page(last), None, "nothing is left of it");
    (LONG..LONG + 2).for_each(|key| single.set(key, &[byte; 60_000]));
    assert_eq!(single.class_of_page(last), Some(Class::CHUNK));
    single
}

/// No byte of a client is read as an item's header. Of 0xff it would say that the item reaches beyond the memory, of others
/// that there is an item where none is.
#[test]
fn a_page_of_lost_events_may_become_chunks() {
    for byte in [0xff, 0x00, 0x01, b'x'] {
        let mut single = last_page_is_chunks_and_its_events_are_lost(byte);
        let mut told = Vec::new();
        assert!(single.owner.contents().outcomes.is_behind());
        for _ in 0..1_000 {
            single.events.drain(usize::MAX, |event| told.push(event));
            single.tick_unheard();
        }
        assert!(!single.owner.contents().outcomes.is_behind());
        single.events.drain(usize::MAX, |event| told.push(event));
        let reset = told.iter().rposition(|event| matches!(event, Event::Touch { .. })).unwrap();
        let stores = told[reset..].iter().filter_map(|event| match *event {
            Event::Store { item, hash, chunks, .. } => Some((item, hash, chunks.get())),
            _ => None,
        });
        let mut long = 0;
        for (item, hash, chunk_units) in stores {
            assert_ne!(
                single.class_of_page(single.owner.contents().memory.slab().page_of(item)),
                Some(Class::CHUNK)
            );
            let item = single.owner.contents().memory.slab().item(item);
            assert_eq!(hash, upper(single.owner.shards().hash(item.key())));
            assert_eq!(chunk_units as usize * 16, item.shape().chunks * 2048);
            long += (chunk_units > 0) as usize;
        }
        assert_eq!(long, 2, "long values are told with the pages of their heads");
    }
}

/// A command names what was there before: the slots of the table hold no chunk, so it finds nothing.
#[test]
fn a_late_command_that_names_a_chunk_does_nothing() {
    let mut single = last_page_is_chunks_and_its_events_are_lost(0xff);
    let chunks: Vec<_> =
        single.owner.contents().memory.slab().item(single.item_of(LONG)).value().chunk_refs().collect();
    let hash = upper(single.owner.shards().hash(&LONG.to_le_bytes()));
    let stale = single.counters.stale_commands.get();
    for (item, verdict) in
        [(chunks[0], Verdict::Evict), (chunks[28], Verdict::Reject), (chunks[5], Verdict::Expire)]
    {
        single.commands.push(PolicyCommand { item, hash, verdict }).unwrap();
    }
    single.tick();
    assert_eq!(single.counters.stale_commands.get(), stale + 3);
    assert_eq!(single.value_of(LONG), Some(vec![0xff; 60_000]));
}

/// The chunks of a page belong to dozens of items, each with chunks in other pages: a page of them is emptied by copying, and
/// as much is evicted as makes room for it.
#[test]
fn a_page_of_chunks_costs_few_items() {
    let mut single = SingleOwner::new(16 << 20, 4096);
    let mut random = 1u64;
    let mut next = |bound: u64| {
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (random >> 33) % bound
    };
    // Every page has chunks of many items.
    for _ in 0..3_000 {
        let key = LONG + next(700);
        single.set(key, &vec![3; 4_000 + next(56_000) as usize]);
        single.tick();
    }
    let before = single.counters.evicted_by_pressure.get();
    (0..6_000).for_each(|key| {
        single.set(key, &[1; 100]);
        single.tick();
    });
    let pages = single.owner.contents().memory.slab().pages_of(Class::of(24 + 8 + 100)) as u64;
    let evicted = single.counters.evicted_by_pressure.get() - before;
    assert!(pages >= 5, "{pages}");
    assert!(evicted <= 6 * pages, "{evicted} long values were evicted for {pages} pages");
}
