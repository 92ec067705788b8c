//! The workers' threads, and their ways to the network: opened before there is memory, so that what the machine refuses is
//! known before minutes of prefaulting.
//!
//! ```text
//! start            thread of each worker
//! open ──────────▶ pins itself if it is to, opens its port (a ring belongs to the thread that makes it)
//!      ◀────────── opened, or which call was refused
//! agree ─────────▶ keep it; or all open a port of the next backend instead, and answer again
//! seat ──────────▶ builds its worker, says that it is ready, serves
//! ```
//! All workers have the same kind of port: with `--io auto` one refusal, of whatever call, is enough for all.

use crate::config::serve::{Config, Io};
use crate::net::Port;
use crate::net::backend::{AnyPort, Backend, PortFactory, PortUser, Refusal};
use crate::net::socket::Sockets;
use crate::server::map;
use crate::server::spawn::{Assignment, run_worker};
use numa::{Affinity, Plan, Region};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::JoinHandle;

/// A worker's thread, as it ends.
pub(super) type Thread = JoinHandle<std::io::Result<()>>;

/// Threads with their ports, waiting for their workers.
pub(super) struct Ports {
    choice: Choice,
    waiting: Vec<Waiting>,
}

struct Waiting {
    thread: Thread,
    news: Receiver<Result<(), Trouble>>,
    verdict: Sender<Verdict>,
    seat: Sender<Box<Assignment>>,
}

/// What a thread is given to talk with the starter.
struct Ends {
    news: Sender<Result<(), Trouble>>,
    verdict: Receiver<Verdict>,
    seat: Receiver<Box<Assignment>>,
}

/// What a thread opens its port with.
struct Means {
    factory: PortFactory,
    memory: Option<Region>,
}

/// Why a thread has no port.
enum Trouble {
    /// The backend is refused.
    Refused(Refusal),
    /// Anything else: there is nothing to fall back to.
    Other(String),
}

enum Verdict {
    Keep,
    Instead(Means),
}

/// The backend of all ports.
struct Choice {
    backend: Backend,
    may_fall_back: bool,
    /// Why it is not the one that was tried first.
    note: Option<String>,
}

impl Choice {
    /// The backend that is asked for, or the best one that can be probed.
    fn of(asked: Io) -> Result<Choice, String> {
        let (backend, may_fall_back) = match asked {
            Io::Auto => (Backend::BEST, true),
            Io::Uring => (Backend::Uring, false),
            Io::Mmsg => (Backend::Mmsg, false),
        };
        let mut choice = Choice { backend, may_fall_back, note: None };
        while let Err(refusal) = choice.backend.probe() {
            choice.fall_back(&refusal)?;
        }
        Ok(choice)
    }

    /// Goes on with the next backend.
    ///
    /// # Errors
    /// One line with the remedy: there is none, or another one is not wanted.
    fn fall_back(&mut self, refusal: &Refusal) -> Result<(), String> {
        let (refused, remedy) = (self.backend.calls(), refusal.remedy());
        match self.backend.fallback() {
            Some(next) if self.may_fall_back => {
                let calls = next.calls();
                self.backend = next;
                self.note = Some(format!(
                    "io: {refusal}; falling back to {calls} (--io {next}). To use {refused}, {remedy}"
                ));
                Ok(())
            }
            Some(next) => {
                Err(format!("{refused} cannot be used here: {refusal}; {remedy}, or use --io {next}"))
            }
            None => Err(format!("{refusal}; {remedy}")),
        }
    }
}

impl Ports {
    /// Opens a port on the sockets of each worker, on threads of their own.
    ///
    /// # Errors
    /// One line with the remedy.
    pub(super) fn open(config: &Config, plan: &Plan, sockets: Vec<Sockets>) -> Result<Ports, String> {
        let mut ports = Ports { choice: Choice::of(config.io)?, waiting: Vec::new() };
        for ((index, sockets), place) in sockets.into_iter().enumerate().zip(plan.worker_affinities()) {
            let means = Means::of(ports.choice.backend, config, plan)?;
            ports.waiting.push(spawn(index, place, sockets, means)?);
        }
        ports.agree(config, plan)?;
        Ok(ports)
    }

    /// What all ports are made on.
    pub(super) fn backend(&self) -> Backend {
        self.choice.backend
    }

    /// Why it is not another backend, where that was wanted.
    pub(super) fn note(&self) -> Option<&str> {
        self.choice.note.as_deref()
    }

    /// Gives the next worker's thread its work. The starter asks as often as there are workers.
    pub(super) fn seat(&mut self, assignment: Assignment) -> Thread {
        let Waiting { thread, seat, .. } = self.waiting.remove(0);
        // A thread that has ended is found out when it is joined.
        let _ = seat.send(Box::new(assignment));
        thread
    }

    /// One kind of port for all.
    fn agree(&mut self, config: &Config, plan: &Plan) -> Result<(), String> {
        loop {
            match self.hear() {
                None => return self.tell(|| Ok(Verdict::Keep)),
                Some(Trouble::Refused(refusal)) => {
                    self.choice.fall_back(&refusal)?;
                    let backend = self.choice.backend;
                    self.tell(|| Means::of(backend, config, plan).map(Verdict::Instead))?;
                }
                Some(Trouble::Other(text)) => return Err(text),
            }
        }
    }

    /// Waits for news of all; what went wrong first, if anything did. What has no remedy counts more.
    fn hear(&self) -> Option<Trouble> {
        let mut first = None;
        for waiting in &self.waiting {
            let news = waiting.news.recv();
            match news.unwrap_or_else(|_| Err(Trouble::Other("a worker ended before it began".into()))) {
                Ok(()) => {}
                Err(Trouble::Other(text)) => first = Some(Trouble::Other(text)),
                Err(refused) => first = first.or(Some(refused)),
            }
        }
        first
    }

    fn tell(&self, verdict: impl Fn() -> Result<Verdict, String>) -> Result<(), String> {
        for waiting in &self.waiting {
            // A thread that has ended says so when it is heard next.
            let _ = waiting.verdict.send(verdict()?);
        }
        Ok(())
    }
}

impl Drop for Ports {
    /// A start that failed: threads that wait for a verdict or a seat end, and with them the ports are free.
    fn drop(&mut self) {
        for Waiting { thread, verdict, seat, .. } in self.waiting.drain(..) {
            drop((verdict, seat));
            // Why it failed is known already.
            let _ = thread.join();
        }
    }
}

impl Means {
    fn of(backend: Backend, config: &Config, plan: &Plan) -> Result<Means, String> {
        let factory = PortFactory::new(backend, config.clock.clone());
        let memory = match factory.memory_bytes() {
            0 => None,
            bytes => Some(map::port_memory(plan, config.huge, bytes).map_err(|e| e.to_string())?),
        };
        Ok(Means { factory, memory })
    }
}

fn spawn(index: usize, place: Affinity, sockets: Sockets, means: Means) -> Result<Waiting, String> {
    let ((news, heard), (verdict, told), (seat, seated)) = (channel(), channel(), channel());
    let ends = Ends { news, verdict: told, seat: seated };
    let builder = std::thread::Builder::new().name(format!("worker-{index}"));
    let thread = builder.spawn(move || match place.apply() {
        Ok(()) => ends.open_and_serve(sockets, means),
        Err(error) => {
            ends.tell(Err(Trouble::Other(error.to_string())));
            Ok(())
        }
    });
    let thread = thread.map_err(|e| crate::server::no_thread(&format!("worker-{index}"), &e))?;
    Ok(Waiting { thread, news: heard, verdict, seat })
}

impl Ends {
    /// The life of a worker's thread.
    fn open_and_serve(&self, mut sockets: Sockets, mut means: Means) -> std::io::Result<()> {
        loop {
            let (port, news) = match means.factory.open(sockets, means.memory) {
                Ok(port) => (Ok(port), Ok(())),
                Err((sockets, refusal)) => (Err(*sockets), Err(Trouble::Refused(refusal))),
            };
            self.tell(news);
            match (self.verdict.recv(), port) {
                (Ok(Verdict::Keep), Ok(port)) => return self.serve(port),
                (Ok(Verdict::Instead(others)), port) => {
                    (sockets, means) = (port.map_or_else(|sockets| sockets, AnyPort::into_sockets), others);
                }
                // The start was given up.
                _ => return Ok(()),
            }
        }
    }

    fn tell(&self, news: Result<(), Trouble>) {
        // The starter is gone only if it gave up; then the next receive says so.
        let _ = self.news.send(news);
    }

    fn serve(&self, port: AnyPort) -> std::io::Result<()> {
        match self.seat.recv() {
            Ok(assignment) => port.give_to(*assignment),
            Err(_) => Ok(()),
        }
    }
}

impl PortUser for Assignment {
    type Output = std::io::Result<()>;

    fn run<P: Port>(self, port: P) -> std::io::Result<()> {
        run_worker(port, self)
    }
}
