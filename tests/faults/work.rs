//! Bounded work: no datagram keeps a worker from its other clients.
