//! Request traces: the records, and readers for the formats that we know.
//!
//! | format | told by | record |
//! | --- | --- | --- |
//! | `ctr` | `.ctr`, `.ctr.zst` | 24 bytes little-endian: key u64, t_ms u32, size u32, ttl_s u32, op u8, 3 × 0 |
//! | oracleGeneral (libCacheSim) | `.oracleGeneral`, `.oracleGeneral.bin`, with or without `.zst` | 24 bytes: time u32 (s), id u64, size u32, next i64 |
//! | keys | `.txt`, `.keys`, with or without `.zst` | one key a line |

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
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
    /// Milliseconds since the start of the trace; 0 everywhere if it has no times.
    pub t_ms: u32,
    /// Key and value, in bytes; at most 1 if unknown.
    pub size: u32,
    /// Seconds to live that a set at this point gives; 0 = for ever.
    pub ttl_s: u32,
    /// What is asked.
    pub op: Op,
}

#[derive(Clone, Copy)]
enum Format {
    Ctr,
    OracleGeneral,
    Keys,
}

/// A trace being read, record by record.
pub struct Reader {
    source: Box<dyn BufRead + Send>,
    format: Format,
}

impl Reader {
    /// Opens a trace; its format is told by its name.
    ///
    /// # Errors
    /// The file cannot be read, is not zstd though its name says so, or has a name of no known format.
    pub fn open(path: &Path) -> io::Result<Reader> {
        let file = BufReader::with_capacity(1 << 20, File::open(path)?);
        let name = path.file_name().and_then(|n| n.to_str()).unwrap_or_default();
        let (stem, compressed) = match name.strip_suffix(".zst") {
            Some(stem) => (stem, true),
            None => (name, false),
        };
        let format = match stem {
            s if s.ends_with(".ctr") => Format::Ctr,
            s if s.contains(".oracleGeneral") => Format::OracleGeneral,
            s if s.ends_with(".txt") || s.ends_with(".keys") => Format::Keys,
            _ => {
                return Err(io::Error::new(
                    io::ErrorKind::InvalidInput,
                    "unknown trace format: name the file .ctr, .oracleGeneral or .txt (each may end in .zst)",
                ));
            }
        };
        let source: Box<dyn BufRead + Send> = if compressed {
            let decoder = ruzstd::decoding::StreamingDecoder::new(file)
                .map_err(|e| io::Error::new(io::ErrorKind::InvalidData, e.to_string()))?;
            Box::new(BufReader::with_capacity(1 << 20, decoder))
        } else {
            Box::new(file)
        };
        Ok(Reader { source, format })
    }

    /// Reads the rest into memory.
    ///
    /// # Errors
    /// As the iterator's.
    pub fn read_all(self) -> io::Result<Vec<Record>> {
        self.collect()
    }

    fn next_fixed(&mut self) -> io::Result<Option<[u8; 24]>> {
        let mut raw = [0u8; 24];
        if self.source.fill_buf()?.is_empty() {
            return Ok(None);
        }
        self.source.read_exact(&mut raw)?;
        Ok(Some(raw))
    }

    fn next_line(&mut self) -> io::Result<Option<Record>> {
        let mut line = Vec::new();
        loop {
            line.clear();
            if self.source.read_until(b'\n', &mut line)? == 0 {
                return Ok(None);
            }
            let text = line.trim_ascii();
            if text.is_empty() {
                continue;
            }
            let number = std::str::from_utf8(text).ok().and_then(|t| t.parse::<u64>().ok());
            let key = number.unwrap_or_else(|| protocol::steer::steer(text));
            return Ok(Some(Record { key, t_ms: 0, size: 1, ttl_s: 0, op: Op::Get }));
        }
    }
}

impl Iterator for Reader {
    type Item = io::Result<Record>;

    /// # Errors
    /// A record that is cut off, an unknown op, or a zstd frame that is damaged.
    fn next(&mut self) -> Option<io::Result<Record>> {
        match self.format {
            Format::Keys => self.next_line(),
            Format::Ctr => self.next_fixed().and_then(|raw| raw.map(|raw| from_ctr(&raw)).transpose()),
            Format::OracleGeneral => self.next_fixed().map(|raw| raw.map(|raw| from_oracle(&raw))),
        }
        .transpose()
    }
}

fn from_ctr(raw: &[u8; 24]) -> io::Result<Record> {
    let op = match raw[20] {
        0 => Op::Get,
        1 => Op::Set,
        2 => Op::Delete,
        other => {
            let text = format!("op {other} in a trace record (known: 0 get, 1 set, 2 delete)");
            return Err(io::Error::new(io::ErrorKind::InvalidData, text));
        }
    };
    Ok(Record {
        key: u64_at(raw, 0),
        t_ms: u32_at(raw, 8),
        size: u32_at(raw, 12),
        ttl_s: u32_at(raw, 16),
        op,
    })
}

fn from_oracle(raw: &[u8; 24]) -> Record {
    let t_ms = u32_at(raw, 0).saturating_mul(1000);
    Record { key: u64_at(raw, 4), t_ms, size: u32_at(raw, 12), ttl_s: 0, op: Op::Get }
}

fn u32_at(raw: &[u8; 24], at: usize) -> u32 {
    u32::from_le_bytes(raw[at..at + 4].try_into().expect("4 bytes"))
}

fn u64_at(raw: &[u8; 24], at: usize) -> u64 {
    u64::from_le_bytes(raw[at..at + 8].try_into().expect("8 bytes"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reader(bytes: &'static [u8], format: Format) -> Reader {
        Reader { source: Box::new(bytes), format }
    }

    #[test]
    fn keys_are_numbers_or_hashed_lines() {
        let records = reader(b"7\n\nabc\r\n7", Format::Keys).read_all().unwrap();
        assert_eq!(records.len(), 3);
        assert_eq!((records[0].key, records[2].key), (7, 7));
        assert_eq!(records[1].key, protocol::steer::steer(b"abc"));
    }

    #[test]
    fn a_cut_off_record_is_an_error() {
        assert!(reader(&[0; 30], Format::Ctr).read_all().is_err());
        assert_eq!(reader(&[0; 48], Format::Ctr).read_all().unwrap().len(), 2);
    }

    #[test]
    fn an_unknown_op_is_an_error() {
        assert!(reader(&[9; 24], Format::Ctr).read_all().is_err());
    }
}
