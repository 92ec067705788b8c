//! The two ends of a ring. `Send`, not `Sync`: one thread holds an end.
//!
//! Under loom and shuttle the ends stand on a small model queue: our protocol is checked, rtrb is trusted.

#[cfg(any(loom, shuttle))]
use crate::ring::model as rtrb;

/// The ring had no room; the record comes back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Full<T>(pub T);

/// A ring for `capacity` records of `T`.
pub fn ring<T: Send>(capacity: usize) -> (Producer<T>, Consumer<T>) {
    let (producer, consumer) = rtrb::RingBuffer::new(capacity);
    (Producer { inner: producer }, Consumer { inner: consumer })
}

/// The writing end.
#[derive(Debug)]
pub struct Producer<T> {
    inner: rtrb::Producer<T>,
}

impl<T: Send> Producer<T> {
    /// Appends one record.
    ///
    /// # Errors
    /// `Full` with the record when the consumer lags by the whole capacity.
    #[inline]
    pub fn push(&mut self, record: T) -> Result<(), Full<T>> {
        self.inner.push(record).map_err(|rtrb::PushError::Full(record)| Full(record))
    }

    /// Records for which there is room now; more may become free at any moment.
    #[inline]
    pub fn room(&self) -> usize {
        self.inner.slots()
    }
}

/// The reading end.
#[derive(Debug)]
pub struct Consumer<T> {
    inner: rtrb::Consumer<T>,
}

impl<T: Send> Consumer<T> {
    /// Takes the oldest record.
    #[inline]
    pub fn pop(&mut self) -> Option<T> {
        self.inner.pop().ok()
    }

    /// Takes up to `max` of the oldest records in one go and gives each to `take`; returns how many.
    pub fn drain(&mut self, max: usize, mut take: impl FnMut(T)) -> usize {
        let count = self.inner.slots().min(max);
        let Ok(chunk) = self.inner.read_chunk(count) else { return 0 };
        for record in chunk {
            take(record);
        }
        count
    }

    /// Records that wait.
    #[inline]
    pub fn waiting(&self) -> usize {
        self.inner.slots()
    }
}
