//! Every bound of the server, with the assertions that relate them.
//!
//! A limit that is reached is a normal answer with a counter, never a wait and never a crash.
//!
//! Those of the cache and of the protocol live with their crates; what the server needs of them is named here, too.

pub use cache::limits::{
    COMMAND_RING_RECORDS, EVENT_RING_RECORDS, HIT_RING_RECORDS, HOT_KEYS_MAX, LOAD_PERCENT,
};
pub use protocol::limits::{
    DATAGRAM_BYTES_MAX, FRAME_HEADER_BYTES, KEY_BYTES_MAX, REPLY_DATAGRAM_BYTES_MAX, VALUE_BYTES_LIMIT,
};

/// Smallest `--memory`, in bytes; also per worker. Sixteen of the smallest pages: an index, a reserve, and a page for each of some sizes.
pub const MEMORY_BYTES_MIN: usize = 2 << 20;
/// Socket buffers that we ask for, in bytes.
pub const SOCKET_BUFFER_BYTES: usize = 16 << 20;

/// Attempts to bind the address of a server while it is in use: a process that has just ended, or was killed, may hold it for
/// some 50 ms more.
pub const BIND_ATTEMPTS: u32 = 100;
/// Time between two of them, in ms.
pub const BIND_RETRY_MS: u64 = 5;

/// Connections that may wait to be accepted; the kernel caps it at net.core.somaxconn.
pub const LISTEN_BACKLOG: i32 = 1_024;
/// How long nothing may come of a TCP connection before the kernel asks its peer whether it is still there, in s (TCP_KEEPIDLE).
pub const KEEP_ALIVE_IDLE_S: u32 = 300;
/// Time between two such probes, in s (TCP_KEEPINTVL).
pub const KEEP_ALIVE_INTERVAL_S: u32 = 30;
/// Probes without an answer after which the connection is over (TCP_KEEPCNT): a peer that vanished is noticed after 7 minutes. Linux's own
/// settings take 2 hours and 11 minutes.
pub const KEEP_ALIVE_PROBES: u32 = 4;
/// Free ports of UDP that are tried for TCP where both shall have one (port 0).
pub const SHARED_PORT_ATTEMPTS: usize = 16;
/// Longest path of a UNIX socket, in bytes: `sun_path` has 108 with its end (unix(7)).
pub const UNIX_PATH_BYTES_MAX: usize = 107;
/// Connections of a server at once, unless `--max-connections` says otherwise.
pub const CONNECTIONS_DEFAULT: usize = 16_384;
/// Largest `--max-connections`: as many descriptors as the kernel lets a process have (fs.nr_open, 1,048,576), half of them.
pub const CONNECTIONS_MAX: usize = 1 << 19;
/// Largest `--idle-timeout`, in s: a year.
pub const IDLE_TIMEOUT_S_MAX: u64 = 366 * 86_400;
/// Descriptors of the process beside its clients' connections and its workers': standard streams, metrics and their connections, logs, the files of
/// --config, --secret-file and --peers, locks of CPUs, libraries that open files for a moment.
pub const OPEN_FILES_RESERVE: usize = 64 + METRICS_CONNECTIONS_MAX;
/// Descriptors of a worker beside connections: UDP socket, listeners, ring or epoll, eventfd, and a connection that is refused.
pub const WORKER_OPEN_FILES: usize = 8;
/// Longest file of `--peers`, in bytes.
pub const PEERS_BYTES_MAX: u64 = 64 << 10;
/// Servers that `--peers` names at most.
pub const PEERS_MAX: usize = 1_024;
/// How often the file of `--peers` is looked at, at most, in ms.
pub const PEERS_LOOK_MS: u64 = 1_000;

/// Segments of one GSO train that we send (`UDP_MAX_SEGMENTS` of the kernel's include/linux/udp.h before 6.9).
pub const TRAIN_SEGMENTS_MAX: usize = 64;
/// How long an address to which the kernel refused a train gets single datagrams, in s: each minute one call fails. The
/// kernel itself forgets what it learned of a path after 600 s.
pub const TRAIN_RETRY_S: u64 = 60;
/// Addresses that a worker remembers to send no trains to.
pub const TRAIN_PEERS: usize = 1_024;
/// Trains that may be refused in a row, for other reasons than their length, before no peer gets trains for a while.
pub const TRAIN_REFUSALS_MAX: u32 = 16;
/// Receive buffers of a worker, each as large as the largest train.
pub const RECEIVE_BUFFERS: usize = 64;
/// Bytes of one receive buffer: io_uring's header, the peer's address and control data, then the payload.
pub const RECEIVE_BUFFER_BYTES: usize = (64 << 10) + 512;
/// Receive buffers of a worker for streams.
pub const STREAM_BUFFERS: usize = 256;
/// Bytes of one receive buffer for streams: some hundred pipelined commands.
pub const STREAM_BUFFER_BYTES: usize = 16 << 10;
/// Bytes of a command's line over a stream at most, without its end; only the keys of a read may go on. As in memcached, whose read
/// buffer is as long; so a key that is too long gets its answer.
pub const STREAM_LINE_BYTES_MAX: usize = 16 << 10;
/// Blanks in a row within such a line at most: nobody means more, and memcached, too, gives up a line that has no end within 2 KiB.
pub const STREAM_LINE_BLANKS_MAX: usize = 2_048;
/// Bytes of a value from which on it is not put together from a stream, but goes into its item as it comes.
pub const LONG_VALUE_BYTES: usize = 16 << 10;
/// How long nothing may come of a value that has begun, in s; then its connection is closed, because it holds memory that others want.
pub const VALUE_IDLE_S: u64 = 60;
/// How long a connection waits for room for a long value, in s, while values that are coming have all of it; then its store is refused.
/// Values that come too slowly are given up before that.
pub const CROWD_WAIT_S: u64 = 10;
/// How many bytes of a long value must come in a second, on average since it has had its memory, while others wait for room; a slower one
/// is given up with its connection.
pub const VALUE_BYTES_PER_S_MIN: u64 = 16 << 10;
/// How long a value has had its memory before its rate matters, in s.
pub const VALUE_GRACE_S: u64 = 3;
/// The least of that, in ms, for a value that has waited for its memory.
pub const VALUE_GRACE_WAITED_MS: u64 = 1_000;
/// Buffers that a connection may hold, before it receives no more until what is in them is done.
pub const STREAM_BUFFERS_HELD_MAX: usize = 4;
/// Receive buffers that a connection may hold which has not had its turns yet; beyond it nothing more is received of it until all that
/// it has sent is done. A quarter of all, so that one long pipeline leaves the others theirs.
pub const STREAM_BUFFERS_AHEAD_MAX: usize = STREAM_BUFFERS / 16;
/// Turns that a connection gets in one tick: one turn is a batch of reads and [`TURN_WORK_UNITS`] of other work.
pub const STREAM_TURNS_MAX: u32 = 8;
/// Room of a reply with the longest value beside that, in bytes: line, key and flags.
pub const LONG_REPLY_ROOM_BYTES: usize = 4_096;
/// Replies of the longest value for which a worker has memory, where the outbox has no room. Peers with unread replies get half of it.
pub const STREAM_LONG_REPLIES_MAX: usize = 8;
/// How long a connection beyond the limit waits for another one to end, in ms.
pub const NEWCOMER_WAIT_MS: u64 = 10;
/// Ticks that pass before it is refused, however long they take.
pub const NEWCOMER_TICKS: u32 = 4;
/// Connections of a worker that wait so; one more is refused at once.
pub const NEWCOMERS_WAITING_MAX: usize = 64;
/// How long a peer may take nothing of its replies, in ms, while others wait for memory for theirs; then its connection is closed.
pub const STREAM_UNREAD_MS: u64 = 1_000;
/// How often such peers are looked for, in ms, while others wait.
pub const UNREAD_LOOK_MS: u64 = 100;
/// How often connections are looked at else, in ms.
pub const IDLE_LOOK_MS: u64 = 1_000;
/// How long a connection that waits for room for a long value waits before it asks again, in ms, where this worker has freed none meanwhile:
/// nobody tells it what other workers free.
pub const CROWD_ASK_MS: u64 = 1;
/// Connections that ask again at such a time; the others do so the next time.
pub const CROWD_ASKS_MAX: usize = 64;
/// Bytes of commands that were cut, and of input that waits for peers that do not read, that a worker keeps; beyond it connections
/// that hold some and have been still for longest are closed, and those that need more wait.
pub const STREAM_KEPT_BYTES_MAX: usize = 32 << 20;
/// The same, where none has been still for long enough; beyond it a connection that needs more is closed.
pub const STREAM_KEPT_BYTES_BRIM: usize = 2 * STREAM_KEPT_BYTES_MAX;
/// Connections of a worker that are looked at in one tick for one that gives back what is kept of it.
pub const KEPT_LOOKS_MAX: usize = 256;
/// How long, in whole s, a connection must have sent nothing before that; so at least one second less.
pub const KEPT_STILL_S: u64 = 2;
/// Bytes of replies that peers have not taken which a worker keeps at most before others get room for small replies only. A small server has
/// an eighth of a worker's share of the memory for it, but at least an outbox, see [`stream_unsent_bytes_max`].
pub const STREAM_UNSENT_BYTES_MAX: usize = 64 << 20;
/// Bytes of a reply, while so many are unsent; a longer one waits for memory of its own, as the longest values do.
pub const STREAM_SMALL_ROOM_BYTES: usize = 16 << 10;
/// Bytes of replies that a connection may get in one tick before it has another turn.
pub const STREAM_TICK_REPLY_BYTES: usize = 256 << 10;
/// How long the end of a server waits for peers to take what they were sent, in ms.
pub const DRAIN_MS: u64 = 5_000;
/// Ticks with work that a server that ends does for what had come, and then for datagrams.
pub const DRAIN_TICKS_MAX: usize = 64;
/// Ticks in a row without anything new after which such a server has received what had come: a connection is accepted in one, its first bytes
/// come with the next or the one after that.
pub const DRAIN_QUIET_TICKS: usize = 3;
/// How long a worker that ends sleeps at most, in ms: nothing tells it that a peer has taken its replies, or that another worker is done.
pub const DRAIN_LOOK_MS: u64 = 5;
/// Bytes of unread input that are thrown away before a connection is closed.
pub const CLOSE_DISCARDED_BYTES_MAX: usize = 256 << 10;

/// [`STREAM_UNSENT_BYTES_MAX`] of one of so many workers that share `memory_bytes`.
pub const fn stream_unsent_bytes_max(memory_bytes: usize, workers: usize) -> usize {
    let share = memory_bytes / workers / 8;
    if share > STREAM_UNSENT_BYTES_MAX {
        STREAM_UNSENT_BYTES_MAX
    } else if share < STREAM_OUTBOX_BYTES {
        STREAM_OUTBOX_BYTES
    } else {
        share
    }
}

/// Lines of an index of which a dump of all items writes the items at a time: about 400 items, or 60 KB.
pub const DUMP_LINES: usize = 64;
/// Dumps of all items that a worker has under way; one more is told to come again.
pub const DUMPS_MAX: usize = 2;
/// Connections whose idle time is looked at in one tick.
pub const TICK_IDLE_LOOKS_MAX: usize = 64;
/// Connections of a worker that `stats conns` lists at most.
pub const ROSTER_PLACES: usize = 1_024;
/// Pause after all workers had as many connections waiting as they may, in ms.
pub const HANDOVER_RETRY_MS: u64 = 1;
/// Connections that may wait for a worker which another thread has accepted for it.
pub const HANDOVER_MAX: usize = 1_024;
/// Receives of a connection in one turn of epoll; what is left comes with the next.
pub const STREAM_RECEIVES_MAX: usize = 4;
/// Busy polls after which epoll is asked for new connections while there are none.
pub const QUIET_POLLS_MAX: u32 = 16;
/// Pause after a connection could not be accepted for want of descriptors, in ms.
pub const ACCEPT_PAUSE_MS: u64 = 100;
/// Bytes of replies to streams that wait for the end of a tick.
pub const STREAM_OUTBOX_BYTES: usize = 4 << 20;
/// Bytes of one reply message at most, frames included; more is "object too large for udp".
pub const REPLY_BYTES_MAX: usize = 1_400 * 800;
/// The same without the frames.
pub const REPLY_BODY_BYTES_MAX: usize = protocol::datagrams::body_bytes_max(REPLY_BYTES_MAX);
/// Bytes of replies that wait for the end of a tick.
pub const OUTBOX_BYTES: usize = 4 << 20;
/// Datagrams that wait for the end of a tick.
pub const OUTBOX_DATAGRAMS_MAX: usize = 8_192;
/// Datagrams handled in one tick at most.
pub const TICK_DATAGRAMS_MAX: usize = 4_096;
/// Reads answered together, of any number of datagrams.
pub const TICK_READS_MAX: usize = 128;

/// Suspended datagrams of a worker whose request and reply so far are small.
pub const SMALL_REQUESTS: usize = 1_024;
/// The same of a worker that has no others to ask.
pub const LONE_SMALL_REQUESTS: usize = 64;
/// Suspended datagrams of a worker with requests of any length, whose reply so far is small.
pub const LONG_REQUESTS: usize = 64;
/// Long pending requests that only datagrams without a store may take: those of others may be under way for long.
pub const LONG_REQUESTS_RESERVED: usize = 32;
/// Suspended datagrams of a worker of any size. Their buffers are address space until they are used.
pub const LARGE_REQUESTS: usize = 16;
/// Large pending requests that only a datagram whose reply needs one may take.
pub const LARGE_REQUESTS_RESERVED: usize = 8;
/// Of those: large pending requests that only datagrams without a store may take.
pub const LARGE_REQUESTS_FOR_READS: usize = 4;
/// All pending requests of a worker; a ring between two workers holds so many.
pub const PENDING_REQUESTS_MAX: usize = SMALL_REQUESTS + LONG_REQUESTS + LARGE_REQUESTS;
/// Bytes of a small request.
pub const SMALL_REQUEST_BYTES: usize = 2_048;
/// Bytes of a small reply, the answer to the next command included.
pub const SMALL_REQUEST_REPLY_BYTES: usize = 4_096;
/// Longest answer without a value, in bytes: a line with a key in base64 and every flag.
pub const ANSWER_LINE_BYTES_MAX: usize = 1_024;
/// Keys of a small pending request whose order is kept one by one; with more, that of all keys of its client is.
pub const SMALL_REQUEST_KEYS: usize = 128;
/// The same of a large pending request.
pub const LARGE_REQUEST_KEYS: usize = 1_024;
/// Entries of the filter that says which keys are under way.
pub const ORDER_ENTRIES: usize = 8_192;
/// Work of one datagram at a stretch, in units of 100 to 200 ns; what is left is done in the next tick.
pub const TURN_WORK_UNITS: u32 = 512;
/// Work in one tick on datagrams that were suspended here, in the same units; what is left waits for the next tick.
pub const TICK_SUSPENDED_WORK_UNITS: u32 = 16 * TURN_WORK_UNITS;
/// How long a datagram with a store for which no pending request is free may hold up those behind it, in ms; then it is told to come again.
pub const POOL_WAIT_MS: u64 = 10;
/// The same of a datagram without a store, which is never refused: then it is dropped, as if the network had lost it.
pub const READ_POOL_WAIT_MS: u64 = 250;
/// Commands of other workers, and answers of theirs, that a worker takes in one tick.
pub const TICK_INBOUND_MAX: usize = 512;
/// How long a store may wait for memory that others may still read, in ms.
pub const GRACE_WAIT_MS: u64 = 10;
/// How long an idle worker sleeps at most, in ms.
pub const IDLE_WAIT_MS: u64 = 20;

/// Counts by source address that a worker keeps, of errors and of challenges.
pub const BUDGET_SOURCES: usize = 4_096;
/// Errors of one source address that a worker answers in a second, and as many challenges; loopback and administrators have no
/// bound.
pub const SOURCE_BUDGET_PER_S: u8 = 100;

/// One busy tick in so many is timed, on average, unless `--watch-one-in` says otherwise.
pub const WATCH_ONE_IN_DEFAULT: u32 = 16;
/// Open connections of the metrics endpoint; the oldest that is idle makes room for a newer one.
pub const METRICS_CONNECTIONS_MAX: usize = 64;
/// Time that a connection of the metrics endpoint has as a whole, request and answer, in ms.
pub const METRICS_REQUEST_MS: u64 = 5_000;
/// Bytes of a request to the metrics endpoint at most.
pub const METRICS_REQUEST_BYTES_MAX: usize = 4_096;
/// Bytes behind a request to the metrics endpoint that are thrown away at most, so that its answer is not lost by a reset.
pub const METRICS_DRAIN_BYTES_MAX: usize = 64 << 10;
/// Pause after a connection could not be accepted, in ms.
pub const METRICS_ACCEPT_PAUSE_MS: u64 = 100;
/// Time between two intervals of `--hist-log`, in s.
pub const HIST_LOG_INTERVAL_S: u64 = 1;
/// Requests to reopen the file of `--hist-log` that may wait for its thread; another one would ask for the same.
pub const HIST_LOG_ASKS_MAX: usize = 1;
/// How long a start looks at the CPUs at a time to see which are busy (`--pin auto`), in ms: ten ticks of most kernels.
pub const PIN_SAMPLE_MS: u64 = 100;
/// Times that it looks, at most: a CPU is busy if it is each time.
pub const PIN_SAMPLES_MAX: usize = 3;
/// A CPU that ran something for this share of that time is busy, in percent.
pub const PIN_BUSY_PERCENT: u32 = 25;
/// Signals that may wait for the main thread of a server.
pub const SIGNALS_WAITING_MAX: usize = 8;
/// A second signal to end a server counts from so many ms after the first one on: Ctrl-C reaches a server and the launcher above it, which
/// passes it on, and so does `timeout`.
pub const SECOND_SIGNAL_MS: u64 = 1_000;
/// Longest file of `--config`, in bytes.
pub const CONFIG_BYTES_MAX: u64 = 1 << 20;
/// Bytes of a key that `--hot-keys prefix` shows.
pub const HOT_KEYS_PREFIX_BYTES: usize = 8;

/// Records of one trace at most: `load` keeps 32 bytes of each, so these take 8 GiB.
pub const TRACE_RECORDS_MAX: usize = 1 << 28;
/// Bytes of a line of a trace at most, without its end: a file without line ends is no trace of keys.
pub const TRACE_LINE_BYTES_MAX: usize = 64 << 10;

/// How far the clock in a seal may be from the server's, in ms.
pub const SEAL_SKEW_MS: u64 = 30_000;
/// Sessions of sealed frames that a worker remembers.
pub const SEAL_SESSIONS: usize = 1_024;
/// Sequences of a session that a worker remembers; what is older is refused.
pub const SEAL_WINDOW: usize = 1_024;

/// Bytes of the program, its libraries and what no worker has alone, to reckon with at the start.
pub const PROGRAM_BYTES: usize = 8 << 20;
/// Bytes of a worker beside its buffers, pending requests and rings: stack, histograms, retired items, what it remembers of seals.
pub const WORKER_BYTES: usize = 2 << 20;
/// Workers of one process at most.
pub const WORKERS_MAX: usize = 64;

/// Bytes of a histogram log that `sherwood hist` reads.
pub const LOG_BYTES_MAX: u64 = 1 << 30;
/// Bytes of a line of it.
pub const LOG_LINE_BYTES_MAX: usize = 16 << 20;
/// Bytes of a histogram in it, unpacked: five digits of 63 bits, 8 bytes a count, are 49 MB.
pub const LOG_HISTOGRAM_BYTES_MAX: usize = 64 << 20;
/// Lines after which a file without a single interval is no log.
pub const LOG_BAD_LINES_MAX: u64 = 10_000;
/// Tags of a log.
pub const LOG_TAGS_MAX: usize = 256;
/// Intervals of a tag that are kept apart; more are put together in pairs. A page shows half as many.
pub const LOG_INTERVALS_MAX: usize = 480;
/// Memory for all histograms of a log, in bytes: intervals are put together to stay within it.
pub const LOG_MEMORY_BYTES_MAX: usize = 1 << 30;

const _: () = assert!(BIND_ATTEMPTS as u64 * BIND_RETRY_MS >= 250, "longer than the kernel keeps a port");
const _: () = assert!(RECEIVE_BUFFERS.is_power_of_two());
const _: () = assert!(cache::limits::READ_BATCH_MAX <= TICK_DATAGRAMS_MAX);
const _: () =
    assert!(LARGE_REQUESTS_FOR_READS < LARGE_REQUESTS_RESERVED && LARGE_REQUESTS_RESERVED < LARGE_REQUESTS);
const _: () = assert!(WORKERS_MAX <= cache::limits::SHARDS_MAX, "a worker has a shard");
const _: () = assert!(LONG_REQUESTS_RESERVED < LONG_REQUESTS);
const _: () = assert!(2 * ANSWER_LINE_BYTES_MAX <= SMALL_REQUEST_REPLY_BYTES);
const _: () = assert!(cache::limits::KEY_BYTES_MAX == protocol::limits::KEY_BYTES_MAX);
const _: () = assert!(cache::limits::VALUE_BYTES_LIMIT == protocol::limits::VALUE_BYTES_LIMIT);
