//! Commands however they are cut.

use super::*;
use proptest::prelude::*;

const VALUE_BYTES_MAX: usize = 12;

/// A command, right or wrong, that has an end.
fn command() -> impl Strategy<Value = String> {
    prop_oneof![
        "get( [a-z]{1,9}){1,4}\r?\n",
        "(gets|gat 5|mg) [a-z]{1,9}\r?\n",
        "(delete|touch|incr) [a-z]{1,5} [0-9a-z]{1,3}( noreply)?\r\n",
        "(mg|md|ma|me) [a-z]{0,5}( [a-z]){0,3}\r\n",
        "(mn|version|stats|nonsense|get)\r\n",
        // The length is put in below: of a value that is whole, too large, or refused with its line.
        "(set|add|append) [a-z]{1,5} [0-9]{1,3} [0-9]{1,3} #( noreply)?\r\n[a-z\n]{0,20}",
        "(set|cas) [a-z]{1,5} [x0] 0 #( 7)?\r\n[a-z\r]{0,20}",
        "ms [a-z]{1,5} #( [a-z]){0,3}\r\n[a-z]{0,20}",
    ]
    .prop_map(|command| match command.split_once('#') {
        None => command,
        Some((head, tail)) => {
            let (words, value) = tail.split_once("\r\n").expect("a line with a value behind it");
            format!("{head}{}{words}\r\n{value}\r\n", value.len())
        }
    })
}

/// What is parsed, and where each command ends.
fn parsed(commands: &mut Commands<'_>) -> Vec<(String, usize)> {
    let mut all = Vec::new();
    while let Some(parsed) = commands.parse() {
        if matches!(parsed, Parsed::Incomplete { .. }) {
            break;
        }
        all.push((format!("{parsed:?}"), commands.at()));
    }
    all
}

proptest! {
    /// However a request is cut, its first part gives the commands that are whole and says how many bytes are missing at
    /// least, never more than are; with the rest it gives all of them.
    #[test]
    fn a_prefix_is_incomplete_and_never_wrong(all in prop::collection::vec(command(), 1..5)) {
        let body = all.concat().into_bytes();
        let want = parsed(&mut Commands::new(&body, VALUE_BYTES_MAX));
        prop_assert_eq!((want.len(), want.last().unwrap().1), (all.len(), body.len()));
        for cut in 0..body.len() {
            let mut commands = Commands::new(&body[..cut], VALUE_BYTES_MAX);
            let mut got = parsed(&mut commands);
            let at = commands.at();
            let end = want[got.len()].1;
            match commands.parse() {
                None => prop_assert_eq!(at, cut, "nothing is left over"),
                Some(Parsed::Incomplete { at_least, .. }) => {
                    prop_assert!(cut + at_least.get() <= end, "{cut} + {at_least} of {end}");
                }
                other => prop_assert!(false, "{other:?}"),
            }
            got.extend(parsed(&mut Commands::resume(&body, at, VALUE_BYTES_MAX)));
            prop_assert_eq!(&got, &want, "cut at {}", cut);
        }
    }

    /// In a datagram nothing follows: what is not all there is wrong, with the same answer as ever, and ends it.
    #[test]
    fn a_cut_datagram_ends_with_an_error(all in prop::collection::vec(command(), 1..5), cut: prop::sample::Index) {
        let body = all.concat().into_bytes();
        let body = &body[..cut.index(body.len())];
        let (mut stream, mut datagram) =
            (Commands::new(body, VALUE_BYTES_MAX), Commands::new(body, VALUE_BYTES_MAX));
        loop {
            match (stream.parse(), datagram.next()) {
                (None, None) => break,
                (Some(Parsed::Command(one)), Some(Ok(other))) => {
                    prop_assert_eq!(format!("{one:?}"), format!("{other:?}"));
                }
                (Some(Parsed::Wrong(one)), Some(Err(other))) => prop_assert_eq!(one, other),
                (Some(Parsed::Incomplete { otherwise, missing, .. }), Some(Err(other))) => {
                    // Over a stream the line is judged before its value is there.
                    let is_refused = matches!(missing, Missing::RefusedValue);
                    prop_assert!(is_refused || otherwise == other);
                    prop_assert_eq!(datagram.at(), body.len());
                    break;
                }
                (
                    Some(Parsed::Incomplete { missing: Missing::TooLargeValue(one), .. }),
                    Some(Ok(other @ Command::TooLarge(_))),
                ) => {
                    prop_assert_eq!(format!("{one:?}"), format!("{other:?}"));
                    prop_assert_eq!(datagram.at(), body.len());
                    break;
                }
                other => prop_assert!(false, "{other:?}"),
            }
        }
    }
}

#[test]
fn bytes_that_are_missing_are_counted_to_the_end_of_a_value() {
    for (body, missing, error) in [
        (&b"get a"[..], 1, Error::BadLine),
        (b"set k 0 0 5\r\n", 7, Error::BadDataChunk),
        (b"set k 0 0 5\r\nabcde", 2, Error::BadDataChunk),
        (b"set k 0 0 5\r\nabcde\r", 1, Error::BadDataChunk),
        (b"set k 0 0 5 noreply\r\nabc", 4, Error::Unsaid),
        (b"set k x 0 5\r\nabc", 4, Error::BadLine),
        (b"set k 0 0 500\r\nabc", 499, Error::TooLargeForCache),
        (b"ms k 5 !\r\nabc", 4, Error::InvalidFlag),
    ] {
        match Commands::new(body, VALUE_BYTES_MAX).parse() {
            Some(Parsed::Incomplete { at_least, otherwise, .. }) => {
                assert_eq!((at_least.get(), otherwise), (missing, error), "{}", body.escape_ascii());
            }
            other => panic!("{}: {other:?}", body.escape_ascii()),
        }
    }
    for body in [&b"set k 0 0 3\r\nabcd"[..], b"set k 0 0 3\r\nabc\rx", b"set k 0 0 -1\r\n", b"ms k x\r\n"] {
        let parsed = Commands::new(body, VALUE_BYTES_MAX).parse();
        assert!(matches!(parsed, Some(Parsed::Wrong(_))), "{}: {parsed:?}", body.escape_ascii());
    }
}
