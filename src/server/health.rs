//! Whether a server serves: all its threads run, and nobody has asked it to end. For `/healthz`.

use cache::base::sync::{Arc, AtomicBool, Ordering};

/// The state of a server, for whoever asks.
#[derive(Debug)]
pub struct Health {
    /// Set when the server is to end.
    stop: Arc<AtomicBool>,
    /// Set when a thread has ended.
    has_lost_thread: Arc<AtomicBool>,
}

/// Held by a thread while it lives.
#[derive(Debug)]
pub struct Alive(Arc<AtomicBool>);

impl Drop for Alive {
    fn drop(&mut self) {
        // Relaxed: a flag for probes; it publishes nothing.
        self.0.store(true, Ordering::Relaxed);
    }
}

impl Health {
    /// Of a server that ends when `stop` is set.
    pub fn new(stop: Arc<AtomicBool>) -> Health {
        Health { stop, has_lost_thread: Arc::new(AtomicBool::new(false)) }
    }

    /// For a thread without which the server does not serve.
    pub fn alive(&self) -> Alive {
        Alive(Arc::clone(&self.has_lost_thread))
    }

    /// # Errors
    /// Why it does not serve, in one line.
    pub fn check(&self) -> Result<(), &'static str> {
        // Relaxed: as in `drop`.
        if self.stop.load(Ordering::Relaxed) {
            Err("the server is draining")
        } else if self.has_lost_thread.load(Ordering::Relaxed) {
            Err("a thread of the server has ended")
        } else {
            Ok(())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_is_well_until_a_thread_ends_or_it_drains() {
        let stop = Arc::new(AtomicBool::new(false));
        let health = Health::new(Arc::clone(&stop));
        let (one, other) = (health.alive(), health.alive());
        assert_eq!(health.check(), Ok(()));
        drop(one);
        assert_eq!(health.check(), Err("a thread of the server has ended"));
        stop.store(true, Ordering::Relaxed);
        drop(other);
        assert_eq!(health.check(), Err("the server is draining"));
    }
}
