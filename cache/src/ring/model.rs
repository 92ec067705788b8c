//! The queue under the ends of a ring in the models: what we use of rtrb, on atomics that the models watch.
//!
//! ```text
//! tail   written by the producer, Release, behind the record      head   written by the consumer, Release, behind taking
//! ```
//! Under loom and shuttle only. What is checked is our use of a queue (who sees what when somebody sleeps), with the
//! orderings that rtrb documents; rtrb itself is trusted. The cells are locks that nobody ever waits for: safe code has no
//! other way to move a value between threads, and loom does not see them, so they order nothing.

use crate::base::sync::{Arc, AtomicU64, Ordering};
use std::sync::Mutex;

/// Records that were pushed and popped, and the records between.
#[derive(Debug)]
struct Shared<T> {
    cells: Box<[Mutex<Option<T>>]>,
    tail: AtomicU64,
    head: AtomicU64,
}

/// Makes queues.
pub struct RingBuffer;

impl RingBuffer {
    /// A queue of `capacity` records: its two ends.
    #[expect(clippy::new_ret_no_self, reason = "as rtrb's")]
    pub fn new<T>(capacity: usize) -> (Producer<T>, Consumer<T>) {
        let cells = (0..capacity).map(|_| Mutex::new(None)).collect();
        let shared = Arc::new(Shared { cells, tail: AtomicU64::new(0), head: AtomicU64::new(0) });
        (Producer { shared: Arc::clone(&shared) }, Consumer { shared })
    }
}

/// Why a push failed.
pub enum PushError<T> {
    /// No room.
    Full(T),
}

/// There was nothing, or not so much.
#[derive(Debug)]
pub struct Empty;

impl<T> Shared<T> {
    fn cell(&self, index: u64) -> &Mutex<Option<T>> {
        &self.cells[index as usize % self.cells.len()]
    }

    fn waiting(&self) -> usize {
        // Acquire: pairs with the Release stores of both ends.
        (self.tail.load(Ordering::Acquire) - self.head.load(Ordering::Acquire)) as usize
    }
}

/// The writing end.
#[derive(Debug)]
pub struct Producer<T> {
    shared: Arc<Shared<T>>,
}

impl<T> Producer<T> {
    /// Appends a record, or gives it back.
    pub fn push(&mut self, record: T) -> Result<(), PushError<T>> {
        if self.slots() == 0 {
            return Err(PushError::Full(record));
        }
        // Relaxed: the producer reads what it wrote itself.
        let tail = self.shared.tail.load(Ordering::Relaxed);
        let before = self.shared.cell(tail).lock().expect("nobody panicked here").replace(record);
        assert!(before.is_none(), "a record was overwritten before it was read");
        // Release: the record is seen with the tail that covers it.
        self.shared.tail.store(tail + 1, Ordering::Release);
        Ok(())
    }

    /// Records for which there is room.
    pub fn slots(&self) -> usize {
        self.shared.cells.len() - self.shared.waiting()
    }
}

/// The reading end.
#[derive(Debug)]
pub struct Consumer<T> {
    shared: Arc<Shared<T>>,
}

impl<T> Consumer<T> {
    /// Takes the oldest record.
    pub fn pop(&mut self) -> Result<T, Empty> {
        if self.slots() == 0 {
            return Err(Empty);
        }
        // Relaxed: the consumer reads what it wrote itself.
        let head = self.shared.head.load(Ordering::Relaxed);
        let record = self.shared.cell(head).lock().expect("nobody panicked here").take();
        // Release: the cell is empty for the producer that sees this.
        self.shared.head.store(head + 1, Ordering::Release);
        Ok(record.expect("the tail was seen before its record"))
    }

    /// Takes the `count` oldest records.
    pub fn read_chunk(&mut self, count: usize) -> Result<Vec<T>, Empty> {
        (0..count).map(|_| self.pop()).collect()
    }

    /// Records that wait.
    pub fn slots(&self) -> usize {
        self.shared.waiting()
    }
}
