//! Classic text commands: one line, and a value behind it for the stores.

use crate::error::Error;
use crate::request::{Command, Commands, Expiry, Get, Key, Mode, Store};
use crate::token::{Number, Tokens};
use crate::too_large::TooLarge;

/// The command of `line`; takes the value of a store from `commands`.
///
/// # Errors
/// What the client did wrong.
#[inline]
pub(super) fn parse<'a>(commands: &mut Commands<'a>, line: &'a [u8]) -> Result<Command<'a>, Error> {
    parse_line(commands, line).map_err(|error| match error {
        // Of a line with a wrong number of words memcached does not know whether it wants a reply.
        Error::UnknownCommand => error,
        _ if wants_no_reply(line) => Error::Unsaid,
        _ => error,
    })
}

#[inline]
pub(super) fn parse_line<'a>(commands: &mut Commands<'a>, line: &'a [u8]) -> Result<Command<'a>, Error> {
    let mut tokens = Tokens::new(line);
    match tokens.next() {
        Some(b"get") => get(tokens, false, None),
        Some(b"gets") => get(tokens, true, None),
        Some(b"gat") => gat(tokens, false),
        Some(b"gats") => gat(tokens, true),
        Some(b"set") => store(commands, tokens, Mode::Set, false),
        Some(b"add") => store(commands, tokens, Mode::Add, false),
        Some(b"replace") => store(commands, tokens, Mode::Replace, false),
        Some(b"append") => store(commands, tokens, Mode::Append, false),
        Some(b"prepend") => store(commands, tokens, Mode::Prepend, false),
        Some(b"cas") => store(commands, tokens, Mode::Set, true),
        Some(b"delete") => delete(tokens),
        Some(b"incr") => arithmetic(tokens, true),
        Some(b"decr") => arithmetic(tokens, false),
        Some(b"touch") => touch(tokens),
        Some(b"version") => Ok(Command::Version),
        Some(b"verbosity") => verbosity(tokens),
        Some(b"cache_memlimit") => memory_limit(tokens),
        Some(b"stats") => Ok(Command::Stats { words: tokens }),
        Some(b"flush_all") => flush_all(tokens),
        Some(b"quit") => Ok(Command::Quit),
        Some(b"shutdown") => shutdown(tokens),
        Some(b"config") if words_are(tokens, [b"get", b"cluster"]) => Ok(Command::ClusterConfig),
        Some(b"lru_crawler") if words_are(tokens, [b"metadump", b"all"]) => Ok(Command::MetaDump),
        Some(b"lru_crawler") if words_are(tokens, [b"metadump", b"hash"]) => Ok(Command::MetaDump),
        Some(_) => Err(Error::UnknownCommand),
        None if line.is_empty() => Err(Error::BadLine),
        None => Err(Error::UnknownCommand),
    }
}

/// Whether exactly these words are left.
fn words_are<const N: usize>(tokens: Tokens<'_>, words: [&[u8]; N]) -> bool {
    tokens.eq(words)
}

/// `shutdown [graceful]`
fn shutdown(mut tokens: Tokens<'_>) -> Result<Command<'_>, Error> {
    match (tokens.next(), tokens.next()) {
        (None, _) => Ok(Command::Shutdown { graceful: false }),
        (Some(b"graceful"), None) => Ok(Command::Shutdown { graceful: true }),
        _ => Err(Error::BadShutdownMode),
    }
}

fn wants_no_reply(line: &[u8]) -> bool {
    let mut words = Tokens::new(line);
    !matches!(words.next(), Some(b"get" | b"gets" | b"gat" | b"gats")) && words.last() == Some(b"noreply")
}

#[inline]
fn get(keys: Tokens<'_>, with_cas: bool, touch: Option<Expiry>) -> Result<Command<'_>, Error> {
    let mut count = 0;
    for word in keys {
        Key::new(word)?;
        count += 1;
    }
    if count == 0 {
        Err(Error::UnknownCommand)
    } else {
        Ok(Command::Get(Get { keys, with_cas, touch, is_open: false }))
    }
}

fn gat(mut tokens: Tokens<'_>, with_cas: bool) -> Result<Command<'_>, Error> {
    if tokens.count_words() < 2 {
        return Err(Error::UnknownCommand);
    }
    let exptime = tokens.number::<i64>(Error::BadExptime)?;
    get(tokens, with_cas, Some(Expiry::from_exptime(exptime)))
}

/// `set KEY FLAGS EXPTIME BYTES [noreply]`, and for `cas` the number before `noreply`.
#[inline]
fn store<'a>(
    commands: &mut Commands<'a>,
    tokens: Tokens<'a>,
    mode: Mode,
    with_cas: bool,
) -> Result<Command<'a>, Error> {
    // All words in one pass; more than six are wrong, whatever they are.
    let mut words = [&b""[..]; 6];
    let mut count = 0;
    for word in tokens {
        if let Some(place) = words.get_mut(count) {
            *place = word;
        }
        count += 1;
    }
    match (store_line(&words, count, mode, with_cas), value_bytes(words[3])) {
        (Ok(store), Some(bytes)) => Ok(match commands.value(bytes)? {
            Some(value) => Command::Store(Store { value, ..store }),
            None => Command::TooLarge(TooLarge::of_store(&store)),
        }),
        (Err(error), Some(bytes)) => {
            commands.skip_value(bytes);
            Err(error)
        }
        (result, None) => {
            // What follows may be a value; it must not run as commands.
            commands.give_up();
            Err(result.err().unwrap_or(Error::BadLine))
        }
    }
}

/// The length of a value; memcached keeps it, with two bytes more, in an `int`.
pub(super) fn value_bytes(word: &[u8]) -> Option<u64> {
    u64::parse(word).filter(|&bytes| bytes <= i32::MAX as u64 - 2)
}

fn store_line<'a>(
    words: &[&'a [u8]; 6],
    count: usize,
    mode: Mode,
    with_cas: bool,
) -> Result<Store<'a>, Error> {
    let expected = 4 + with_cas as usize;
    if count < expected && with_cas && count > 0 {
        return Err(Error::BadLine);
    }
    if !(expected..=expected + 1).contains(&count) {
        return Err(Error::UnknownCommand);
    }
    let key = Key::new(words[0])?;
    // memcached reads 64 bits and keeps 32.
    let flags = u64::parse(words[1]).ok_or(Error::BadLine)? as u32;
    let expiry = Expiry::from_exptime(i64::parse(words[2]).ok_or(Error::BadLine)?);
    let cas = if with_cas { Some(u64::parse(words[4]).ok_or(Error::BadLine)?) } else { None };
    // Another word in the place of noreply is overlooked, as memcached does.
    let quiet = count > expected && words[expected] == b"noreply";
    Ok(Store { mode, key, flags, expiry, cas, value: b"", quiet })
}

/// `delete KEY [0] [noreply]`: the 0 is a relic that clients still send.
fn delete(mut tokens: Tokens<'_>) -> Result<Command<'_>, Error> {
    if !(1..=3).contains(&tokens.count_words()) {
        return Err(Error::UnknownCommand);
    }
    let key = tokens.key()?;
    let quiet = match (tokens.next(), tokens.next(), tokens.next()) {
        (None, ..) | (Some(b"0"), None, _) => false,
        (Some(b"noreply"), None, _) | (Some(b"0"), Some(b"noreply"), None) => true,
        _ => return Err(Error::BadDelete),
    };
    Ok(Command::Delete { key, quiet })
}

fn arithmetic(mut tokens: Tokens<'_>, up: bool) -> Result<Command<'_>, Error> {
    if !(2..=3).contains(&tokens.count_words()) {
        return Err(Error::UnknownCommand);
    }
    let key = tokens.key()?;
    let delta = tokens.number::<u64>(Error::BadDelta)?;
    Ok(Command::Arithmetic { key, up, delta, quiet: tokens.noreply()? })
}

fn touch(mut tokens: Tokens<'_>) -> Result<Command<'_>, Error> {
    if !(2..=3).contains(&tokens.count_words()) {
        return Err(Error::UnknownCommand);
    }
    let key = tokens.key()?;
    let expiry = Expiry::from_exptime(tokens.number::<i64>(Error::BadExptime)?);
    Ok(Command::Touch { key, expiry, quiet: tokens.noreply()? })
}

/// `verbosity LEVEL [noreply]`
fn verbosity(mut tokens: Tokens<'_>) -> Result<Command<'_>, Error> {
    if !(1..=2).contains(&tokens.count_words()) {
        return Err(Error::UnknownCommand);
    }
    tokens.number::<u32>(Error::BadLine)?;
    Ok(Command::Verbosity { quiet: tokens.noreply()? })
}

/// `cache_memlimit MIB [noreply]`
fn memory_limit(mut tokens: Tokens<'_>) -> Result<Command<'_>, Error> {
    if !(1..=2).contains(&tokens.count_words()) {
        return Err(Error::UnknownCommand);
    }
    let mib = tokens.number::<u32>(Error::UnknownCommand)?;
    Ok(Command::MemoryLimit { mib, quiet: tokens.noreply()? })
}

/// `flush_all [DELAY] [noreply]`
fn flush_all(mut tokens: Tokens<'_>) -> Result<Command<'_>, Error> {
    if tokens.count_words() > 2 {
        return Err(Error::UnknownCommand);
    }
    let (count, quiet) = (tokens.count_words(), { tokens }.last() == Some(b"noreply"));
    let delay_s = if count == quiet as usize { 0 } else { tokens.number::<i64>(Error::BadExptime)? };
    Ok(Command::FlushAll { delay_s, quiet })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(body: &[u8]) -> Vec<Result<String, Error>> {
        Commands::new(body, 1 << 20).map(|command| command.map(|c| format!("{c:?}"))).collect()
    }

    fn errors(body: &[u8]) -> Vec<Option<Error>> {
        all(body).into_iter().map(Result::err).collect()
    }

    #[test]
    fn several_commands_in_one_body() {
        let body = b"get a b\r\nset k 1 0 3\r\nx\r\n\r\ndelete k noreply\ntouch k 5\r\nversion\r\n";
        assert_eq!(errors(body), [None, None, None, None, None]);
        let Some(Ok(Command::Get(get))) = Commands::new(b"gets a bb\r\n", 9).next() else { panic!() };
        assert!(get.with_cas);
        assert_eq!(get.keys().map(Key::bytes).collect::<Vec<_>>(), [&b"a"[..], b"bb"]);
        let Some(Ok(Command::Store(store))) = Commands::new(b"cas k 7 -1 2 99 noreply\r\nab\r\n", 9).next()
        else {
            panic!()
        };
        assert_eq!((store.flags, store.expiry, store.cas), (7, Expiry::Past, Some(99)));
        assert_eq!((store.value, store.quiet), (&b"ab"[..], true));
    }

    #[test]
    fn bad_lines_get_memcacheds_answers() {
        use Error::*;
        let long = [b"get ".as_slice(), &[b'k'; 251], b"\r\n"].concat();
        let table: [(&[u8], &[Option<Error>]); 20] = [
            (b"nonsense\r\n", &[Some(UnknownCommand)]),
            (b"get\r\n", &[Some(UnknownCommand)]),
            (b"get  \r\n", &[Some(UnknownCommand)]),
            (&long, &[Some(BadLine)]),
            (b"get a\x01\r\n", &[None]),
            (b"get a", &[Some(BadLine)]),
            (b"\r\nversion\r\n", &[Some(BadLine), None]),
            (b"set k 0 0\r\nget a\r\n", &[Some(UnknownCommand)]),
            (b"set k 0 0 -1\r\nversion\r\n", &[Some(BadLine)]),
            (b"set k x 0 1\r\na\r\n", &[Some(BadLine)]),
            (b"set k 0 0 5\r\nabc\r\n", &[Some(BadDataChunk)]),
            (b"set k 0 0 3\r\nabcdef\r\nversion\r\n", &[Some(BadDataChunk)]),
            (b"set k 0 0 99999999999999999999\r\nabc\r\n", &[Some(BadLine)]),
            (b"set k 0 0 2000000\r\nabc\r\n", &[None]),
            (b"set k x 0 1 noreply\r\na\r\nversion\r\n", &[Some(Unsaid), None]),
            (b"set k 0 0 1 noreply junk\r\na\r\nversion\r\n", &[Some(UnknownCommand), None]),
            (b"cas k 0 0 1\r\na\r\nversion\r\n", &[Some(BadLine), None]),
            (b"incr k -1\r\nversion\r\n", &[Some(BadDelta), None]),
            (b"incr k 1 what\r\nincr k 1 2 3\r\n", &[None, Some(UnknownCommand)]),
            (b"touch k x\r\n", &[Some(BadExptime)]),
        ];
        for (body, want) in table {
            assert_eq!(errors(body), want, "{}", body.escape_ascii());
        }
    }

    #[test]
    fn commands_of_connections_are_read_with_exactly_their_words() {
        for (line, want) in [
            ("config get cluster", Ok("ClusterConfig")),
            ("config  get cluster ", Ok("ClusterConfig")),
            ("config get", Err(Error::UnknownCommand)),
            ("config get cluster 1", Err(Error::UnknownCommand)),
            ("config set cluster", Err(Error::UnknownCommand)),
            ("lru_crawler metadump all", Ok("MetaDump")),
            ("lru_crawler metadump hash", Ok("MetaDump")),
            ("lru_crawler metadump 5", Err(Error::UnknownCommand)),
            ("lru_crawler enable", Err(Error::UnknownCommand)),
            ("shutdown", Ok("Shutdown { graceful: false }")),
            ("shutdown graceful", Ok("Shutdown { graceful: true }")),
            ("shutdown now", Err(Error::BadShutdownMode)),
            ("shutdown graceful now", Err(Error::BadShutdownMode)),
        ] {
            let got = all(format!("{line}\r\n").as_bytes());
            assert_eq!(got, [want.map(str::to_owned)], "{line}");
        }
    }
}
