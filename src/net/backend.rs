//! The ports by name: what each needs, how it is opened, and which one follows where it is refused.
//!
//! A new port has a folder in `net/`, a variant of [`Backend`] and of [`AnyPort`] with an arm in each match of this file, and a
//! word of `--io`. Nothing else outside of `net/` names a port, but the server's `ports`.

use crate::net::Port;
use crate::net::mmsg::MmsgPort;
use crate::net::socket::Sockets;
use crate::net::uring::UringPort;
use cache::base::clock::Clock;
use numa::Region;
use std::fmt;
use std::io;

/// What a port is made on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Backend {
    /// io_uring.
    Uring,
    /// recvmmsg and sendmsg; epoll for streams.
    Mmsg,
}

impl Backend {
    /// What is used unless it is refused.
    pub const BEST: Backend = Backend::Uring;

    /// The word for it in `--io`.
    pub fn name(self) -> &'static str {
        match self {
            Backend::Uring => "uring",
            Backend::Mmsg => "mmsg",
        }
    }

    /// The system calls that it uses.
    pub fn calls(self) -> &'static str {
        match self {
            Backend::Uring => "io_uring",
            Backend::Mmsg => "recvmmsg, sendmsg and epoll",
        }
    }

    /// What is used where it is refused.
    pub fn fallback(self) -> Option<Backend> {
        match self {
            Backend::Uring => Some(Backend::Mmsg),
            Backend::Mmsg => None,
        }
    }

    /// Whether it is worth opening a port, as far as that can be told without a socket.
    ///
    /// # Errors
    /// Which call is refused.
    pub fn probe(self) -> Result<(), Refusal> {
        match self {
            Backend::Uring => UringPort::probe(),
            Backend::Mmsg => Ok(()),
        }
    }
}

impl fmt::Display for Backend {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A call that a port needs and that is refused here.
#[derive(Debug)]
pub struct Refusal {
    call: &'static str,
    error: io::Error,
    remedy: &'static str,
}

impl Refusal {
    pub(super) fn new(call: &'static str, error: io::Error, remedy: &'static str) -> Refusal {
        Refusal { call, error, remedy }
    }

    /// What makes the call work.
    pub fn remedy(&self) -> &'static str {
        self.remedy
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} is refused: {}", self.call, self.error)
    }
}

/// Opens ports of one backend.
#[derive(Clone)]
pub struct PortFactory {
    backend: Backend,
    clock: Clock,
}

impl PortFactory {
    /// A factory; ports take the time from `clock`.
    pub fn new(backend: Backend, clock: Clock) -> PortFactory {
        PortFactory { backend, clock }
    }

    /// Bytes of memory that [`PortFactory::open`] has to be given; 0 where a port allocates what it needs.
    pub fn memory_bytes(&self) -> usize {
        match self.backend {
            Backend::Uring => UringPort::MEMORY_BYTES,
            Backend::Mmsg => 0,
        }
    }

    /// A port on these sockets. Call it on the thread that will use the port: a ring belongs to the thread that makes it.
    ///
    /// # Errors
    /// The sockets back, and which call is refused.
    ///
    /// # Panics
    /// Without memory where [`PortFactory::memory_bytes`] asks for some.
    pub fn open(&self, sockets: Sockets, memory: Option<Region>) -> Result<AnyPort, (Box<Sockets>, Refusal)> {
        let clock = self.clock.clone();
        match self.backend {
            Backend::Uring => {
                let memory = memory.expect("memory_bytes() of it were mapped");
                UringPort::new(sockets, memory, clock).map(|port| AnyPort::Uring(Box::new(port)))
            }
            Backend::Mmsg => MmsgPort::new(sockets, clock).map(|port| AnyPort::Mmsg(Box::new(port))),
        }
    }
}

/// An open port of any backend.
pub enum AnyPort {
    /// On io_uring.
    Uring(Box<UringPort>),
    /// On recvmmsg and sendmsg.
    Mmsg(Box<MmsgPort>),
}

/// Code for a port of any type, compiled for each of them: the data path does not ask which one it has.
pub trait PortUser {
    /// What comes of it.
    type Output;

    /// Uses the port.
    fn run<P: Port>(self, port: P) -> Self::Output;
}

impl AnyPort {
    /// Runs the `user` of this type of port.
    pub fn give_to<U: PortUser>(self, user: U) -> U::Output {
        match self {
            AnyPort::Uring(port) => user.run(*port),
            AnyPort::Mmsg(port) => user.run(*port),
        }
    }

    /// The sockets; the port goes.
    pub fn into_sockets(self) -> Sockets {
        match self {
            AnyPort::Uring(port) => port.into_sockets(),
            AnyPort::Mmsg(port) => port.into_sockets(),
        }
    }
}
