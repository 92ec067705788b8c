//! Replies that are full: each operation of a frame has its result all the same, and no command is done of which the client
//! cannot be told.

use crate::support::batch::{frame, get, statuses};
use crate::support::stepped::Stepped;
use protocol::batch::RESULT_BYTES;
use protocol::batch::Status::{Missing, NoRoom, Value};
use sherwood::limits::REPLY_BODY_BYTES_MAX;

const VALUE_BYTES: usize = 55_000;
/// Room of a reply that is kept for results without a value.
const RESULTS_ROOM_BYTES: usize = 24_576;
/// Keys whose values fill most of a reply.
const KEYS: usize = 19;

fn text(body: &[u8]) -> Vec<u8> {
    [&[0, 7, 0, 0, 0, 1, 0, 0][..], body].concat()
}

/// The body of the whole reply to a datagram.
fn ask(server: &mut Stepped, datagram: &[u8]) -> Vec<u8> {
    server.send(0, datagram);
    (0..8).for_each(|_| server.settle());
    let mut datagrams: Vec<_> = std::iter::from_fn(|| server.receive(0)).collect();
    datagrams.sort_by_key(|datagram| u16::from_be_bytes([datagram[2], datagram[3]]));
    datagrams.iter().flat_map(|datagram| datagram[8..].to_vec()).collect()
}

fn store(server: &mut Stepped, key: &str, bytes: usize) {
    let line = format!("set {key} 0 0 {bytes}\r\n");
    let body = [line.as_bytes(), &vec![b'v'; bytes], b"\r\n"].concat();
    assert_eq!(ask(server, &text(&body)), b"STORED\r\n", "{key}");
}

fn filled() -> (Stepped, Vec<String>) {
    let mut server = Stepped::of(1, Default::default());
    let keys: Vec<_> = (0..KEYS).map(|number| format!("k{number:02}")).collect();
    keys.iter().for_each(|key| store(&mut server, key, VALUE_BYTES));
    (server, keys)
}

#[test]
fn each_operation_of_a_frame_has_its_result_however_full_the_reply_is() {
    let (mut server, mut keys) = filled();
    store(&mut server, "small", 100);
    keys.push("last".to_owned());
    keys.extend(["small", "k00", "missing", "small"].map(str::to_owned));
    let before = KEYS * (RESULT_BYTES + VALUE_BYTES);
    for left in [0, 8, RESULT_BYTES - 1, RESULT_BYTES] {
        // The last value that fits leaves so many bytes of the room for values.
        store(&mut server, "last", REPLY_BODY_BYTES_MAX - RESULTS_ROOM_BYTES - before - RESULT_BYTES - left);
        let body = ask(&mut server, &frame(&keys.iter().map(|key| get(key)).collect::<Vec<_>>()));
        let statuses = statuses(&body);
        assert_eq!(statuses.len(), keys.len(), "{left} bytes left: {statuses:?}");
        assert_eq!(statuses[KEYS..], [Value, NoRoom, NoRoom, Missing, NoRoom], "{left} bytes left");
    }
}

#[test]
fn what_could_not_be_told_is_not_done() {
    let (mut server, keys) = filled();
    let before: usize =
        keys.iter().map(|key| format!("VALUE {key} 0 {VALUE_BYTES}\r\n\r\n").len() + VALUE_BYTES).sum();
    for left in [0, 4, 8] {
        // The last value leaves so many bytes of the reply.
        let head = "VALUE last 0 55555\r\n\r\nEND\r\n".len();
        let room = REPLY_BODY_BYTES_MAX - 96 - before - head - left;
        store(&mut server, "last", room);
        for (command, was) in [
            ("incr n 1", "5"),
            ("set n 0 0 1\r\n9", "5"),
            ("append n 0 0 1\r\n9", "5"),
            ("ma n", "5"),
            ("delete n", "5"),
        ] {
            assert_eq!(ask(&mut server, &text(b"set n 0 0 1\r\n5\r\n")), b"STORED\r\n");
            let request = format!("get {} last\r\n{command}\r\n", keys.join(" "));
            let reply = ask(&mut server, &text(request.as_bytes()));
            assert!(reply.ends_with(b"END\r\nSERVER_ERROR object too large for udp\r\n"), "{command}");
            let now = ask(&mut server, &text(b"get n\r\n"));
            assert_eq!(
                now,
                format!("VALUE n 0 1\r\n{was}\r\nEND\r\n").as_bytes(),
                "{command} with {left} bytes left"
            );
        }
    }
}
