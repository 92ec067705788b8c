//! A worker's side of its clients: what a datagram that was admitted comes to, and everything that is under way of it.
//!
//! ```text
//! batch    plain reads of many datagrams, looked up together
//! order    which keys of which clients are under way, and what a datagram touches of them
//! serial   the others, command by command: the executor
//! stream   the same for connections, whose commands come cut anywhere and are answered in order
//! execute  memcached's commands and the operations of frames, as verbs of the cache
//! forward  a datagram that stopped: to another owner and back, waiting, held, or refused
//! ```
//! `hits` tells the policy of reads, `profiler` measures, `wakeups` wakes other workers. Not here: sockets, and which datagram is
//! looked at when (`crate::worker`); who may do what (`crate::guard`).

pub mod batch;
pub mod execute;
pub mod forward;
pub mod hits;
pub mod order;
pub mod profiler;
pub mod serial;
pub mod stream;
pub mod wakeups;

pub use execute::answer::{After, Form, Read};
pub use execute::{Execution, SettledRead, Stop};
pub use wakeups::Wakeups;

use crate::limits::{LARGE_REQUEST_KEYS, PENDING_REQUESTS_MAX};
use crate::net::{ConnectionId, Port};
use cache::memory::Unfinished;
use cache::ring::MeshEnd;
use forward::errand::Homecoming;
use forward::pending::{PendingRequest, RequestPool};
use forward::stalled::Stalled;
use order::Order;
use order::footprint::Footprint;
use serial::Executor;

/// What a worker does for its clients, and what is under way.
pub struct Session {
    executor: Executor,
    mesh: MeshEnd<Box<PendingRequest>>,
    wakeups: Wakeups,
    pool: RequestPool,
    /// Which keys of which clients are under way.
    order: Order,
    /// Commands of others that wait for our memory.
    stalled: Stalled,
    /// What the datagram touches that is about to be served.
    traced: Footprint,
    /// Whether something was finished since held requests were looked at.
    has_finished: bool,
    /// Connections whose pending request was answered since the worker asked.
    answered_streams: Vec<ConnectionId>,
    /// What errands for long values have brought since the worker asked.
    homecomings: Vec<(ConnectionId, Homecoming)>,
    /// Values of other owners that will not come.
    to_abandon: Vec<(usize, Unfinished)>,
}

impl Session {
    /// A session in which nothing is under way.
    pub fn new(executor: Executor, mesh: MeshEnd<Box<PendingRequest>>, wakeups: Wakeups) -> Session {
        let workers = mesh.workers();
        Session {
            executor,
            mesh,
            wakeups,
            pool: RequestPool::for_workers(workers),
            order: Order::new(),
            // Any number of them may be here at a time.
            stalled: Stalled::new((workers - 1) * PENDING_REQUESTS_MAX),
            traced: Footprint::with_capacity(LARGE_REQUEST_KEYS),
            has_finished: false,
            answered_streams: Vec::new(),
            homecomings: Vec::new(),
            to_abandon: Vec::new(),
        }
    }

    /// What executes commands.
    #[inline]
    pub fn executor(&self) -> &Executor {
        &self.executor
    }

    /// What executes commands.
    #[inline]
    pub fn executor_mut(&mut self) -> &mut Executor {
        &mut self.executor
    }

    /// Wakes the workers for whom something was pushed in this tick.
    ///
    /// # Errors
    /// The kernel refused the port's ring.
    pub fn wake_due<P: Port>(&mut self, port: &mut P) -> std::io::Result<()> {
        self.wakeups.wake_due(port, self.executor.counters())
    }

    /// The next connection whose pending request was answered.
    pub(crate) fn next_answered_stream(&mut self) -> Option<ConnectionId> {
        self.answered_streams.pop()
    }

    /// What the next errand for a long value has brought.
    pub(crate) fn next_homecoming(&mut self) -> Option<(ConnectionId, Homecoming)> {
        self.homecomings.pop()
    }

    /// A batch is answered: nothing stands behind it any more.
    pub fn end_batch(&mut self) {
        self.order.forget_expected();
    }

    /// Sleeps while `wait` runs, which is told whether something has come that nobody wakes this worker for any more.
    pub fn asleep<R>(&mut self, wait: impl FnOnce(bool) -> R) -> R {
        let Session { executor, wakeups, mesh, .. } = self;
        executor.asleep(|owner| {
            wakeups.will_sleep();
            let woken = wait(mesh.has_inbound() || owner.has_commands());
            wakeups.awake();
            woken
        })
    }
}
