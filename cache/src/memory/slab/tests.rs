//! An allocator against a model of it, and grace.

use super::*;
use proptest::prelude::*;
use std::collections::BTreeMap;

fn slab(pages: usize) -> Slab {
    let layout = Layout { page_bytes: Layout::PAGE_BYTES_MIN, pages };
    let items = Items::on_heap(layout.page_bytes * pages);
    Slab::new(items, PagePool::new(layout, 0))
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 100, failure_persistence: None, ..ProptestConfig::default() })]

    /// No overlap, no leak, sizes kept, and all pages back after everything is released.
    #[test]
    fn the_slab_is_an_allocator(ops in prop::collection::vec((25usize..70_000, any::<u16>()), 1..600)) {
        let mut slab = slab(12);
        let mut model: BTreeMap<ItemRef, usize> = BTreeMap::new();
        for (bytes, choice) in ops {
            if choice % 3 == 0 && !model.is_empty() {
                let at = *model.keys().nth(choice as usize % model.len()).unwrap();
                model.remove(&at);
                slab.release(at);
            } else if let Some(got) = slab.allocate(bytes) {
                prop_assert!(got.bytes() >= bytes);
                let end = got.at().offset_bytes() + got.bytes();
                if let Some((before, size)) = model.range(..=got.at()).next_back() {
                    prop_assert!(before.offset_bytes() + size <= got.at().offset_bytes());
                }
                if let Some((after, _)) = model.range(got.at()..).next() {
                    prop_assert!(after.offset_bytes() >= end);
                }
                prop_assert_eq!(slab.slot_bytes(got.at()), got.bytes());
                let bytes = got.bytes();
                model.insert(got.publish(), bytes);
            } else {
                prop_assert_eq!(slab.pool().free_pages(), 0);
            }
            prop_assert_eq!(slab.used_bytes(), model.values().sum::<usize>());
            prop_assert_eq!(slab.used_slots(), model.len());
            let stats = SlabStats::read_all(&[slab.stats()]);
            let (pages, live): (u64, u64) = stats.iter().map(|(_, t)| (t.pages, t.live)).fold((0, 0), |a, b| (a.0 + b.0, a.1 + b.1));
            prop_assert_eq!((pages as usize, live as usize), (slab.pages_held(), model.len()));
            if choice % 7 == 0 && let Some(&at) = model.keys().next() {
                slab.close_page(slab.layout.page_of(at));
            }
            for class in (0..CLASSES_MAX).map(Class::from_index) {
                let open = (0..12).filter(|&page| slab.class_of(page) == Some(class) && !slab.is_closed(page));
                let free = open.map(|page| slab.slots_of(class).count - slab.used_in(page)).sum::<usize>();
                prop_assert_eq!(slab.free_slots_of(class), free);
                prop_assert_eq!(slab.partial[class.index()] == NO_PAGE, free == 0);
            }
        }
        for page in 0..12 {
            let mut from = 0;
            while let Some((index, used)) = slab.next_used_slot(page, from) {
                prop_assert!(model.contains_key(&slab.item_of(used)));
                from = index + 1;
            }
        }
        for at in model.into_keys() {
            slab.release(at);
        }
        prop_assert_eq!(slab.pool().free_pages(), 12);
    }
}

#[test]
fn retired_memory_is_reused_after_grace_only() {
    let grace = Grace::new(2);
    let (mut owner, mut reader) = (grace.participant(0).unwrap().pin(), grace.participant(1).unwrap().pin());
    let mut slab = slab(1);
    let bytes = 60_000;
    let first = slab.allocate(bytes).unwrap().publish();
    let second = slab.allocate(bytes).unwrap();
    assert!(slab.allocate(bytes).is_none());
    slab.retire_slot(first);
    assert_eq!(slab.reclaim(&grace, 10), 0);
    owner.quiescent();
    assert_eq!(slab.reclaim(&grace, 10), 0, "the reader may still look at it");
    assert_eq!(slab.retired().len(), 1);
    let stats = SlabStats::read_all(&[slab.stats()]);
    assert_eq!((stats[0].1.live, stats[0].1.retired, stats[0].1.free()), (1, 1, 0));
    reader.quiescent();
    assert_eq!(slab.reclaim(&grace, 10), 1);
    let again = slab.allocate(bytes).unwrap();
    assert_eq!(again.at(), first);
    slab.give_back(again);
    slab.give_back(second);
}
