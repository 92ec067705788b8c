//! The lines of an interval log: bounded reading, and what each line says.
//!
//! ```text
//! #[StartTime: 1441812279.474 (seconds since epoch), …]      comment; these two say what times count from
//! #[BaseTime: 0.000 (seconds since epoch)]
//! "StartTimestamp","Interval_Length","Interval_Max","Interval_Compressed_Histogram"
//! [Tag=write,]0.127,1.007,2.769,HISTFAAAA…                   seconds, seconds, largest value, histogram
//! ```

use crate::limits::LOG_LINE_BYTES_MAX;
use std::io::{self, BufRead, Read};

/// Times beyond this, in seconds, are no times.
const SECONDS_MAX: f64 = 1e12;

/// What a line says.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Line<'a> {
    /// Nothing that is shown.
    Nothing,
    /// When the process started that wrote what follows, in seconds since 1970.
    Start(f64),
    /// What the times of the lines that follow count from, in seconds since 1970.
    Base(f64),
    /// An interval.
    Interval {
        /// Its tag; empty if it has none.
        tag: &'a str,
        /// When it began, in seconds.
        at_s: f64,
        /// Its length in seconds.
        length_s: f64,
        /// The histogram, in base64.
        histogram: &'a str,
    },
}

/// Reads a line.
///
/// # Errors
/// Why it is none of an interval log.
pub fn parse(line: &[u8]) -> Result<Line<'_>, String> {
    // Some editors begin a file with a mark of its encoding.
    let line = line.strip_prefix(b"\xef\xbb\xbf").unwrap_or(line).trim_ascii();
    if let Some(comment) = line.strip_prefix(b"#") {
        return Ok(comment_of(comment));
    }
    if line.is_empty() || line.starts_with(b"\"StartTimestamp\"") {
        return Ok(Line::Nothing);
    }
    let text = std::str::from_utf8(line).map_err(|_| not_a_line())?;
    let (tag, rest) = match text.strip_prefix("Tag=") {
        Some(tagged) => tagged.split_once(',').ok_or_else(not_a_line)?,
        None => ("", text),
    };
    let fields: Vec<&str> = rest.splitn(5, ',').map(str::trim).collect();
    let [at, length, _max, histogram] = fields[..] else { return Err(not_a_line()) };
    let (at_s, length_s) = (seconds(at)?, seconds(length)?.max(0.0));
    Ok(Line::Interval { tag: tag.trim(), at_s, length_s, histogram })
}

fn comment_of(comment: &[u8]) -> Line<'_> {
    let time = |name: &str| {
        let rest = comment.trim_ascii_start().strip_prefix(name.as_bytes())?.trim_ascii_start();
        let end = rest.iter().position(|b| !b.is_ascii_digit() && *b != b'.').unwrap_or(rest.len());
        seconds(std::str::from_utf8(&rest[..end]).ok()?).ok()
    };
    let start = time("[StartTime:").map(Line::Start);
    start.or_else(|| time("[BaseTime:").map(Line::Base)).unwrap_or(Line::Nothing)
}

fn seconds(text: &str) -> Result<f64, String> {
    let seconds: f64 = text.parse().map_err(|_| not_a_line())?;
    if seconds.abs() <= SECONDS_MAX { Ok(seconds) } else { Err("a time is out of range".into()) }
}

fn not_a_line() -> String {
    "not a line of an HdrHistogram interval log (a .hgrm file is something else)".into()
}

/// How a line ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// With a line end.
    Whole,
    /// With the file: it may be cut, or is being written.
    Cut,
    /// It has more than [`LOG_LINE_BYTES_MAX`] bytes; the rest is not read yet.
    TooLong,
}

/// Reads the next line into `line`, without its end; `None` behind the last.
///
/// # Errors
/// The reader's.
pub fn next(log: &mut impl BufRead, line: &mut Vec<u8>) -> io::Result<Option<End>> {
    line.clear();
    let read = log.by_ref().take(LOG_LINE_BYTES_MAX as u64 + 1).read_until(b'\n', line)?;
    Ok(match line.pop_if(|last| *last == b'\n') {
        _ if read == 0 => None,
        Some(_) => Some(End::Whole),
        None if read > LOG_LINE_BYTES_MAX => Some(End::TooLong),
        None => Some(End::Cut),
    })
}

/// Reads on to the end of a line that is too long.
///
/// # Errors
/// The reader's.
pub fn skip_rest(log: &mut impl BufRead) -> io::Result<()> {
    log.skip_until(b'\n').map(|_| ())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_say_what_they_say() {
        let start = b"#[StartTime: 1441812279.474 (seconds since epoch), Wed Sep 09 08:24:39 PDT 2015]\r";
        assert_eq!(parse(start), Ok(Line::Start(1_441_812_279.474)));
        assert_eq!(parse(b"#[BaseTime: 5.000 (seconds since epoch)]"), Ok(Line::Base(5.0)));
        for nothing in
            [&b"#[StartTime: never]"[..], b"#", b"", b" \r", b"\"StartTimestamp\",\"Interval_Length\""]
        {
            assert_eq!(parse(nothing), Ok(Line::Nothing), "{}", nothing.escape_ascii());
        }
        let want = |tag| Line::Interval { tag, at_s: 0.5, length_s: 1.0, histogram: "HIST" };
        assert_eq!(parse(b"0.5,1,9.9,HIST"), Ok(want("")));
        assert_eq!(parse(b"Tag=a b, 0.5, 1.000, 9, HIST\r"), Ok(want("a b")));
        for bad in
            ["0.5,1,9", "0.5,1,9,HIST,more", "x,1,9,H", "nan,1,9,H", "1e300,1,9,H", "Tag=a", "\u{1F600}"]
        {
            assert!(parse(bad.as_bytes()).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_line_has_a_bound() {
        let mut log = io::BufReader::new(b"a\n".chain(io::repeat(b'x')).take(LOG_LINE_BYTES_MAX as u64 * 2));
        let mut line = Vec::new();
        assert_eq!((next(&mut log, &mut line).unwrap(), &line[..]), (Some(End::Whole), &b"a"[..]));
        assert_eq!(next(&mut log, &mut line).unwrap(), Some(End::TooLong));
        skip_rest(&mut log).unwrap();
        assert_eq!(next(&mut log, &mut line).unwrap(), None);
        assert_eq!(next(&mut &b"cut"[..], &mut line).unwrap(), Some(End::Cut));
    }
}
