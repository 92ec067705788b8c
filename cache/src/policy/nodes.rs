//! The nodes of one owner's items, addressed by where the item lives. No map keyed by item.
//!
//! ```text
//! reference ─ ÷ page_units ─▶ page ─ remainder ÷ slot_units ─▶ index ─▶ block of 32 nodes ─▶ node
//!                              │ slot_units, origin                        │ page, first index, slot_units
//! ```
//!
//! A page gets its blocks when its first item is stored and gives them back when it changes its size class or is
//! reset. Where the slots of a page begin is not told: the remainder of the first reference seen (`origin`) is
//! enough to go both ways. A slot longer than a page (a run of pages) is one node on its first page.
//!
//! An item weighs its slot and the chunks of a long value, wherever these lie: they are told with the item, and are no
//! nodes.
//!
//! Cost: 12 bytes a slot of every page in use, 4 more for the deadline once any item has one, half a byte of
//! blocks, and 4 bytes for each neighbour of an item with chunks. Time O(1). Nodes lie in slabs of 48 MiB of address space that fill from the front, so growing never copies and
//! costs what is used. Beside a large region the kernel is asked for huge pages: with millions of nodes most of the time of
//! a hit is spent on finding the page.

use super::node::{NODES_MAX, NONE, Node, Segment, Space};
use crate::base::item_ref::ItemRef;
use crate::base::prefetch;

const BLOCK_NODES: u32 = 32;
const SLAB_NODES: u32 = 1 << 22;
/// Memory of the items from which on nodes are in huge pages: in less, a huge page that is used in part would count.
const HUGE_REGION_BYTES: u64 = 256 << 20;

/// Nodes by page and index.
#[derive(Debug)]
pub struct Nodes {
    page_units: u64,
    has_huge_pages: bool,
    pages: Vec<Page>,
    blocks: Vec<Block>,
    blocks_free: Vec<u32>,
    beside: Beside,
    slabs: Vec<Vec<Node>>,
    deadlines: Vec<Vec<u32>>,
    has_deadlines: bool,
}

#[derive(Debug, Default)]
struct Page {
    slot_units: u32,
    origin: u32,
    blocks: Box<[u32]>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Block {
    page: u32,
    first_index: u32,
    slot_units: u32,
    /// Where [`Beside`] has the chunks of its items; [`NOTHING`] while none has any.
    beside: u32,
}

/// Units of chunks, of the items of those blocks where an item has chunks: few blocks of few items, because such items
/// are large.
#[derive(Debug, Default)]
struct Beside {
    units: Vec<[u32; BLOCK_NODES as usize]>,
    free: Vec<u32>,
}

const NOTHING: u32 = u32::MAX;

impl Nodes {
    /// No nodes yet, for a region of `pages` pages of `page_units` × 16 bytes.
    pub fn new(page_units: u64, pages: usize) -> Nodes {
        assert!(page_units > 0 && page_units <= u32::MAX as u64);
        Nodes {
            page_units,
            has_huge_pages: page_units * pages as u64 * ItemRef::UNIT_BYTES as u64 >= HUGE_REGION_BYTES,
            // Grown to the highest page seen: an owner of few pages does not pay for all.
            pages: Vec::with_capacity(pages.min(64)),
            blocks: Vec::new(),
            blocks_free: Vec::new(),
            beside: Beside::default(),
            slabs: Vec::new(),
            deadlines: Vec::new(),
            has_deadlines: false,
        }
    }

    /// The node of an item, if its page has nodes; there may be no live item on it.
    #[inline]
    pub fn find(&self, item: ItemRef) -> Option<u32> {
        let (page, rest) = self.split(item);
        let page = self.pages.get(page)?;
        if page.slot_units == 0 {
            return None;
        }
        let index = rest / page.slot_units;
        let block = *page.blocks.get((index / BLOCK_NODES) as usize)?;
        // A reference between two slots was never stored.
        (rest % page.slot_units == page.origin).then_some(block * BLOCK_NODES + index % BLOCK_NODES)
    }

    /// Asks for the memory of a node; [`NONE`] is none.
    #[inline]
    pub fn prefetch(&self, n: u32) {
        if n != NONE {
            prefetch::read(self.node(n));
        }
    }

    /// The same, and for what tells the weight of its item: who moves it from one list to another needs that, too.
    #[inline]
    pub fn prefetch_with_weight(&self, n: u32) {
        if n != NONE {
            prefetch::read(self.node(n));
            prefetch::read(&self.blocks[(n / BLOCK_NODES) as usize]);
        }
    }

    /// Asks for the memory of a node's neighbours on its list.
    #[inline]
    pub fn prefetch_neighbours(&self, n: u32) {
        if n != NONE {
            let node = self.node(n);
            self.prefetch(node.prev());
            self.prefetch(node.next());
        }
    }

    /// Whether the page of `item` is laid out in slots as `item` of `slot_units` needs it.
    pub fn fits(&self, item: ItemRef, slot_units: u32) -> bool {
        let (page, rest) = self.split(item);
        self.pages
            .get(page)
            .is_some_and(|page| page.slot_units == slot_units && rest % slot_units == page.origin)
    }

    /// Lays the page of `item` out anew and returns the item's node; the page must hold no item.
    /// `None` when no more nodes can be had ([`NODES_MAX`]).
    pub fn lay_out(&mut self, item: ItemRef, slot_units: u32) -> Option<u32> {
        let (page, rest) = self.split(item);
        self.clear_page(page);
        if page >= self.pages.len() {
            self.pages.resize_with(page + 1, Page::default);
        }
        let slots = self.page_units.div_ceil(slot_units as u64).max(1) as u32;
        let count = slots.div_ceil(BLOCK_NODES);
        let mut blocks = Vec::with_capacity(count as usize);
        for i in 0..count {
            let first_index = i * BLOCK_NODES;
            let block = Block { page: page as u32, first_index, slot_units, beside: NOTHING };
            match self.take_block(block) {
                Some(id) => blocks.push(id),
                None => {
                    self.blocks_free.append(&mut blocks);
                    return None;
                }
            }
        }
        self.pages[page] = Page { slot_units, origin: rest % slot_units, blocks: blocks.into() };
        self.find(item)
    }

    /// Where the item of a node lives.
    pub fn item(&self, n: u32) -> ItemRef {
        let block = self.blocks[(n / BLOCK_NODES) as usize];
        let page = &self.pages[block.page as usize];
        let index = block.first_index + n % BLOCK_NODES;
        let units =
            block.page as u64 * self.page_units + page.origin as u64 + index as u64 * block.slot_units as u64;
        ItemRef::new(units).expect("a node is handed out for a reference that was seen")
    }

    /// The nodes with an item among the pages that `units` from `first` touch, into `found`.
    pub fn live_in(&self, first: ItemRef, units: u64, found: &mut Vec<u32>) {
        let last = (first.units() + units.max(1) - 1) / self.page_units;
        for page in self.split(first).0..=last as usize {
            let Some(page) = self.pages.get(page) else { break };
            for &block in &page.blocks {
                found.extend((block * BLOCK_NODES..(block + 1) * BLOCK_NODES).filter(|&n| {
                    self.node(n).segment() != Segment::Free
                        && (first.units()..first.units() + units).contains(&self.item(n).units())
                }));
            }
        }
    }

    /// The nodes with an item on the page of `item`, into `found`.
    pub fn live_on_page(&self, item: ItemRef, found: &mut Vec<u32>) {
        if let Some(page) = self.pages.get(self.split(item).0) {
            let nodes = page.blocks.iter().flat_map(|&block| block * BLOCK_NODES..(block + 1) * BLOCK_NODES);
            found.extend(nodes.filter(|&n| self.node(n).segment() != Segment::Free));
        }
    }

    /// All nodes with an item; for checks.
    pub fn all_live(&self) -> impl Iterator<Item = u32> + '_ {
        (0..self.blocks.len() as u32 * BLOCK_NODES).filter(|&n| self.node(n).segment() != Segment::Free)
    }

    /// What the item of a node takes beside its slot, in units of 16 bytes.
    #[inline]
    pub fn chunk_units(&self, n: u32) -> u32 {
        match self.blocks[(n / BLOCK_NODES) as usize].beside {
            NOTHING => 0,
            at => self.beside.units[at as usize][(n % BLOCK_NODES) as usize],
        }
    }

    /// Says what the item of a node takes beside its slot. The node is on no list: lists add up what their nodes weigh.
    pub fn set_chunk_units(&mut self, n: u32, units: u32) {
        debug_assert!(self.node(n).segment() == Segment::Free, "a node on a list keeps its weight");
        let block = &mut self.blocks[(n / BLOCK_NODES) as usize];
        if block.beside == NOTHING {
            if units == 0 {
                return;
            }
            block.beside = self.beside.take();
        }
        self.beside.units[block.beside as usize][(n % BLOCK_NODES) as usize] = units;
    }

    /// Sets the low 32 bits of the deadline; 0 = none.
    pub fn set_deadline(&mut self, n: u32, deadline: u32) {
        if deadline == 0 && !self.has_deadlines {
            return;
        }
        if !self.has_deadlines {
            self.has_deadlines = true;
            self.deadlines = self.slabs.iter().map(|_| slab(self.has_huge_pages)).collect();
            for (deadlines, nodes) in self.deadlines.iter_mut().zip(&self.slabs) {
                deadlines.resize(nodes.len(), 0);
            }
        }
        self.deadlines[(n / SLAB_NODES) as usize][(n % SLAB_NODES) as usize] = deadline;
    }

    /// Bytes held: nodes, pages and blocks; deadlines apart.
    pub fn bytes(&self) -> (usize, usize) {
        let nodes: usize = self.slabs.iter().map(|slab| size_of_val(slab.as_slice())).sum();
        let deadlines: usize = self.deadlines.iter().map(|slab| size_of_val(slab.as_slice())).sum();
        let pages = self.pages.capacity() * size_of::<Page>();
        let page_blocks: usize = self.pages.iter().map(|page| size_of_val(&*page.blocks)).sum();
        let blocks = self.blocks.capacity() * size_of::<Block>() + self.blocks_free.capacity() * 4;
        let beside = size_of_val(self.beside.units.as_slice()) + self.beside.free.capacity() * 4;
        (nodes + pages + page_blocks + blocks + beside, deadlines)
    }

    /// Page of a reference, and where in it.
    #[inline]
    fn split(&self, item: ItemRef) -> (usize, u32) {
        let units = item.units();
        match self.page_units.is_power_of_two() {
            true => {
                ((units >> self.page_units.trailing_zeros()) as usize, (units & (self.page_units - 1)) as u32)
            }
            false => ((units / self.page_units) as usize, (units % self.page_units) as u32),
        }
    }

    fn clear_page(&mut self, page: usize) {
        let Some(page) = self.pages.get_mut(page) else { return };
        let page = std::mem::take(page);
        debug_assert!(
            page.blocks.iter().all(|&block| {
                (block * BLOCK_NODES..(block + 1) * BLOCK_NODES)
                    .all(|n| self.node(n).segment() == Segment::Free)
            }),
            "a page is emptied before it is laid out anew"
        );
        for &block in &page.blocks {
            match std::mem::replace(&mut self.blocks[block as usize].beside, NOTHING) {
                NOTHING => {}
                at => self.beside.free.push(at),
            }
        }
        self.blocks_free.extend_from_slice(&page.blocks);
    }

    fn take_block(&mut self, block: Block) -> Option<u32> {
        if let Some(id) = self.blocks_free.pop() {
            self.blocks[id as usize] = block;
            return Some(id);
        }
        let id = self.blocks.len() as u32;
        if (id as usize + 1) * BLOCK_NODES as usize > NODES_MAX {
            return None;
        }
        self.blocks.push(block);
        // Blocks are handed out in order, so the last slab is the one that has room.
        let number = (id * BLOCK_NODES / SLAB_NODES) as usize;
        if number == self.slabs.len() {
            self.slabs.push(slab(self.has_huge_pages));
        }
        let filled = (id * BLOCK_NODES % SLAB_NODES + BLOCK_NODES) as usize;
        self.slabs[number].resize(filled, Node::default());
        if self.has_deadlines {
            if number == self.deadlines.len() {
                self.deadlines.push(slab(self.has_huge_pages));
            }
            self.deadlines[number].resize(filled, 0);
        }
        Some(id)
    }
}

impl Beside {
    /// Room for a block's items, none of which has chunks.
    fn take(&mut self) -> u32 {
        const NONE_HAS_ANY: [u32; BLOCK_NODES as usize] = [0; BLOCK_NODES as usize];
        match self.free.pop() {
            Some(at) => {
                self.units[at as usize] = NONE_HAS_ANY;
                at
            }
            None => {
                self.units.push(NONE_HAS_ANY);
                self.units.len() as u32 - 1
            }
        }
    }
}

/// Room for what a slab holds, untouched.
fn slab<T>(has_huge_pages: bool) -> Vec<T> {
    let mut slab = Vec::with_capacity(SLAB_NODES as usize);
    if has_huge_pages {
        crate::base::huge::prefer_huge_pages(slab.spare_capacity_mut());
    }
    slab
}

impl Space for Nodes {
    #[inline]
    fn node(&self, n: u32) -> &Node {
        &self.slabs[(n / SLAB_NODES) as usize][(n % SLAB_NODES) as usize]
    }

    #[inline]
    fn node_mut(&mut self, n: u32) -> &mut Node {
        &mut self.slabs[(n / SLAB_NODES) as usize][(n % SLAB_NODES) as usize]
    }

    #[inline]
    fn units(&self, n: u32) -> u32 {
        let block = &self.blocks[(n / BLOCK_NODES) as usize];
        match block.beside {
            NOTHING => block.slot_units,
            at => block.slot_units + self.beside.units[at as usize][(n % BLOCK_NODES) as usize],
        }
    }

    #[inline]
    fn deadline(&self, n: u32) -> u32 {
        match self.has_deadlines {
            true => self.deadlines[(n / SLAB_NODES) as usize][(n % SLAB_NODES) as usize],
            false => 0,
        }
    }
}
