//! The order of commands: what a socket sends is executed in the order it is sent, as far as docs/protocol.md promises.
