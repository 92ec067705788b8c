//! A doubly linked list through the nodes of a [`Space`]; head = most recent, tail = next to go.
//!
//! It owns no node: callers keep the rule that a node is on one list at a time, and the node's segment says which.

use super::node::{NONE, Segment, Space};

/// One list.
#[derive(Clone, Debug)]
pub struct List {
    segment: Segment,
    head: u32,
    tail: u32,
    count: u32,
    units: u64,
}

impl List {
    /// An empty list; its nodes will carry `segment`.
    pub fn new(segment: Segment) -> List {
        List { segment, head: NONE, tail: NONE, count: 0, units: 0 }
    }

    /// Nodes on it.
    pub fn count(&self) -> usize {
        self.count as usize
    }

    /// Sum of what its items take, in units of 16 bytes.
    #[inline]
    pub fn units(&self) -> u64 {
        self.units
    }

    /// The oldest node.
    #[inline]
    pub fn tail(&self) -> Option<u32> {
        (self.tail != NONE).then_some(self.tail)
    }

    /// Puts a free node at the head.
    #[inline]
    pub fn push_front<S: Space>(&mut self, space: &mut S, n: u32) {
        debug_assert!(space.node(n).segment() == Segment::Free, "a node is on one list at a time");
        let head = self.head;
        let node = space.node_mut(n);
        node.set_segment(self.segment);
        node.set_prev(NONE);
        node.set_next(head);
        self.head = n;
        if head == NONE {
            self.tail = n;
        } else {
            space.node_mut(head).set_prev(n);
        }
        self.count += 1;
        self.units += space.units(n) as u64;
    }

    /// Puts a free node at the tail.
    pub fn push_back<S: Space>(&mut self, space: &mut S, n: u32) {
        debug_assert!(space.node(n).segment() == Segment::Free, "a node is on one list at a time");
        let tail = self.tail;
        let node = space.node_mut(n);
        node.set_segment(self.segment);
        node.set_next(NONE);
        node.set_prev(tail);
        self.tail = n;
        if tail == NONE {
            self.head = n;
        } else {
            space.node_mut(tail).set_next(n);
        }
        self.count += 1;
        self.units += space.units(n) as u64;
    }

    /// Takes a node off; it must be on this list.
    #[inline]
    pub fn remove<S: Space>(&mut self, space: &mut S, n: u32) {
        self.unlink(space, n);
        space.node_mut(n).set_segment(Segment::Free);
        self.count -= 1;
        self.units -= space.units(n) as u64;
    }

    /// Moves a node of this list to its head.
    #[inline]
    pub fn refresh<S: Space>(&mut self, space: &mut S, n: u32) {
        if self.head == n {
            return;
        }
        self.unlink(space, n);
        let head = self.head;
        let node = space.node_mut(n);
        node.set_prev(NONE);
        node.set_next(head);
        self.head = n;
        // There was another node at the head, so the list is not empty now.
        space.node_mut(head).set_prev(n);
    }

    /// Takes the tail off.
    pub fn pop_back<S: Space>(&mut self, space: &mut S) -> Option<u32> {
        let n = self.tail()?;
        self.remove(space, n);
        Some(n)
    }

    /// The nodes from tail to head, for tests and checks.
    pub fn iter<'a, S: Space>(&self, space: &'a S) -> impl Iterator<Item = u32> + use<'a, S> {
        let mut n = self.tail;
        std::iter::from_fn(move || {
            let at = n;
            (at != NONE).then(|| {
                n = space.node(at).prev();
                at
            })
        })
    }

    #[inline]
    fn unlink<S: Space>(&mut self, space: &mut S, n: u32) {
        debug_assert!(space.node(n).segment() == self.segment, "the node is on this list");
        let (prev, next) = (space.node(n).prev(), space.node(n).next());
        if prev == NONE {
            self.head = next;
        } else {
            space.node_mut(prev).set_next(next);
        }
        if next == NONE {
            self.tail = prev;
        } else {
            space.node_mut(next).set_prev(prev);
        }
    }
}
