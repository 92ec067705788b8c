//! What the name of a trace says of its format.

use std::path::Path;

/// How records are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// Ours.
    Ctr,
    /// libCacheSim's.
    OracleGeneral,
    /// A key a line.
    Keys,
}

/// The names that are known, for help texts and messages.
pub const KNOWN: &str = ".ctr, .oracleGeneral, .txt or .keys, each with or without .zst";

/// The format, and whether it is packed; `None` for a name of no known format. A name need not be UTF-8.
pub fn format_of(path: &Path) -> Option<(Format, bool)> {
    let name = path.file_name()?.as_encoded_bytes();
    let (stem, is_packed) = match name.strip_suffix(b".zst") {
        Some(stem) => (stem, true),
        None => (name, false),
    };
    let oracle = b".oracleGeneral";
    let format = match stem {
        _ if stem.ends_with(b".ctr") => Format::Ctr,
        // libCacheSim's own files go on with `.bin` or a note on how they were sampled.
        _ if stem.windows(oracle.len()).any(|part| part == oracle) => Format::OracleGeneral,
        _ if stem.ends_with(b".txt") || stem.ends_with(b".keys") => Format::Keys,
        _ => return None,
    };
    Some((format, is_packed))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::ffi::OsStr;
    use std::os::unix::ffi::OsStrExt;

    #[test]
    fn a_name_tells_the_format_whatever_bytes_it_begins_with() {
        let known: [(&[u8], Format, bool); 8] = [
            (b"a.ctr", Format::Ctr, false),
            (b"dir.txt/a.ctr.zst", Format::Ctr, true),
            (b"\xff.ctr", Format::Ctr, false),
            (b"w.oracleGeneral", Format::OracleGeneral, false),
            (b"\xff.oracleGeneral.bin", Format::OracleGeneral, false),
            (b"w.oracleGeneral.sample10.zst", Format::OracleGeneral, true),
            (b"\xe4\xf6.txt.zst", Format::Keys, true),
            (b"b.keys", Format::Keys, false),
        ];
        for (name, format, is_packed) in known {
            let path = Path::new(OsStr::from_bytes(name));
            assert_eq!(format_of(path), Some((format, is_packed)), "{}", path.display());
        }
        for name in ["a", "ctr", "a.csv", "a.ctr.gz", "a.zst", "..", "/", "a.CTR"] {
            assert_eq!(format_of(Path::new(name)), None, "{name}");
        }
    }
}
