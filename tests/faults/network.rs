//! Datagrams between us and the kernel: sockets, ports, paths, and io_uring where it is refused.
