//! A file of zstd frames, unpacked as one stream.
//!
//! `zstd`, `pzstd` and `cat` make files of several frames, and tools put skippable frames between them. `zstd -d`
//! reads all of those, and so does this. A frame that is cut off, damaged or does not match its checksum is an error,
//! which says where in the packed file it was found.

use ruzstd::decoding::errors::{FrameDecoderError, ReadFrameHeaderError};
use ruzstd::decoding::{BlockDecodingStrategy, FrameDecoder};
use std::io::{self, BufRead, ErrorKind, Read};

/// The unpacked bytes of all frames of `R`.
pub struct Frames<R> {
    source: Counted<R>,
    decoder: FrameDecoder,
    is_within: bool,
    /// Frames begun, skippable ones among them.
    begun: u64,
    /// Byte of the file at which the last one began.
    start: u64,
}

impl<R: BufRead> Frames<R> {
    /// Reads nothing yet.
    pub fn new(source: R) -> Frames<R> {
        let source = Counted { inner: source, bytes: 0, inner_is_over: false };
        Frames { source, decoder: FrameDecoder::new(), is_within: false, begun: 0, start: 0 }
    }

    /// Begins the next frame that holds data; `false` = the file is over.
    fn begin(&mut self) -> io::Result<bool> {
        loop {
            if self.source.inner.fill_buf()?.is_empty() {
                return if self.begun == 0 { Err(wrong("empty, without a zstd frame")) } else { Ok(false) };
            }
            (self.begun, self.start) = (self.begun + 1, self.source.bytes);
            match self.decoder.reset(&mut self.source) {
                Ok(()) => return Ok(true),
                Err(FrameDecoderError::ReadFrameHeaderError(ReadFrameHeaderError::SkipFrame {
                    length,
                    ..
                })) => self.skip(length as u64)?,
                Err(FrameDecoderError::ReadFrameHeaderError(ReadFrameHeaderError::BadMagicNumber(_))) => {
                    return Err(self.not_a_frame());
                }
                Err(error) => return Err(self.spoilt(&error)),
            }
        }
    }

    fn skip(&mut self, bytes: u64) -> io::Result<()> {
        let skipped = io::copy(&mut (&mut self.source).take(bytes), &mut io::sink())?;
        match skipped == bytes {
            true => Ok(()),
            false => Err(self.cut()),
        }
    }

    /// Some bytes of the frame; 0 = it is over, and whole.
    fn unpack(&mut self, out: &mut [u8]) -> io::Result<usize> {
        while self.decoder.can_collect() == 0 && !self.decoder.is_finished() {
            let decoded = self.decoder.decode_blocks(&mut self.source, BlockDecodingStrategy::UptoBlocks(1));
            decoded.map_err(|error| self.spoilt(&error))?;
        }
        let bytes = self.decoder.read(out)?;
        let told = self.decoder.get_checksum_from_data();
        if bytes == 0 && told.is_some() && told != self.decoder.get_calculated_checksum() {
            return Err(self.damaged("its checksum does not match"));
        }
        Ok(bytes)
    }

    fn not_a_frame(&self) -> io::Error {
        match self.begun {
            1 => wrong("no zstd file: it does not begin with a zstd frame"),
            n => wrong(&format!("no zstd frame at byte {}, behind frame {}", self.start, n - 1)),
        }
    }

    fn spoilt(&self, error: &FrameDecoderError) -> io::Error {
        match self.source.inner_is_over {
            true => self.cut(),
            false => self.damaged(&error.to_string()),
        }
    }

    fn cut(&self) -> io::Error {
        let (number, start, end) = (self.begun, self.start, self.source.bytes);
        wrong(&format!("zstd frame {number}, from byte {start} on, is cut off: the file ends at byte {end}"))
    }

    fn damaged(&self, why: &str) -> io::Error {
        let (number, start, at) = (self.begun, self.start, self.source.bytes);
        wrong(&format!("zstd frame {number}, from byte {start} on, is damaged before byte {at}: {why}"))
    }
}

impl<R: BufRead> Read for Frames<R> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        while !out.is_empty() && (self.is_within || self.begin()?) {
            self.is_within = true;
            match self.unpack(out)? {
                0 => self.is_within = false,
                bytes => return Ok(bytes),
            }
        }
        Ok(0)
    }
}

fn wrong(why: &str) -> io::Error {
    io::Error::new(ErrorKind::InvalidData, why)
}

/// Counts what is read, and remembers whether more was wanted than there is.
struct Counted<R> {
    inner: R,
    bytes: u64,
    inner_is_over: bool,
}

impl<R: Read> Read for Counted<R> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let bytes = self.inner.read(out)?;
        self.bytes += bytes as u64;
        self.inner_is_over |= bytes == 0 && !out.is_empty();
        Ok(bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ruzstd::encoding::{CompressionLevel, compress_to_vec};

    fn packed(bytes: &[u8]) -> Vec<u8> {
        compress_to_vec(bytes, CompressionLevel::Fastest)
    }

    fn skippable(bytes: &[u8]) -> Vec<u8> {
        let head = [0x184d_2a53_u32.to_le_bytes(), (bytes.len() as u32).to_le_bytes()].concat();
        [&head, bytes].concat()
    }

    fn unpacked(file: &[u8]) -> Result<Vec<u8>, String> {
        let mut out = Vec::new();
        Frames::new(file).read_to_end(&mut out).map(|_| out).map_err(|error| error.to_string())
    }

    #[test]
    fn all_frames_are_one_stream_and_skippable_ones_are_none_of_it() {
        let long: Vec<u8> = (0..300_000u32).map(|i| (i.wrapping_mul(i) >> 7) as u8).collect();
        let parts: [&[u8]; 5] = [b"", b"a\nb\n", &long, b"", b"end"];
        let file: Vec<u8> = parts
            .iter()
            .flat_map(|part| [skippable(b"note"), packed(part), skippable(b"")].concat())
            .collect();
        assert_eq!(unpacked(&file).unwrap(), parts.concat());
        assert_eq!(unpacked(&skippable(b"only")).unwrap(), b"");
    }

    #[test]
    fn a_cut_file_says_where_it_ends() {
        let (first, second) = (packed(b"first"), packed(&[7; 5000]));
        let file = [first.as_slice(), &second].concat();
        for end in 1..file.len() {
            // Behind a whole frame it is a whole file.
            let unpacked = unpacked(&file[..end]);
            if end == first.len() {
                assert_eq!(unpacked.unwrap(), b"first");
                continue;
            }
            let error = unpacked.unwrap_err();
            assert!(error.contains(&format!("cut off: the file ends at byte {end}")), "{end}: {error}");
        }
        let note = skippable(b"a long note");
        assert!(unpacked(&note[..12]).unwrap_err().contains("zstd frame 1, from byte 0 on, is cut off"));
    }

    #[test]
    fn a_damaged_file_says_which_frame() {
        let (first, mut second) = (packed(b"first"), packed(b"twice the same text, twice the same text"));
        let last = second.len() - 1;
        second[last] ^= 1;
        let error = unpacked(&[first.as_slice(), &second].concat()).unwrap_err();
        let place = format!("zstd frame 2, from byte {} on, is damaged before byte", first.len());
        assert!(error.starts_with(&place) && error.ends_with("checksum does not match"), "{error}");
        let error = unpacked(&[first.as_slice(), b"no frame"].concat()).unwrap_err();
        assert_eq!(error, format!("no zstd frame at byte {}, behind frame 1", first.len()));
        assert!(unpacked(b"plain text").unwrap_err().starts_with("no zstd file"));
        assert_eq!(unpacked(b"").unwrap_err(), "empty, without a zstd frame");
    }
}
