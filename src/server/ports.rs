//! The workers' threads, and their ways to the network: opened before there is memory, so that what the machine refuses is
//! known before minutes of prefaulting.
//!
//! ```text
//! start            thread of each worker
//! open ──────────▶ pins itself, makes its port (a ring belongs to the thread that makes it)
//!      ◀────────── made, or which call was refused
//! agree ─────────▶ keep it; or all fall back to recvmmsg, and make that port
//! seat ──────────▶ builds its worker, says that it is ready, serves
//! ```
//! All workers have the same kind of port: with `--io auto` one refusal, of whatever call, is enough for all.

use crate::config::serve::{Config, Io};
use crate::io::mmsg::MmsgPort;
use crate::io::socket::Socket;
use crate::io::uring::{Refusal, UringPort};
use crate::server::map;
use crate::server::spawn::{Assignment, run_worker};
use cache::base::clock::Clock;
use numa::Plan;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::JoinHandle;

/// A worker's thread, as it ends.
pub(super) type Thread = JoinHandle<std::io::Result<()>>;

/// Threads with their ports, waiting for their workers.
pub(super) struct Ports {
    /// Which kind.
    pub(super) io: &'static str,
    /// Why it is not the other kind, where that was wanted.
    pub(super) note: Option<String>,
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

/// Why a thread has no port.
enum Trouble {
    /// io_uring is refused.
    Uring(Refusal),
    /// Anything else: there is nothing to fall back to.
    Other(String),
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Verdict {
    Keep,
    FallBack,
}

impl Ports {
    /// Opens a port on each socket, on threads of their own.
    ///
    /// # Errors
    /// One line with the remedy.
    pub(super) fn open(config: &Config, plan: &Plan, sockets: Vec<Socket>) -> Result<Ports, String> {
        let (wants_uring, note) = choose(config.io)?;
        let mut ports = Ports { io: "mmsg", note, waiting: Vec::new() };
        for (index, socket) in sockets.into_iter().enumerate() {
            let memory = match wants_uring {
                true => Some(map::receive_buffers(plan, config.huge).map_err(|e| e.to_string())?),
                false => None,
            };
            let cpu = plan.workers[index].cpu.index;
            ports.waiting.push(spawn(index, cpu, socket, memory, config.clock.clone())?);
        }
        ports.agree(config.io, wants_uring)?;
        Ok(ports)
    }

    /// Gives the next worker's thread its work. The starter asks as often as there are workers.
    pub(super) fn seat(&mut self, assignment: Assignment) -> Thread {
        let Waiting { thread, seat, .. } = self.waiting.remove(0);
        // A thread that has ended is found out when it is joined.
        let _ = seat.send(Box::new(assignment));
        thread
    }

    /// One kind of port for all.
    fn agree(&mut self, asked: Io, wants_uring: bool) -> Result<(), String> {
        let trouble = self.hear();
        match trouble {
            None if wants_uring => {
                self.io = "uring";
                self.tell(Verdict::Keep);
                Ok(())
            }
            None => Ok(()),
            Some(Trouble::Uring(refusal)) if asked == Io::Auto => {
                self.note = Some(falls_back(&refusal));
                self.tell(Verdict::FallBack);
                self.hear().map_or(Ok(()), |trouble| Err(trouble.explain()))
            }
            Some(trouble) => Err(trouble.explain()),
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

    fn tell(&self, verdict: Verdict) {
        for waiting in &self.waiting {
            // A thread that has ended says so when it is heard next.
            let _ = waiting.verdict.send(verdict);
        }
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

impl Trouble {
    fn explain(self) -> String {
        match self {
            Trouble::Uring(refusal) => {
                format!("io_uring cannot be used here: {refusal}; {}, or use --io mmsg", refusal.remedy())
            }
            Trouble::Other(text) => text,
        }
    }
}

/// Whether io_uring is to be tried, and if not although it was wanted, why.
fn choose(asked: Io) -> Result<(bool, Option<String>), String> {
    if asked == Io::Mmsg {
        return Ok((false, None));
    }
    match UringPort::probe() {
        Ok(()) => Ok((true, None)),
        Err(refusal) if asked == Io::Auto => Ok((false, Some(falls_back(&refusal)))),
        Err(refusal) => Err(Trouble::Uring(refusal).explain()),
    }
}

fn falls_back(refusal: &Refusal) -> String {
    format!(
        "io: {refusal}; falling back to recvmmsg and sendmsg (--io mmsg). To use io_uring, {}",
        refusal.remedy()
    )
}

fn spawn(
    index: usize,
    cpu: usize,
    socket: Socket,
    memory: Option<numa::Region>,
    clock: Clock,
) -> Result<Waiting, String> {
    let ((news, heard), (verdict, told), (seat, seated)) = (channel(), channel(), channel());
    let ends = Ends { news, verdict: told, seat: seated };
    let builder = std::thread::Builder::new().name(format!("worker-{index}"));
    let thread = builder.spawn(move || match numa::pin_current_thread(cpu) {
        Ok(_) => open_and_serve(socket, memory, clock, &ends),
        Err(error) => {
            ends.tell(Err(Trouble::Other(error.to_string())));
            Ok(())
        }
    });
    let thread = thread.map_err(|e| format!("cannot start a thread: {e}"))?;
    Ok(Waiting { thread, news: heard, verdict, seat })
}

/// The life of a worker's thread.
fn open_and_serve(
    socket: Socket,
    memory: Option<numa::Region>,
    clock: Clock,
    ends: &Ends,
) -> std::io::Result<()> {
    let Some(memory) = memory else { return serve_plainly(socket, clock, ends) };
    let port = UringPort::new(socket, memory, clock.clone());
    let (port, news) = match port {
        Ok(port) => (Ok(port), Ok(())),
        Err((socket, refusal)) => (Err(socket), Err(Trouble::Uring(refusal))),
    };
    ends.tell(news);
    match (ends.verdict.recv(), port) {
        (Ok(Verdict::Keep), Ok(port)) => ends.serve(port),
        (Ok(Verdict::FallBack), Ok(port)) => serve_plainly(port.into_socket(), clock, ends),
        (Ok(Verdict::FallBack), Err(socket)) => serve_plainly(socket, clock, ends),
        // The start was given up.
        _ => Ok(()),
    }
}

/// The same without io_uring.
fn serve_plainly(socket: Socket, clock: Clock, ends: &Ends) -> std::io::Result<()> {
    match MmsgPort::new(socket, clock) {
        Ok(port) => {
            ends.tell(Ok(()));
            ends.serve(port)
        }
        Err(error) => {
            ends.tell(Err(Trouble::Other(error.to_string())));
            Ok(())
        }
    }
}

impl Ends {
    fn tell(&self, news: Result<(), Trouble>) {
        // The starter is gone only if it gave up; then the next receive says so.
        let _ = self.news.send(news);
    }

    fn serve<P: crate::io::Port>(&self, port: P) -> std::io::Result<()> {
        match self.seat.recv() {
            Ok(assignment) => run_worker(port, *assignment),
            Err(_) => Ok(()),
        }
    }
}
