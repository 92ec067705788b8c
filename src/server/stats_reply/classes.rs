//! `stats slabs` and `stats items`: memcached's figures of size classes, for each class that has pages.

use super::unknown;
use crate::server::figures::{Figures, stat};
use crate::server::memory::{page_bytes, pages_of};
use cache::memory::SlabStats;
use cache::memory::class::Class;

/// `STAT CLASS:name value`
pub fn slabs(figures: &Figures, text: &mut String) {
    let classes = SlabStats::read_all(&figures.slab_stats);
    for (class, tally) in &classes {
        let class = class.index();
        let mut of_class = |name, value: u64| stat(text, &format!("{class}:{name}"), value);
        of_class("chunk_size", tally.slot_bytes);
        of_class("chunks_per_page", tally.slots_of_page);
        of_class("total_pages", tally.pages);
        of_class("total_chunks", tally.pages * tally.slots_of_page);
        of_class("used_chunks", tally.live + tally.unfinished);
        of_class("retired_chunks", tally.retired);
        of_class("free_chunks", tally.free());
        of_class("mem_requested", tally.item_bytes);
        unknown::stats(&format!("{class}:"), unknown::SLABS, text);
    }
    stat(text, "active_slabs", classes.len());
    stat(text, "total_malloced", pages_of(&classes) * page_bytes(figures));
}

/// `STAT items:CLASS:name value`. Chunks of long values are no items: they count with the class of their item.
pub fn items(figures: &Figures, text: &mut String) {
    let classes = SlabStats::read_all(&figures.slab_stats);
    for (class, tally) in classes.iter().filter(|(class, _)| *class != Class::CHUNK) {
        let prefix = format!("items:{}:", class.index());
        let mut of_class = |name, value: u64| stat(text, &format!("{prefix}{name}"), value);
        of_class("number", tally.live);
        of_class("mem_requested", tally.item_bytes);
        of_class("evicted", figures.lost_of(*class, |lost| &lost.evicted));
        of_class("evicted_unfetched", figures.lost_of(*class, |lost| &lost.evicted_unfetched));
        of_class("evicted_nonzero", figures.lost_of(*class, |lost| &lost.evicted_nonzero));
        of_class("reclaimed", figures.lost_of(*class, |lost| &lost.expired));
        of_class("expired_unfetched", figures.lost_of(*class, |lost| &lost.expired_unfetched));
        unknown::stats(&prefix, unknown::ITEMS, text);
    }
}
