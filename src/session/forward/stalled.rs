//! Commands of other workers that wait for memory of our shard, and those that came behind them.
//!
//! Requests of one client for one key arrive in the order in which they were sent. Where one of them has to wait, what
//! comes behind it on that key waits, too. A request that went back for more room keeps its place in the line.

use crate::limits::ORDER_ENTRIES;
use crate::session::forward::pending::PendingRequest;
use std::collections::VecDeque;

/// Pending requests of others, whose they are, and the lines that they stand in.
pub(crate) struct Stalled {
    queue: VecDeque<(usize, Box<PendingRequest>)>,
    lines: Box<[Line]>,
    walk: u32,
}

/// Requests of one client for one key; clients and keys may share one.
#[derive(Clone, Copy, Default)]
struct Line {
    /// In the queue.
    waiting: u32,
    /// Gone back for more room.
    returning: u32,
    /// The last walk in which one of them stayed.
    walk: u32,
}

impl Stalled {
    pub(crate) fn new(pool: usize) -> Stalled {
        Stalled {
            queue: VecDeque::with_capacity(pool),
            lines: vec![Line::default(); ORDER_ENTRIES].into_boxed_slice(),
            walk: 0,
        }
    }

    /// Pending requests that wait.
    pub(super) fn len(&self) -> usize {
        self.queue.len()
    }

    /// Whether a pending request that has just come has to wait behind others. One that comes back with more room does not.
    pub(super) fn is_behind(&mut self, from: usize, pending: &mut PendingRequest) -> bool {
        let comes_back = std::mem::take(&mut pending.needs_room);
        let Some(line) = line_of(from, pending) else { return false };
        let line = &mut self.lines[line];
        line.returning -= comes_back as u32;
        !comes_back && line.waiting + line.returning > 0
    }

    /// A pending request goes back for more room, and keeps its place.
    pub(super) fn goes_for_room(&mut self, from: usize, pending: &mut PendingRequest) {
        pending.needs_room = true;
        if let Some(line) = line_of(from, pending) {
            self.lines[line].returning += 1;
        }
    }

    /// A pending request waits behind all that do.
    pub(super) fn push(&mut self, from: usize, pending: Box<PendingRequest>) {
        if let Some(line) = line_of(from, &pending) {
            let line = &mut self.lines[line];
            line.waiting += 1;
            line.walk = self.walk;
        }
        self.queue.push_back((from, pending));
    }

    /// Begins a walk over all that wait now; says how many.
    pub(super) fn begin_walk(&mut self) -> usize {
        self.walk = self.walk.wrapping_add(1);
        self.queue.len()
    }

    /// The next pending request of the walk, and whether it has to stay behind one that the walk left.
    pub(super) fn next(&mut self) -> Option<(usize, Box<PendingRequest>, bool)> {
        let (from, pending) = self.queue.pop_front()?;
        let stays = line_of(from, &pending).is_some_and(|line| {
            let line = &mut self.lines[line];
            line.waiting -= 1;
            line.returning > 0 || line.walk == self.walk
        });
        Some((from, pending, stays))
    }
}

fn line_of(from: usize, pending: &PendingRequest) -> Option<usize> {
    // Only requests of one key follow each other; of all others one is under way at a time.
    let key = if pending.is_lone { pending.footprint.lone_key() } else { None };
    key.map(|key| (key as usize ^ from.wrapping_mul(0x9e5)) % ORDER_ENTRIES)
}
