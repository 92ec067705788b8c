//! Walking over all keys of a table, from any thread, a few home lines at a time.
//!
//! # Idea
//! Keys stand in the order of their hashes at any size, so a walk is at a place among the hashes, whatever array has them: a home
//! line of the largest array that the table may have. Line `h` of an array that is a sixteenth of it covers sixteen of those.
//!
//! ```text
//! position   0        16       32       48              a line of the largest array
//! now        │ line 0 │ line 1 │ line 2 │ …             the front of a growth is between two lines
//! next       │ 0 │ 1  │ 2 │ 3  │ 4 │ 5  │ …
//! ```
//! # What a walk sees
//! A key that is there from the first step to the last is seen at least once: the keys of a line are read as a miss is
//! confirmed, in order, between two equal versions, in the array that has the line before and after. Steps may be as far apart as
//! one likes. A key that is stored or removed meanwhile is seen or not. One may be seen twice where the table halves between two
//! steps and the walk stood within a line of the smaller array, where it is removed and stored again, and where its item is
//! replaced while its line is read.
//!
//! # Cost, bounds
//! A home line is 1.2 lines to read at a load of 0.8, 16 at most. After [`MISS_ROUNDS_MAX`] rounds in which the owner shifted keys, the
//! step ends where it is; the next one tries again.

use crate::base::item_ref::ItemRef;
use crate::base::sync::{Ordering, spin};
use crate::limits::{HOME_ITEMS_MAX, MISS_ROUNDS_MAX, PROBE_LINES_MAX};
use crate::table::probe::Geometry;
use crate::table::shape::DOUBLINGS_MAX;
use crate::table::slot::Slot;
use crate::table::{LINE_SLOTS, Table};
use arrayvec::ArrayVec;

/// The items of one home line.
pub type HomeItems = ArrayVec<ItemRef, HOME_ITEMS_MAX>;

const _: () = assert!(HOME_ITEMS_MAX == PROBE_LINES_MAX * LINE_SLOTS);

/// How far a walk is: what is next.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Position(u64);

/// What a step of a walk came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// The items of a home line were read.
    Read,
    /// Keys moved each time that the line was looked at: the walk is where it was.
    Unsettled,
    /// There are no more lines.
    End,
}

/// A home line, and the array that it is in.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Home {
    array: Geometry,
    line: usize,
    /// The position behind it.
    next: u64,
}

impl Table {
    /// Reads the items of the next home line. They stay readable until the caller's tick ends.
    pub fn walk_line(&self, position: &mut Position, items: &mut HomeItems) -> Step {
        for _ in 0..MISS_ROUNDS_MAX {
            items.clear();
            let Some(home) = self.home_at(*position) else { return Step::End };
            let last_line = home.line + PROBE_LINES_MAX - 1;
            let stamps = self.stamps(home.array);
            let stamp = stamps.before(home.line, last_line);
            self.read_home(home.line, items);
            // As in `settle`: a scan that met a slot of a move (Release) sees the watermark that was stored before it.
            let is_same = |now: Home| (now.array, now.line) == (home.array, home.line);
            if stamps.unchanged(stamp, home.line, last_line) && self.home_at(*position).is_some_and(is_same) {
                *position = Position(home.next);
                return Step::Read;
            }
            spin();
        }
        items.clear();
        Step::Unsettled
    }

    /// Where the keys at a position are now; `None` behind the last line.
    fn home_at(&self, Position(position): Position) -> Option<Home> {
        let state = self.state();
        let shape = self.shape_of(state);
        let shift = DOUBLINGS_MAX - state.doublings();
        let line = position >> shift;
        if line >= shape.now().lines() {
            return None;
        }
        if line >= state.watermark() {
            let (array, next) = (shape.now(), (line + 1) << shift);
            return Some(Home { array, line: array.base() + line as usize, next });
        }
        let (array, front) = (shape.next(), state.watermark() << shift);
        let shift = DOUBLINGS_MAX - state.next_doublings();
        let line = position >> shift;
        // Of two lines that become one, the second may not have moved yet.
        Some(Home { array, line: array.base() + line as usize, next: ((line + 1) << shift).min(front) })
    }

    /// The items of the keys of home line `home`, in ascending order with ordered loads.
    fn read_home(&self, home: usize, items: &mut HomeItems) {
        for (displacement, line) in self.all_lines()[home..home + PROBE_LINES_MAX].iter().enumerate() {
            let mut last = false;
            for word in line {
                // Acquire: as in `scan_in_order`.
                let slot = Slot::from_word(word.load(Ordering::Acquire));
                let slot_displacement = slot.displacement(home + displacement);
                match slot.item() {
                    // One that an insert moves to a later line is met in both.
                    Some(item) if slot_displacement == displacement && !items.contains(&item) => {
                        items.push(item);
                    }
                    _ => last |= slot.is_free() || slot_displacement < displacement,
                }
            }
            if last {
                return;
            }
        }
    }
}
