//! REF: what the memory gives to a GET that needs no thought.
//!
//! A random line of the index is loaded and summed up; a random item, of which it tells nothing, is loaded and its
//! value copied. The address of the item depends on what the line holds, as it does in a table.

use crate::contest::{Contestant, Seat};
use crate::field::{Field, View};
use crate::stretch::{Case, Stretch};
use cache::base::item_ref::ItemRef;
use cache::base::prefetch;
use cache::base::random::Random;
use std::ops::Range;
use std::sync::Arc;

const BATCH: usize = 32;

/// The memory of a field without its tables' logic.
pub struct Reference<'a>(pub &'a Field);

impl Contestant for Reference<'_> {
    fn seats(&mut self, threads: usize) -> Vec<Box<dyn Seat + '_>> {
        let view = &self.0.shards[0].view;
        (0..threads).map(|_| Box::new(Reader(Arc::clone(view))) as Box<dyn Seat>).collect()
    }
}

struct Reader(Arc<View>);

impl Seat for Reader {
    fn work(&mut self, _case: &Case, _stretch: &Stretch, part: Range<usize>, random: &mut Random) -> u64 {
        let mut copied = [0u8; 1024];
        let mut digest = 0u64;
        let tables = &self.0.tables;
        for block in part.start / BATCH..part.end / BATCH {
            let slots = tables[block % tables.len()].raw_slots();
            let lines = slots.len() as u64 / 8;
            let mut starts = [0usize; BATCH];
            for start in &mut starts {
                *start = random.below(lines) as usize * 8;
                prefetch::read(&slots[*start]);
            }
            let mut items = [None; BATCH];
            for (item, &start) in items.iter_mut().zip(&starts) {
                let line = &slots[start..start + 8];
                let words = line.iter().map(|slot| slot.load(std::sync::atomic::Ordering::Relaxed));
                // The last item of the line: most lines have one.
                let word = words.fold(0, |last, word| if word != 0 { word } else { last });
                *item = ItemRef::new(word & ((1 << ItemRef::BITS) - 1));
                item.inspect(|&at| self.0.items.prefetch(at, 192));
            }
            for at in items.into_iter().flatten() {
                let value = self.0.item(at).value().whole().expect("a short value");
                copied[..value.len()].copy_from_slice(value);
                digest = digest.wrapping_add(copied[7] as u64);
            }
        }
        digest
    }
}
