//! memcached's retired binary protocol, which is not spoken: what a request in it is told, so that its client does not wait for ever.
//!
//! ```text
//! 0      1       2          4        5          6        8             12       16           24
//! │ 0x81 │ opcode│ key bytes│ extras │ data type│ status │ body bytes  │ opaque │ cas        │      a response, all of it
//! ```

/// Bytes of a header, and of the whole answer.
pub const HEADER_BYTES: usize = 24;

/// The first byte of a request.
pub const REQUEST: u8 = 0x80;
const RESPONSE: u8 = 0x81;
/// The status "Unknown command".
const UNKNOWN_COMMAND: u16 = 0x0081;

/// The answer to a request in the binary protocol: "Unknown command", for its opcode and opaque. `None` for what is no request.
pub fn refusal(body: &[u8]) -> Option<[u8; HEADER_BYTES]> {
    let request = body.first_chunk::<HEADER_BYTES>()?;
    if request[0] != REQUEST {
        return None;
    }
    let mut answer = [0; HEADER_BYTES];
    (answer[0], answer[1]) = (RESPONSE, request[1]);
    answer[6..8].copy_from_slice(&UNKNOWN_COMMAND.to_be_bytes());
    answer[12..16].copy_from_slice(&request[12..16]);
    Some(answer)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_is_answered_with_its_opcode_and_opaque() {
        let mut version = [0u8; HEADER_BYTES];
        (version[0], version[1]) = (0x80, 0x0b);
        version[12..16].copy_from_slice(b"opaq");
        version[16..24].copy_from_slice(b"somecas!");
        let want = *b"\x81\x0b\0\0\0\0\0\x81\0\0\0\0opaq\0\0\0\0\0\0\0\0";
        assert_eq!(refusal(&version), Some(want));
        assert_eq!(refusal(&[&version[..], b"a key and a value"].concat()), Some(want));
    }

    #[test]
    fn responses_and_what_is_too_short_are_no_requests() {
        assert_eq!(refusal(&[0x80; 23]), None);
        let mut response = [0; 30];
        response[0] = 0x81;
        assert_eq!(refusal(&response), None);
        assert_eq!(refusal(&refusal(&[0x80; 24]).unwrap()), None, "no answer is answered");
        assert_eq!(refusal(b""), None);
    }
}
