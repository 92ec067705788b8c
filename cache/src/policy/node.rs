//! What the policy keeps of an item: 12 bytes.
//!
//! ```text
//! next  segment 3 bits │ node 29 bits        the lists are doubly linked, so that a hit moves an item in O(1)
//! prev  armed 1, round 2 │ node 29 bits      armed, round: see `wheel`
//! hash  upper 32 bits of the key hash        for the sketch, and for the command that ends the item
//! ```
//!
//! A [`Space`] is anything that holds such nodes: the real one ([`super::nodes`], addressed by page and index) and
//! the small ones of the shadow caches ([`super::shadow`]). Lists and queues are written once, over a `Space`.

/// No node: the end of a list.
pub const NONE: u32 = (1 << NODE_BITS) - 1;
/// Nodes of one policy at most (536 million); stores beyond it are not tracked and are counted.
pub const NODES_MAX: usize = NONE as usize;

const NODE_BITS: u32 = 29;
const ARMED: u32 = 1 << 31;
const ROUND_SHIFT: u32 = NODE_BITS;
const ROUND_MASK: u32 = 3 << ROUND_SHIFT;

/// The list that a node is on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Segment {
    /// On none: there is no item here.
    Free,
    /// Newcomers.
    Window,
    /// In the main region, hit at most once since it came.
    Probation,
    /// In the main region, hit again.
    Protected,
    /// Told to the owner, its `Delete` is awaited; one of two lists in turn (see `tracked`).
    PendingEven,
    /// The other of the two.
    PendingOdd,
}

impl Segment {
    /// Whether an item there lives and has its place in the order.
    #[inline]
    pub fn is_ordered(self) -> bool {
        matches!(self, Segment::Window | Segment::Probation | Segment::Protected)
    }
}

/// One item.
#[derive(Clone, Copy, Debug)]
pub struct Node {
    next: u32,
    prev: u32,
    /// Upper 32 bits of the key hash.
    pub hash: u32,
}

impl Default for Node {
    fn default() -> Node {
        Node { next: NONE, prev: NONE, hash: 0 }
    }
}

impl Node {
    /// The neighbour towards the tail, or [`NONE`].
    #[inline]
    pub fn next(&self) -> u32 {
        self.next & NONE
    }

    /// The neighbour towards the head, or [`NONE`].
    #[inline]
    pub fn prev(&self) -> u32 {
        self.prev & NONE
    }

    /// Sets the neighbour towards the tail.
    #[inline]
    pub fn set_next(&mut self, node: u32) {
        self.next = self.next & !NONE | node;
    }

    /// Sets the neighbour towards the head.
    #[inline]
    pub fn set_prev(&mut self, node: u32) {
        self.prev = self.prev & !NONE | node;
    }

    /// The list it is on.
    #[inline]
    pub fn segment(&self) -> Segment {
        match self.next >> NODE_BITS {
            1 => Segment::Window,
            2 => Segment::Probation,
            3 => Segment::Protected,
            4 => Segment::PendingEven,
            5 => Segment::PendingOdd,
            _ => Segment::Free,
        }
    }

    /// Says which list it is on.
    #[inline]
    pub fn set_segment(&mut self, segment: Segment) {
        self.next = self.next & NONE | (segment as u32) << NODE_BITS;
    }

    /// Whether the wheel holds a valid entry for it.
    #[inline]
    pub fn armed(&self) -> bool {
        self.prev & ARMED != 0
    }

    /// Says whether the wheel holds a valid entry for it.
    #[inline]
    pub fn set_armed(&mut self, armed: bool) {
        self.prev = self.prev & !ARMED | if armed { ARMED } else { 0 };
    }

    /// Generation of its valid wheel entry, 0..4.
    #[inline]
    pub fn round(&self) -> u32 {
        (self.prev & ROUND_MASK) >> ROUND_SHIFT
    }

    /// Makes all its wheel entries so far invalid (until the 2 bits come round: see `wheel`).
    #[inline]
    pub fn next_round(&mut self) {
        self.prev = self.prev & !ROUND_MASK | ((self.round() + 1) & 3) << ROUND_SHIFT;
    }
}

/// A place that holds nodes and knows how much each weighs.
pub trait Space {
    /// The node `n`.
    fn node(&self, n: u32) -> &Node;
    /// The node `n`, to change.
    fn node_mut(&mut self, n: u32) -> &mut Node;
    /// What it takes, in units of 16 bytes: its slot and its chunks; at least 1.
    fn units(&self, n: u32) -> u32;
    /// Low 32 bits of its deadline in ms; 0 = none, or beyond the wheel's horizon.
    fn deadline(&self, n: u32) -> u32;
}

const _: () = assert!(size_of::<Node>() == 12);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_and_marks_do_not_disturb_each_other() {
        let mut node = Node::default();
        node.set_segment(Segment::PendingOdd);
        node.set_armed(true);
        node.next_round();
        node.set_next(7);
        node.set_prev(NONE);
        assert_eq!((node.next(), node.prev(), node.segment()), (7, NONE, Segment::PendingOdd));
        assert_eq!((node.armed(), node.round()), (true, 1));
        for round in [2, 3, 0, 1] {
            node.next_round();
            assert_eq!((node.round(), node.prev(), node.armed()), (round, NONE, true));
        }
        node.set_armed(false);
        assert!(!node.armed());
    }
}
