//! Commands over a connection mean the same however they are cut: random pipelines of right and wrong commands, once as one piece and
//! once in random pieces, some of them late, with replies that clients have no room for. Two servers of the same seed give the
//! same bytes, and hang up at the same place.
//!
//! A failure names its case; `PROPTEST_CASES` runs more of them.

mod support;

use proptest::prelude::*;
use sherwood::net::sim::{Link, StreamFaults};
use sherwood::worker::Access;
use support::stepped::Stepped;

/// What a client sends.
#[derive(Clone)]
struct Sent {
    pipeline: Vec<Vec<u8>>,
    /// Whether the client says that it sends no more.
    ends: bool,
}

impl std::fmt::Debug for Sent {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let commands = self
            .pipeline
            .iter()
            .map(|sent| (sent.len(), format!("{:.120}", sent.escape_ascii().to_string())));
        f.debug_list().entries(commands).finish()?;
        write!(f, " ends: {}", self.ends)
    }
}

fn key() -> impl Strategy<Value = String> {
    (0..8usize).prop_map(|i| format!("key{i}"))
}

fn value() -> impl Strategy<Value = Vec<u8>> {
    let bytes = prop_oneof![
        20 => 0..200usize,
        5 => 200..4_000usize,
        3 => 4_000..16_000usize,
        // Long ones go into their items as they come.
        4 => 16_000..17_000usize,
        1 => 17_000..60_000usize,
    ];
    (bytes, any::<u8>())
        .prop_map(|(bytes, first)| (0..bytes).map(|i| b'a' + (first as usize + i) as u8 % 26).collect())
}

fn with_value(line: String, value: &[u8]) -> Vec<u8> {
    [line.as_bytes(), b"\r\n", value, b"\r\n"].concat()
}

fn store() -> impl Strategy<Value = Vec<u8>> {
    let verb = prop::sample::select(vec!["set", "set", "set", "add", "replace", "append", "prepend"]);
    (verb, key(), 0..3u32, value(), prop::bool::weighted(0.2)).prop_map(
        |(verb, key, flags, value, is_silent)| {
            let noreply = if is_silent { " noreply" } else { "" };
            with_value(format!("{verb} {key} {flags} 0 {}{noreply}", value.len()), &value)
        },
    )
}

fn meta_store() -> impl Strategy<Value = Vec<u8>> {
    let flags = prop::sample::select(vec!["", " T0", " MA", " ME", " q", " k Oabc", " c", " C3", " I"]);
    (key(), flags, value())
        .prop_map(|(key, flags, value)| with_value(format!("ms {key} {}{flags}", value.len()), &value))
}

fn line() -> impl Strategy<Value = Vec<u8>> {
    let of_key = prop::sample::select(vec![
        "get K",
        "get K",
        "get K",
        "gets K",
        "gat 0 K",
        "gat 0 key1 K key3 key5",
        "touch K 0",
        "delete K",
        "incr K 1",
        "decr K 7",
        "mg K v",
        "mg K v",
        "mg K k f v q",
        "mg K t s",
        "md K",
        "md K q",
        "ma K",
        "ma K N0 J5 v",
        "me K",
        "get K absent K",
    ]);
    let keyed = (of_key, key()).prop_map(|(line, key)| line.replace('K', &key));
    let fixed = prop::sample::select(vec![
        "mn",
        "mn",
        "version",
        "verbosity 1",
        "flush_all",
        "nonsense",
        "",
        "get",
        "set",
        "set k 0 0",
        "set k 0 0 x",
        "delete",
        "mg",
        "mg a\u{1}b v",
        "incr key1",
        "cas key1 0 0 1",
        "stats nonsense",
        "ms key1 abc",
    ])
    .prop_map(str::to_owned);
    let many = (1..600usize).prop_map(|count| {
        let keys: String = (0..count).map(|i| format!(" key{}", i % 99)).collect();
        format!("get{keys}")
    });
    let end = prop::sample::select(vec!["\r\n", "\r\n", "\r\n", "\n"]);
    (prop_oneof![12 => keyed, 3 => fixed, 1 => many], end).prop_map(|(line, end)| (line + end).into_bytes())
}

/// Lines around the bound of 16 KiB, and reads with keys of wrong lengths among many.
fn long_line() -> impl Strategy<Value = Vec<u8>> {
    let lines = vec![
        "B get key1 key2",
        "get B key1 key2",
        "get key1 B key2",
        "get B",
        "gat 0 B",
        "gat B 0 key1",
        "gat 0 B key1 key2",
        "gats x B key1",
        "gats 0 key1 B key2 B key3",
        "mg key1 v B",
        "mg key1 B v",
        "mn B",
        "incr key1 B 1",
        "nonsense B",
        "quit B",
        "set key1 B 0 0 5\r\nhello",
        "set key1 B 0 0 20000\r\nhello",
        "set key1 B x 0 5\r\nhello",
        "ms key1 B 5 !\r\nhello",
        "set key1 0 0 1048600 B\r\nhello",
    ];
    let padded = (
        prop::sample::select(lines),
        prop_oneof![3 => 16_330..16_400usize, 1 => 1_990..2_060usize, 1 => 2_060..40_000usize],
    )
        .prop_map(|(line, bytes)| line.replacen('B', &" ".repeat(bytes), 1).replace('B', ""));
    let head = prop::sample::select(vec!["get", "gets", "gat 0", "gats -1", "gat x", "gat"]);
    let many =
        (head, 0..3_600usize, 245..260usize, 0..3_600usize).prop_map(|(head, before, bytes, behind)| {
            let keys = |count| (0..count).map(|i| format!(" key{}", i % 9)).collect::<String>();
            format!("{head}{} {}{}", keys(before), "k".repeat(bytes), keys(behind))
        });
    prop_oneof![padded, many].prop_map(|line| (line + "\r\n").into_bytes())
}

/// Stores that are too large, do not end where their line says, or have a wrong line; what they have removed is looked at.
fn wrong_store() -> impl Strategy<Value = Vec<u8>> {
    let lines = vec![
        "set K 0 0 N",
        "set K 0 0 N noreply",
        "add K 0 0 N",
        "cas K 0 0 N 7",
        "ms K N",
        "ms K N q MA",
        "ms a2V5MQ== N b",
        "ms a2V5MQ= N b",
        "ms K N !",
        "ms K N b c s",
        "set K x 0 N",
        "set K 0 0 N 5 6",
    ];
    let sizes = prop_oneof![0..100usize, 15_990..16_500usize, Just(1_048_600)];
    (prop::sample::select(lines), key(), sizes, 0..6usize, any::<bool>()).prop_map(
        |(line, key, bytes, more, is_whole)| {
            let line = line.replace('K', &key).replace('N', &bytes.to_string());
            // Of a long one that is cut off the rest are the commands that follow.
            let there = if is_whole { bytes + more } else { bytes.min(500) + more };
            let head = format!("set {key} 0 0 3\r\nold\r\n{line}\r\n");
            format!("{head}{}\r\nget {key} key1\r\n", "mn\r\n".repeat(there / 4 + 1)[..there].to_owned())
                .into_bytes()
        },
    )
}

/// Commands after which a connection may be out of step, or over.
fn wrong() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        // A value that does not end where it should.
        (key(), 0..40_000usize).prop_map(|(key, bytes)| {
            [format!("set {key} 0 0 {bytes}\r\n").into_bytes(), vec![b'x'; bytes + 3], b"\r\n".to_vec()]
                .concat()
        }),
        // One that is refused and passed over, with words of commands in it.
        Just(
            [b"set big 0 0 1048600\r\n".to_vec(), b"get key1\r\n".repeat(104_860), b"\r\n".to_vec()].concat()
        ),
        Just(b"set key1 0 0 1048600\r\nget key1\r\n".to_vec()),
        Just([b"get key1 ".to_vec(), vec![b'k'; 300], b" key2\r\n".to_vec()].concat()),
        long_line(),
        wrong_store(),
        // Lines that are longer than lines may be: they end the connection, whole or cut.
        (250..400usize).prop_map(|bytes| {
            let absent = b" absent".repeat(2_400);
            [&b"get"[..], &absent, b" ", &vec![b'k'; bytes], &absent, b"\r\n"].concat()
        }),
        wrong_key(),
        (16_376..16_396usize).prop_map(|bytes| [&vec![b'n'; bytes][..], b"\r\n"].concat()),
        Just(b"set key1 0 0 -1\r\nx\r\n".to_vec()),
        Just(b"quit\r\n".to_vec()),
        Just(b"GET /key1 HTTP/1.1\r\nHost: somewhere\r\n\r\n".to_vec()),
        Just([b"\x80\x0b".to_vec(), vec![0; 22]].concat()),
        prop::collection::vec(any::<u8>(), 1..60),
    ]
}

/// Keys that are too long, as an application with a fault sends them: the line is answered, and what follows is served.
fn wrong_key() -> impl Strategy<Value = Vec<u8>> {
    let lines = vec![
        "get B",
        "gets key1 B key2",
        "gat 0 B",
        "delete B",
        "touch B 0",
        "incr B 1",
        "mg B v",
        "md B q",
        "ma B",
        "me B",
        "set B 0 0 1\r\nx",
        "set B 0 0 1 noreply\r\nx",
        "add key1 B 0 1\r\nx",
        "cas B 0 0 1 5\r\nx",
        "ms B 1\r\nx",
        "ms B 1 q\r\nx",
    ];
    let bytes = prop_oneof![251..300usize, 2_000..2_100usize, 2_100..16_300usize, 16_300..20_000usize];
    (prop::sample::select(lines), bytes)
        .prop_map(|(line, bytes)| (line.replace('B', &"k".repeat(bytes)) + "\r\nget key1\r\n").into_bytes())
}

fn sent() -> impl Strategy<Value = Sent> {
    let command = prop_oneof![10 => store(), 4 => meta_store(), 24 => line(), 2 => wrong()];
    (prop::collection::vec(command, 1..60), any::<bool>())
        .prop_map(|(pipeline, ends)| Sent { pipeline, ends })
}

/// What a server answers to bytes that come as `write` writes them, and whether it hung up.
fn answered(
    workers: usize,
    seed: u64,
    faults: StreamFaults,
    sent: &Sent,
    write: impl FnOnce(&mut Stepped, &Link, &[u8]) -> Vec<u8>,
) -> (Vec<u8>, bool) {
    let mut server = Stepped::with_streams(workers, Access::default(), seed, faults);
    let link = server.connect(0);
    let mut reply = write(&mut server, &link, &sent.pipeline.concat());
    if sent.ends {
        link.end();
    }
    reply.extend(server.converse(&link));
    let is_over = link.is_over();
    link.reset();
    server.converse(&link);
    for worker in 0..workers {
        let left = server.streams(worker);
        assert_eq!((left.open, left.held_buffers, left.unsent_bytes), (0, 0, 0), "worker {worker}: {left:?}");
        assert_eq!(server.owned(worker).unfinished_items.get(), 0, "worker {worker}");
        assert_eq!(server.worker(worker).counters().curr_connections.get(), 0);
    }
    (reply, is_over)
}

fn shown(reply: &[u8]) -> String {
    let lines = reply.split_inclusive(|&byte| byte == b'\n');
    lines.map(|line| format!("{:.80}\n", line.escape_ascii().to_string())).collect()
}

fn cuts_change_nothing(
    workers: usize,
    sent: &Sent,
    seed: u64,
    socket_bytes: usize,
) -> Result<(), TestCaseError> {
    let whole = answered(workers, 1, StreamFaults::default(), sent, |_, link, bytes| {
        link.write(bytes);
        Vec::new()
    });
    let faults = StreamFaults { cut_percent: 90, late_percent: 30, short_percent: 30, socket_bytes };
    let cut = answered(workers, seed, faults, sent, |server, link, bytes| {
        // The client is slow, too: what it writes comes in a few parts, and it reads in between.
        let part = bytes.len() / (1 + seed as usize % 5) + 1;
        bytes
            .chunks(part)
            .flat_map(|part| {
                link.write(part);
                server.converse(link)
            })
            .collect()
    });
    prop_assert_eq!(cut.1, whole.1, "it hung up on one of them");
    prop_assert!(cut.0 == whole.0, "in pieces\n{}\nas a whole\n{}", shown(&cut.0), shown(&whole.0));
    Ok(())
}

fn cases() -> u32 {
    std::env::var("PROPTEST_CASES").map_or(64, |text| text.parse().expect("PROPTEST_CASES is a number"))
}

proptest! {
    #![proptest_config(ProptestConfig { cases: cases(), max_shrink_iters: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn cuts_change_nothing_with_one_worker(sent in sent(), seed in any::<u64>(), socket_bytes in 1_500..60_000usize) {
        cuts_change_nothing(1, &sent, seed, socket_bytes)?;
    }

    #[test]
    fn cuts_change_nothing_with_two_workers(sent in sent(), seed in any::<u64>(), socket_bytes in 1_500..60_000usize) {
        cuts_change_nothing(2, &sent, seed, socket_bytes)?;
    }
}

/// A check that all answers are empty would also pass: a pipeline of each kind has its answers.
#[test]
fn a_pipeline_is_answered() {
    let value = "v".repeat(20_000);
    let pipeline = format!("set key1 0 0 20000\r\n{value}\r\nget key1\r\nmg key1 s\r\nbad\r\nquit\r\n");
    let sent = Sent { pipeline: vec![pipeline.into_bytes()], ends: false };
    let (reply, is_over) = answered(2, 1, StreamFaults::default(), &sent, |_, link, bytes| {
        link.write(bytes);
        Vec::new()
    });
    let want = format!("STORED\r\nVALUE key1 0 20000\r\n{value}\r\nEND\r\nHD s20000\r\nERROR\r\n");
    assert_eq!(
        (reply.escape_ascii().to_string(), is_over),
        (want.as_bytes().escape_ascii().to_string(), true)
    );
}

/// Every cut of a request in the retired binary protocol is told the same.
#[test]
fn a_binary_request_is_refused_wherever_it_is_cut() {
    let request = [b"\x80\x0b".to_vec(), vec![0; 10], b"opaq".to_vec(), vec![0; 8]].concat();
    for cut in 0..request.len() {
        let mut server = Stepped::of(1, Access::default());
        let link = server.connect(0);
        link.write(&request[..cut]);
        assert_eq!(server.converse(&link), b"", "{cut}");
        link.write(&request[cut..]);
        assert_eq!(server.converse(&link).len(), 24, "cut at {cut}");
        assert!(link.is_over());
    }
}
