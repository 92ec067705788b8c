//! REF: what the memory gives to a GET that needs no thought.
//!
//! A random line of the index is loaded and summed up; a random item, of which it tells nothing, is loaded and its
//! value copied. The address of the item depends on what the line holds, as it does in a table.

use crate::field::Field;
use sherwood::io::sim::Random;
use sherwood::item_ref::ItemRef;
use sherwood::table::prefetch;

const BATCH: usize = 32;

pub fn run(field: &Field, random: &mut Random, count: usize) -> (u64, u64) {
    let slots = field.table.raw_slots();
    let lines = slots.len() as u64 / 8;
    let mut copied = [0u8; 1024];
    let mut digest = 0u64;
    for _ in 0..count / BATCH {
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
            item.inspect(|&at| field.items.prefetch(at, 192));
        }
        for at in items.into_iter().flatten() {
            let value = field.items.get(at).value().whole().expect("a short value");
            copied[..value.len()].copy_from_slice(value);
            digest = digest.wrapping_add(copied[7] as u64);
        }
    }
    (count as u64, digest)
}
