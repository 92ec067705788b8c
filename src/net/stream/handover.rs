//! Connections on their way from the thread that accepts them to the worker that serves them: UNIX sockets have one listener for
//! all workers.

use crate::limits::HANDOVER_MAX;
use crossbeam_queue::ArrayQueue;
use std::os::fd::OwnedFd;
use std::sync::Arc;

/// A queue of connections for one worker.
#[derive(Clone, Debug)]
pub struct Handover(Arc<ArrayQueue<OwnedFd>>);

impl Default for Handover {
    fn default() -> Handover {
        Handover(Arc::new(ArrayQueue::new(HANDOVER_MAX)))
    }
}

impl Handover {
    /// Puts a connection in.
    ///
    /// # Errors
    /// The connection back: the worker has as many waiting as it may.
    pub fn give(&self, connection: OwnedFd) -> Result<(), OwnedFd> {
        self.0.push(connection)
    }

    /// The next connection.
    pub fn take(&self) -> Option<OwnedFd> {
        self.0.pop()
    }

    /// Whether none waits.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}
