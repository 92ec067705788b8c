//! Bounds of what is said: keys, values, datagrams.

/// Longest key, in bytes (memcached's own limit).
pub const KEY_BYTES_MAX: usize = 250;
/// Longest UDP payload over IPv4, in bytes.
pub const DATAGRAM_BYTES_MAX: usize = 65_507;
/// Longest reply datagram, frame header included, in bytes (memcached's own limit; fits an Ethernet frame).
pub const REPLY_DATAGRAM_BYTES_MAX: usize = 1_400;
/// memcached's UDP frame header, in bytes.
pub const FRAME_HEADER_BYTES: usize = 8;
/// Operations of one batch frame.
pub const BATCH_OPERATIONS_MAX: usize = 1_024;

/// Largest `--value-max`, in bytes: what the 24-bit length of an item can say.
pub const VALUE_BYTES_LIMIT: usize = (1 << 24) - 1;

const _: () = assert!(REPLY_DATAGRAM_BYTES_MAX * 46 <= DATAGRAM_BYTES_MAX);
