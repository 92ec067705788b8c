//! What a client is told when its request cannot be done: memcached's own words where it has some.

/// The client's fault, or a bound of ours. One reply line each.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Error {
    /// No such command.
    UnknownCommand,
    /// `shutdown`, which is not served.
    NoShutdown,
    /// `shutdown` with a word that is not `graceful`.
    BadShutdownMode,
    /// A token is missing, too long, or not what the command takes.
    BadLine,
    /// `delete` with something behind the key that is not `0` or `noreply`.
    BadDelete,
    /// The value is cut off or does not end where the command says.
    BadDataChunk,
    /// An expiry time that is not a number.
    BadExptime,
    /// A delta that is not a number.
    BadDelta,
    /// Arithmetic on a value that is not a number.
    NonNumeric,
    /// The value is larger than `--value-max`.
    TooLargeForCache,
    /// The reply is larger than UDP can carry to this peer.
    TooLargeForUdp,
    /// A flag that no meta command knows.
    InvalidFlag,
    /// `md` and `ma` say this for every flag that is wrong.
    InvalidOrDuplicateFlag,
    /// More flags than there are.
    TooManyFlags,
    /// A first value of `ma` that is not a number.
    BadInitial,
    /// A delta of `ma` that is not a number.
    BadMetaDelta,
    /// Something was wrong with a command that wants no reply: it gets none, but is counted.
    Unsaid,
    /// A flag that needs a number after it.
    BadToken,
    /// The same flag twice.
    DuplicateFlag,
    /// An opaque longer than 32 bytes.
    OpaqueTooLong,
    /// An `ms` mode that does not exist.
    BadMode,
    /// An `ma` mode that does not exist.
    BadArithmeticMode,
    /// A base64 key that does not decode.
    BadBase64,
    /// A ring, pool or buffer is full; nothing was done.
    Busy,
    /// No memory although everything evictable went: the item is larger than memory.
    OutOfMemory,
    /// The command may not be sent from this address, or not over UDP.
    NotAllowed,
}

impl Error {
    /// The reply line, with its line end.
    pub fn line(self) -> &'static [u8] {
        match self {
            Error::UnknownCommand => b"ERROR\r\n",
            Error::NoShutdown => b"ERROR: shutdown not enabled\r\n",
            Error::BadLine => b"CLIENT_ERROR bad command line format\r\n",
            Error::BadShutdownMode => b"CLIENT_ERROR invalid shutdown mode\r\n",
            Error::BadDelete => b"CLIENT_ERROR bad command line format.  Usage: delete <key> [noreply]\r\n",
            Error::BadDataChunk => b"CLIENT_ERROR bad data chunk\r\n",
            Error::BadExptime => b"CLIENT_ERROR invalid exptime argument\r\n",
            Error::BadDelta => b"CLIENT_ERROR invalid numeric delta argument\r\n",
            Error::NonNumeric => b"CLIENT_ERROR cannot increment or decrement non-numeric value\r\n",
            Error::TooLargeForCache => b"SERVER_ERROR object too large for cache\r\n",
            Error::TooLargeForUdp => b"SERVER_ERROR object too large for udp\r\n",
            Error::InvalidFlag => b"CLIENT_ERROR invalid flag\r\n",
            Error::InvalidOrDuplicateFlag => b"CLIENT_ERROR invalid or duplicate flag\r\n",
            Error::TooManyFlags => b"CLIENT_ERROR options flags are too long\r\n",
            Error::BadInitial => b"CLIENT_ERROR invalid numeric initial value\r\n",
            Error::BadMetaDelta => b"CLIENT_ERROR invalid numeric delta value\r\n",
            Error::Unsaid => b"",
            Error::BadToken => b"CLIENT_ERROR bad token in command line format\r\n",
            Error::DuplicateFlag => b"CLIENT_ERROR duplicate flag\r\n",
            Error::OpaqueTooLong => b"CLIENT_ERROR opaque token too long\r\n",
            Error::BadMode => b"CLIENT_ERROR invalid mode for ms M token\r\n",
            Error::BadArithmeticMode => b"CLIENT_ERROR invalid mode for ma M token\r\n",
            Error::BadBase64 => b"CLIENT_ERROR error decoding key\r\n",
            Error::Busy => b"SERVER_ERROR busy\r\n",
            Error::OutOfMemory => b"SERVER_ERROR out of memory storing object\r\n",
            Error::NotAllowed => b"CLIENT_ERROR command not allowed\r\n",
        }
    }
}

impl std::fmt::Display for Error {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(std::str::from_utf8(self.line()).unwrap_or_default().trim_end())
    }
}

impl std::error::Error for Error {}
