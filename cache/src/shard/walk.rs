//! A walk over all items of a shard: what it holds, a few lines of its index at a time.
//!
//! ```
//! use cache::base::clock::Clock;
//! use cache::shard::{Mode, Owner, Store, Walk};
//! use cache::{Built, Cache};
//!
//! let Built { cache, mut owners, mut participants, .. } = Cache::builder().memory_bytes(16 << 20).build();
//! let (mut owner, mut pin) = (Owner::new(owners.remove(0)), participants.remove(0).pin());
//! let now = Clock::system().now();
//! owner.store(&mut pin, &Store::new(Mode::Set, b"key", b"value"), now).unwrap();
//!
//! let (mut walk, mut keys) = (Walk::new(0), Vec::new());
//! while !walk.is_done() {
//!     cache.shards().view(&pin).walk(&mut walk, 64, now, |item| keys.push(item.key().to_vec()));
//!     pin.quiescent(); // a tick, or a second
//! }
//! assert_eq!(keys, [b"key"]);
//! ```

use crate::base::clock::Now;
use crate::limits::WALK_TRIES_MAX;
use crate::memory::Item;
use crate::shard::view::View;
use crate::table::{HomeItems, Keys, Position, Step};

/// How far a walk over a shard is. It holds nothing, so it may rest for as long as one likes between two steps.
#[derive(Clone, Debug)]
pub struct Walk {
    shard: usize,
    position: Position,
    is_done: bool,
}

impl Walk {
    /// A walk over shard `shard`, from its beginning.
    pub fn new(shard: usize) -> Walk {
        Walk { shard, position: Position::default(), is_done: false }
    }

    /// Which shard.
    pub fn shard(&self) -> usize {
        self.shard
    }

    /// Whether all items were seen.
    pub fn is_done(&self) -> bool {
        self.is_done
    }
}

impl<'g> View<'g> {
    /// Goes on with a walk by `lines` lines of the index, and calls `each` for the items there that may be served: 6 a line when the
    /// index is loaded as intended, [`HOME_ITEMS_MAX`](crate::limits::HOME_ITEMS_MAX) at most. It leaves no trace in them.
    ///
    /// An item that lives from the first step to the last is seen at least once, also where the index grows meanwhile or
    /// items move. One that is stored or removed meanwhile may be seen or not. A key may be seen twice: where the index halves
    /// between two steps, and where the key is stored anew meanwhile.
    ///
    /// # Panics
    /// When there is no such shard.
    pub fn walk(self, walk: &mut Walk, lines: usize, now: Now, mut each: impl FnMut(Item<'g>)) {
        let shard = self.shards().shard(walk.shard);
        let (mut refs, mut tries) = (HomeItems::new(), 0);
        let mut left = lines;
        while left > 0 && !walk.is_done && tries < WALK_TRIES_MAX {
            match shard.table.walk_line(&mut walk.position, &mut refs) {
                Step::Read => left -= 1,
                Step::Unsettled => tries += 1,
                Step::End => walk.is_done = true,
            }
            // All of a line are asked for before the first is looked at.
            refs.iter().for_each(|&at| self.prefetch(at));
            let items = refs.drain(..).map(|at| self.lend(at).item());
            items.filter(|item| shard.is_live(item, now)).for_each(&mut each);
        }
    }
}
