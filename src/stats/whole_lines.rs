//! A log that has whole lines only, whenever its writer is killed and however full its disk is.

use std::fs::File;
use std::io::{self, Seek, SeekFrom, Write};

/// A file that gets whole lines or nothing: what is written between two flushes is there as a whole, or not at all. What was
/// written before the first flush, the head of the log, is kept until it is there.
pub struct WholeLines {
    file: File,
    /// Bytes that are there as they should be.
    good_bytes: u64,
    pending: Vec<u8>,
    head_bytes: Option<usize>,
}

impl WholeLines {
    /// Empties the file; a device or a pipe has nothing to empty.
    pub fn new(file: File) -> WholeLines {
        let _ = file.set_len(0);
        WholeLines { file, good_bytes: 0, pending: Vec::new(), head_bytes: None }
    }
}

impl Write for WholeLines {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.pending.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        let head_bytes = *self.head_bytes.get_or_insert(self.pending.len());
        match self.file.write_all(&self.pending) {
            Ok(()) => {
                self.good_bytes += self.pending.len() as u64;
                self.pending.clear();
                self.head_bytes = Some(0);
                Ok(())
            }
            Err(error) => {
                // A part may be there. If it cannot be taken back either, the next line is no better off.
                let _ = self.file.set_len(self.good_bytes);
                let _ = self.file.seek(SeekFrom::Start(self.good_bytes));
                self.pending.truncate(head_bytes);
                Err(error)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_flushed_is_there_and_what_is_not_is_not() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), "of an earlier run").unwrap();
        let mut lines = WholeLines::new(File::options().write(true).open(file.path()).unwrap());
        let there = || std::fs::read_to_string(file.path()).unwrap();
        lines.write_all(b"head\n").unwrap();
        assert_eq!(there(), "");
        lines.flush().unwrap();
        lines.write_all(b"a li").unwrap();
        lines.write_all(b"ne\n").unwrap();
        assert_eq!(there(), "head\n");
        lines.flush().unwrap();
        assert_eq!(there(), "head\na line\n");
    }

    #[test]
    fn a_full_disk_keeps_the_head_and_loses_the_lines() {
        let full = File::options().write(true).open("/dev/full").unwrap();
        let mut lines = WholeLines::new(full);
        lines.write_all(b"head\n").unwrap();
        assert!(lines.flush().is_err());
        lines.write_all(b"line\n").unwrap();
        assert!(lines.flush().is_err());
        assert_eq!(lines.pending, b"head\n");
    }
}
