//! A connection's bytes mean the same however they are cut: the same replies, and the same end. Whole servers without a kernel,
//! fresh ones for each execution, so that an input alone repeats a finding.

use super::stepped::Stepped;
use sherwood::net::sim::StreamFaults;
use sherwood::worker::Access;

/// Two bytes that seed the cuts, then what a client sends: to two servers, once in one piece and once in many.
pub fn streams(data: &[u8]) {
    let Some((seed, pipeline)) = data.split_first_chunk::<2>() else { return };
    if tells_of_time(pipeline) {
        return;
    }
    let seed = u16::from_be_bytes(*seed) as u64;
    let faults = StreamFaults { cut_percent: 90, late_percent: 20, short_percent: 20, socket_bytes: 4_000 };
    let whole = answered(1, StreamFaults::default(), pipeline);
    let cut = answered(seed, faults, pipeline);
    assert_eq!(cut.0.escape_ascii().to_string(), whole.0.escape_ascii().to_string(), "cut, and whole");
    assert_eq!(cut.1, whole.1, "one of them was hung up on");
}

/// Figures differ with the number of ticks.
fn tells_of_time(pipeline: &[u8]) -> bool {
    pipeline.windows(5).any(|word| word == b"stats")
}

/// The reply, and whether the server hung up.
fn answered(seed: u64, faults: StreamFaults, pipeline: &[u8]) -> (Vec<u8>, bool) {
    let mut server = Stepped::with_streams(1, Access::default(), seed, faults);
    let link = server.connect(0);
    link.write(pipeline);
    let mut reply = server.converse(&link);
    let is_over = link.is_over();
    link.end();
    reply.extend(server.converse(&link));
    assert!(link.is_over(), "it ends when its client does");
    let left = server.streams(0);
    assert_eq!((left.open, left.held_buffers, left.unsent_bytes), (0, 0, 0), "something is left: {left:?}");
    assert_eq!(server.owned(0).unfinished_items.get(), 0, "an unfinished value is left");
    (reply, is_over)
}
