//! Request traces: the records, and readers for the formats that we know.
//!
//! | format | told by | record |
//! | --- | --- | --- |
//! | `ctr` | `.ctr`, `.ctr.zst` | 24 bytes little-endian: key u64, t_ms u32, size u32, ttl_s u32, op u8, 3 × 0 |
//! | oracleGeneral (libCacheSim) | `.oracleGeneral`, `.oracleGeneral.bin`, with or without `.zst` | 24 bytes: time u32 (s), id u64, size u32, next i64 |
//! | keys | `.txt`, `.keys`, with or without `.zst` | one key a line |
//!
//! Whatever clock a trace has, the time of its first record is zero here: see [`clock`].

pub mod clock;
pub mod frames;
pub mod name;

use crate::limits::{TRACE_LINE_BYTES_MAX, TRACE_RECORDS_MAX};
use clock::Clock;
use frames::Frames;
use name::Format;
use std::fs::File;
use std::io::{self, BufRead, BufReader, ErrorKind, Read};
use std::path::Path;

/// What a request of a trace does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Op {
    /// Read; on a miss the client sets with the record's size and TTL.
    Get,
    /// Write.
    Set,
    /// Remove.
    Delete,
}

/// One request of a trace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Record {
    /// Original block number, hash or id; hash it before use.
    pub key: u64,
    /// Milliseconds since the first record of the trace, never less than the record before has; 0 everywhere if it has no
    /// times.
    pub t_ms: u64,
    /// Key and value, in bytes; at most 1 if unknown.
    pub size: u32,
    /// Seconds to live that a set at this point gives; 0 = for ever.
    pub ttl_s: u32,
    /// What is asked.
    pub op: Op,
}

/// Bytes of a record of fixed length.
const RECORD_BYTES: usize = 24;

/// A trace being read, record by record.
pub struct Reader {
    source: Box<dyn BufRead + Send>,
    format: Format,
    clock: Clock,
    /// Records and lines read so far.
    records: u64,
    lines: u64,
}

impl Reader {
    /// Opens a trace; its format is told by its name.
    ///
    /// # Errors
    /// The file cannot be read, or has a name of no known format.
    pub fn open(path: &Path) -> io::Result<Reader> {
        let Some((format, is_packed)) = name::format_of(path) else {
            let why = format!("the name tells no trace format; known are {}", name::KNOWN);
            return Err(io::Error::new(ErrorKind::InvalidInput, why));
        };
        let file = BufReader::with_capacity(1 << 20, File::open(path)?);
        Ok(match is_packed {
            true => Reader::new(BufReader::with_capacity(1 << 20, Frames::new(file)), format),
            false => Reader::new(file, format),
        })
    }

    fn new(source: impl BufRead + Send + 'static, format: Format) -> Reader {
        Reader { source: Box::new(source), format, clock: Clock::default(), records: 0, lines: 0 }
    }

    /// Reads the rest into memory; at most [`TRACE_RECORDS_MAX`] records.
    ///
    /// # Errors
    /// As the iterator's.
    pub fn read_all(self) -> io::Result<Vec<Record>> {
        self.collect()
    }

    fn next_record(&mut self) -> io::Result<Option<Record>> {
        let record = match self.format {
            Format::Keys => self.next_line()?,
            Format::Ctr => self.next_fixed()?.map(|raw| self.read_ctr(&raw)).transpose()?,
            Format::OracleGeneral => self.next_fixed()?.map(|raw| self.read_oracle(&raw)),
        };
        self.records += record.is_some() as u64;
        if self.records > TRACE_RECORDS_MAX as u64 {
            return Err(wrong(format!("more than {TRACE_RECORDS_MAX} records; cut it")));
        }
        Ok(record)
    }

    fn next_fixed(&mut self) -> io::Result<Option<[u8; RECORD_BYTES]>> {
        let mut raw = [0u8; RECORD_BYTES];
        let mut have = 0;
        while have < RECORD_BYTES {
            match self.source.read(&mut raw[have..]) {
                Ok(0) => break,
                Ok(bytes) => have += bytes,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        match have {
            0 => Ok(None),
            RECORD_BYTES => Ok(Some(raw)),
            _ => Err(self.in_record(&format!(
                "has {have} of {RECORD_BYTES} bytes: the trace is cut off, or is of another format"
            ))),
        }
    }

    fn next_line(&mut self) -> io::Result<Option<Record>> {
        let mut line = Vec::new();
        loop {
            line.clear();
            let most = TRACE_LINE_BYTES_MAX as u64 + 1;
            if (&mut self.source).take(most).read_until(b'\n', &mut line)? == 0 {
                return Ok(None);
            }
            self.lines += 1;
            let ended = line.strip_suffix(b"\n");
            let text = ended.map_or(&*line, |text| text.strip_suffix(b"\r").unwrap_or(text));
            if ended.is_none() && line.len() > TRACE_LINE_BYTES_MAX {
                let number = self.lines;
                return Err(wrong(format!("line {number} is longer than {TRACE_LINE_BYTES_MAX} bytes")));
            }
            if self.lines > TRACE_RECORDS_MAX as u64 {
                return Err(wrong(format!("more than {TRACE_RECORDS_MAX} lines; cut it")));
            }
            if !text.is_empty() {
                return Ok(Some(Record { key: key_of(text), t_ms: 0, size: 1, ttl_s: 0, op: Op::Get }));
            }
        }
    }

    fn read_ctr(&mut self, raw: &[u8; RECORD_BYTES]) -> io::Result<Record> {
        let op = match raw[20] {
            0 => Op::Get,
            1 => Op::Set,
            2 => Op::Delete,
            other => return Err(self.in_record(&format!("has op {other} (known: 0 get, 1 set, 2 delete)"))),
        };
        let t_ms = self.clock.since_first_ms(u32_at(raw, 8) as u64);
        Ok(Record { key: u64_at(raw, 0), t_ms, size: u32_at(raw, 12), ttl_s: u32_at(raw, 16), op })
    }

    fn read_oracle(&mut self, raw: &[u8; RECORD_BYTES]) -> Record {
        let t_ms = self.clock.since_first_ms(u32_at(raw, 0) as u64 * 1000);
        Record { key: u64_at(raw, 4), t_ms, size: u32_at(raw, 12), ttl_s: 0, op: Op::Get }
    }

    /// What is wrong with the record that is being read: its number, from 1 on, and where it begins when it is unpacked.
    fn in_record(&self, what: &str) -> io::Error {
        let (number, start) = (self.records + 1, self.records * RECORD_BYTES as u64);
        wrong(format!("record {number}, at byte {start} of the records, {what}"))
    }
}

impl Iterator for Reader {
    type Item = io::Result<Record>;

    /// # Errors
    /// A record that is cut off, an unknown op, a line or a trace that is too long, a zstd frame that is cut off or damaged.
    fn next(&mut self) -> Option<io::Result<Record>> {
        self.next_record().transpose()
    }
}

/// A number as everybody writes it is that number. Everything else is hashed, so `007`, `+7` and ` 7` are other keys.
fn key_of(line: &[u8]) -> u64 {
    let is_plain = line == b"0" || (line[0] != b'0' && line.iter().all(u8::is_ascii_digit));
    let digits = std::str::from_utf8(line).ok().filter(|_| is_plain);
    digits.and_then(|digits| digits.parse().ok()).unwrap_or_else(|| protocol::steer::steer(line))
}

fn wrong(why: String) -> io::Error {
    io::Error::new(ErrorKind::InvalidData, why)
}

fn u32_at(raw: &[u8; RECORD_BYTES], at: usize) -> u32 {
    u32::from_le_bytes(raw[at..at + 4].try_into().expect("4 bytes"))
}

fn u64_at(raw: &[u8; RECORD_BYTES], at: usize) -> u64 {
    u64::from_le_bytes(raw[at..at + 8].try_into().expect("8 bytes"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(bytes: &'static [u8], format: Format) -> Result<Vec<Record>, String> {
        Reader::new(bytes, format).read_all().map_err(|error| error.to_string())
    }

    fn keys(text: &'static [u8]) -> Vec<u64> {
        read(text, Format::Keys).unwrap().iter().map(|record| record.key).collect()
    }

    #[test]
    fn keys_are_numbers_or_hashed_lines() {
        let hashed = protocol::steer::steer;
        assert_eq!(keys(b"7\n\nabc\r\n7"), [7, hashed(b"abc"), 7]);
        assert_eq!(keys(b"0\n18446744073709551615\n18446744073709551616")[..2], [0, u64::MAX]);
    }

    #[test]
    fn lines_that_are_not_the_same_bytes_are_not_the_same_key() {
        let lines = b"7\n007\n+7\n-7\n 7\n7 \n\t7\n7\r7\n7.0\n00\n0\n \n  \n\r\r\n99999999999999999999\n099999999999999999999\n\xff\n\xfe\n";
        let mut found = keys(lines);
        assert_eq!(found.len(), 18);
        found.sort_unstable();
        found.dedup();
        assert_eq!(found.len(), 18);
        assert_eq!(
            keys(b"a\r\na\na"),
            [protocol::steer::steer(b"a"); 3],
            "the line end is no part of the key"
        );
    }

    #[test]
    fn a_cut_off_record_is_an_error_that_says_which() {
        for format in [Format::Ctr, Format::OracleGeneral] {
            assert_eq!(
                read(&[0; 58], format).unwrap_err(),
                "record 3, at byte 48 of the records, has 10 of 24 bytes: the trace is cut off, or is of another format"
            );
            assert_eq!(read(&[0; 48], format).unwrap().len(), 2);
        }
    }

    #[test]
    fn an_unknown_op_is_an_error_that_says_where() {
        let error = read(&[9; 24], Format::Ctr).unwrap_err();
        assert!(error.starts_with("record 1, at byte 0 of the records, has op 9"), "{error}");
    }

    #[test]
    fn a_line_without_end_is_an_error() {
        let line = |bytes| -> &'static [u8] { vec![b'x'; bytes].leak() };
        assert_eq!(read(line(TRACE_LINE_BYTES_MAX), Format::Keys).unwrap().len(), 1);
        let error = read(line(TRACE_LINE_BYTES_MAX + 1), Format::Keys).unwrap_err();
        assert_eq!(error, "line 1 is longer than 65536 bytes");
    }

    #[test]
    fn the_first_record_is_time_zero_in_every_format() {
        let oracle: Vec<u8> = [4_000_000_000u32, 4_000_000_001, 3_999_999_999, 4_005_000_000]
            .iter()
            .flat_map(|time| [&time.to_le_bytes()[..], &[0; 20]].concat())
            .collect();
        let times = |records: Vec<Record>| records.iter().map(|record| record.t_ms).collect::<Vec<_>>();
        assert_eq!(
            times(read(oracle.leak(), Format::OracleGeneral).unwrap()),
            [0, 1000, 1000, 5_000_000_000]
        );
        let ctr: Vec<u8> = [4_000_000_000u32, 4_000_000_001, 5, 4_000_000_500]
            .iter()
            .flat_map(|t_ms| [&[0; 8][..], &t_ms.to_le_bytes(), &[0; 12]].concat())
            .collect();
        assert_eq!(times(read(ctr.leak(), Format::Ctr).unwrap()), [0, 1, 1, 500]);
    }
}
