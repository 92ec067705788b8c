//! Chains of small chunks: where the wheel's entries wait. Four bytes an entry, and no copy when they grow.
//!
//! ```text
//! Chain ─▶ chunk of 62 ─▶ chunk of 62 ─▶ chunk of 1..62        added at the end, taken at the front
//! ```
//!
//! Chunks come in slabs from a [`Pool`] and go back to its free list; the pool never shrinks.

const CHUNK_ENTRIES: usize = 62;
const SLAB_CHUNKS: usize = 64;
const NO_CHUNK: u32 = u32::MAX;

/// A run of chunks of one pool.
#[derive(Clone, Copy, Debug)]
pub struct Chain {
    head: u32,
    tail: u32,
}

impl Chain {
    /// No entries.
    pub const EMPTY: Chain = Chain { head: NO_CHUNK, tail: NO_CHUNK };

    /// Whether it has no entries.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.head == NO_CHUNK
    }
}

/// The chunks of all chains.
#[derive(Debug)]
pub struct Pool {
    slabs: Vec<Box<[Chunk]>>,
    used: usize,
    free: u32,
    entries: usize,
}

#[derive(Clone, Copy, Debug)]
struct Chunk {
    next: u32,
    count: u32,
    entries: [u32; CHUNK_ENTRIES],
}

impl Pool {
    /// Entries of a chunk, the most that [`Pool::filter_first`] looks at.
    pub const CHUNK_ENTRIES: usize = CHUNK_ENTRIES;

    /// No chunks.
    pub fn new() -> Pool {
        Pool { slabs: Vec::new(), used: 0, free: NO_CHUNK, entries: 0 }
    }

    /// Entries in all chains.
    pub fn entries(&self) -> usize {
        self.entries
    }

    /// Bytes held.
    pub fn bytes(&self) -> usize {
        self.slabs.len() * SLAB_CHUNKS * size_of::<Chunk>()
    }

    /// Adds an entry at the end.
    pub fn push(&mut self, chain: &mut Chain, entry: u32) {
        self.entries += 1;
        if !chain.is_empty() {
            let tail = self.chunk_mut(chain.tail);
            if (tail.count as usize) < CHUNK_ENTRIES {
                tail.entries[tail.count as usize] = entry;
                tail.count += 1;
                return;
            }
        }
        let id = self.take();
        let chunk = self.chunk_mut(id);
        (chunk.next, chunk.count, chunk.entries[0]) = (NO_CHUNK, 1, entry);
        self.append(chain, Chain { head: id, tail: id });
    }

    /// Takes an entry of the first chunk.
    pub fn pop(&mut self, chain: &mut Chain) -> Option<u32> {
        if chain.is_empty() {
            return None;
        }
        let chunk = self.chunk_mut(chain.head);
        chunk.count -= 1;
        let (entry, left) = (chunk.entries[chunk.count as usize], chunk.count);
        if left == 0 {
            self.unlink_first(chain);
        }
        self.entries -= 1;
        Some(entry)
    }

    /// Puts `more` behind `chain`.
    pub fn append(&mut self, chain: &mut Chain, more: Chain) {
        if chain.is_empty() {
            *chain = more;
        } else if !more.is_empty() {
            self.chunk_mut(chain.tail).next = more.head;
            chain.tail = more.tail;
        }
    }

    /// Takes the first chunk, adds those of its entries that `keep` wants at the end; returns how many it looked at.
    pub fn filter_first(&mut self, chain: &mut Chain, keep: impl Fn(u32) -> bool) -> usize {
        if chain.is_empty() {
            return 0;
        }
        let Chunk { count, entries, .. } = *self.chunk_mut(chain.head);
        self.unlink_first(chain);
        self.entries -= count as usize;
        for &entry in entries[..count as usize].iter().filter(|&&entry| keep(entry)) {
            self.push(chain, entry);
        }
        count as usize
    }

    /// Chunks of a chain.
    pub fn length(&self, chain: &Chain) -> usize {
        let mut at = chain.head;
        let mut length = 0;
        while at != NO_CHUNK {
            length += 1;
            at = self.slabs[at as usize / SLAB_CHUNKS][at as usize % SLAB_CHUNKS].next;
        }
        length
    }

    fn unlink_first(&mut self, chain: &mut Chain) {
        let id = chain.head;
        let free = self.free;
        let next = std::mem::replace(&mut self.chunk_mut(id).next, free);
        self.free = id;
        match next {
            NO_CHUNK => *chain = Chain::EMPTY,
            next => chain.head = next,
        }
    }

    fn take(&mut self) -> u32 {
        if self.free != NO_CHUNK {
            let id = self.free;
            self.free = self.chunk_mut(id).next;
            return id;
        }
        if self.used == self.slabs.len() * SLAB_CHUNKS {
            let empty = Chunk { next: NO_CHUNK, count: 0, entries: [0; CHUNK_ENTRIES] };
            self.slabs.push(vec![empty; SLAB_CHUNKS].into());
        }
        self.used += 1;
        self.used as u32 - 1
    }

    #[inline]
    fn chunk_mut(&mut self, id: u32) -> &mut Chunk {
        &mut self.slabs[id as usize / SLAB_CHUNKS][id as usize % SLAB_CHUNKS]
    }
}

impl Default for Pool {
    fn default() -> Pool {
        Pool::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[derive(Clone, Debug)]
    enum Step {
        Push(u8),
        Pop(u8),
        Append(u8, u8),
        KeepEven(u8),
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            8 => (0u8..3).prop_map(Step::Push),
            3 => (0u8..3).prop_map(Step::Pop),
            1 => (0u8..3, 0u8..3).prop_map(|(to, from)| Step::Append(to, from)),
            1 => (0u8..3).prop_map(Step::KeepEven),
        ]
    }

    proptest! {
        /// Three chains against three bags: what goes in comes out, once.
        #[test]
        fn chains_lose_nothing(steps in prop::collection::vec(step(), 0..2000)) {
            let mut pool = Pool::new();
            let mut chains = [Chain::EMPTY; 3];
            let mut bags: [Vec<u32>; 3] = Default::default();
            for (i, step) in steps.into_iter().enumerate() {
                match step {
                    Step::Push(c) => {
                        pool.push(&mut chains[c as usize], i as u32);
                        bags[c as usize].push(i as u32);
                    }
                    Step::Pop(c) => match pool.pop(&mut chains[c as usize]) {
                        Some(entry) => {
                            let at = bags[c as usize].iter().position(|&e| e == entry);
                            bags[c as usize].remove(at.expect("an entry that was pushed"));
                        }
                        None => prop_assert!(bags[c as usize].is_empty()),
                    },
                    Step::Append(to, from) if to != from => {
                        let more = std::mem::replace(&mut chains[from as usize], Chain::EMPTY);
                        pool.append(&mut chains[to as usize], more);
                        let more = std::mem::take(&mut bags[from as usize]);
                        bags[to as usize].extend(more);
                    }
                    Step::Append(..) => {}
                    Step::KeepEven(c) => {
                        let chain = &mut chains[c as usize];
                        for _ in 0..pool.length(chain) {
                            pool.filter_first(chain, |entry| entry % 2 == 0);
                        }
                        bags[c as usize].retain(|entry| entry % 2 == 0);
                    }
                }
                prop_assert_eq!(pool.entries(), bags.iter().map(Vec::len).sum::<usize>());
            }
        }
    }
}
