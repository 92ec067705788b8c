//! A log that has whole lines only, whenever its writer is killed and however full its disk is.

use crate::limits::LOG_LINE_BYTES_MAX;
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::sync::Arc;

/// A file that gets whole lines or nothing: what is written between two flushes is there as a whole, or not at all. What was
/// written before the first flush, the head of the log, is kept until it is there.
pub struct WholeLines {
    file: Arc<File>,
    pending: Vec<u8>,
    head_bytes: Option<usize>,
}

impl WholeLines {
    /// Writes where the file stands. A new log is written to an empty file.
    pub fn new(file: File) -> WholeLines {
        WholeLines { file: Arc::new(file), pending: Vec::new(), head_bytes: None }
    }

    /// Goes on with a file that was opened to append. A last line that was cut is taken away from a log, because other readers stop
    /// at it; of any other file it is ended.
    pub fn behind(file: Arc<File>) -> WholeLines {
        let cut_bytes = cut_line_bytes(&file).unwrap_or_default();
        let bytes = file.metadata().map_or(0, |meta| meta.len());
        let is_whole =
            cut_bytes == 0 || is_log(&file) && file.set_len(bytes.saturating_sub(cut_bytes)).is_ok();
        let pending = if is_whole { Vec::new() } else { vec![b'\n'] };
        WholeLines { file, pending, head_bytes: None }
    }
}

/// Whether the file begins as a log of histograms does.
fn is_log(mut file: &File) -> bool {
    let mut head = [0; LOG_HEAD.len()];
    file.seek(SeekFrom::Start(0)).is_ok() && file.read_exact(&mut head).is_ok() && head == *LOG_HEAD
}

const LOG_HEAD: &[u8; 24] = b"#[Histogram log format v";

/// Bytes behind the last line end of a file; a device has none, and a file that may not be read is taken for whole.
fn cut_line_bytes(mut file: &File) -> io::Result<u64> {
    if !file.metadata()?.is_file() {
        return Ok(0);
    }
    let bytes = file.seek(SeekFrom::End(0))?;
    let mut tail = Vec::new();
    file.seek(SeekFrom::Start(bytes.saturating_sub(LOG_LINE_BYTES_MAX as u64)))?;
    file.take(LOG_LINE_BYTES_MAX as u64).read_to_end(&mut tail)?;
    Ok(tail.iter().rev().take_while(|&&byte| byte != b'\n').count() as u64)
}

impl Write for WholeLines {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.pending.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        let head_bytes = *self.head_bytes.get_or_insert(self.pending.len());
        let good_bytes = self.file.metadata()?.len();
        match (&*self.file).write_all(&self.pending) {
            Ok(()) => {
                self.pending.clear();
                self.head_bytes = Some(0);
                Ok(())
            }
            Err(error) => {
                // A part may be there. If it cannot be taken back either, the next line is no better off.
                let _ = self.file.set_len(good_bytes);
                let _ = (&*self.file).seek(SeekFrom::Start(good_bytes));
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
    fn a_line_that_was_cut_is_taken_away() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let head = "#[Histogram log format version 1.3]\n";
        for (before, after) in [
            ("", "line\n".to_owned()),
            ("whole\n", "whole\nline\n".to_owned()),
            (&format!("{head}whole\ncu"), format!("{head}whole\nline\n")),
            (&format!("{head}cu"), format!("{head}line\n")),
            // It is not ours, whatever it is.
            ("a text\nwithout an end", "a text\nwithout an end\nline\n".to_owned()),
        ] {
            std::fs::write(file.path(), before).unwrap();
            let opened = File::options().read(true).append(true).open(file.path()).unwrap();
            let mut lines = WholeLines::behind(Arc::new(opened));
            lines.write_all(b"line\n").unwrap();
            lines.flush().unwrap();
            assert_eq!(std::fs::read_to_string(file.path()).unwrap(), after);
        }
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
