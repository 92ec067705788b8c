//! How much of a frame is missing, where more bytes may follow.

use super::operation::{LONG_BYTES, SHORT_BYTES};
use super::{Code, Frame, PADDED, PREAMBLE_BYTES, SEAL_BYTES, SEALED};
use crate::limits::{BATCH_OPERATIONS_MAX, FRAME_HEADER_BYTES, KEY_BYTES_MAX};
use std::num::NonZeroUsize;

impl Frame {
    /// How many bytes at least are missing at the end of the frame with this body, the bytes behind its first eight; `None` if it is
    /// whole, or wrong whatever follows.
    pub fn missing(body: &[u8]) -> Option<NonZeroUsize> {
        let head = PREAMBLE_BYTES - FRAME_HEADER_BYTES;
        let short = |at: usize| Some(u16::from_be_bytes([*body.get(at)?, *body.get(at + 1)?]));
        let (count, flags) = (short(4), short(6).unwrap_or(0));
        if flags & !(PADDED | SEALED) != 0
            || count.is_some_and(|count| count == 0 || count as usize > BATCH_OPERATIONS_MAX)
        {
            return None;
        }
        let mut end = head + if flags & SEALED != 0 { SEAL_BYTES } else { 0 };
        for index in 0..count.unwrap_or(1) {
            end += operation_bytes(body.get(end..).unwrap_or_default())?;
            if end > body.len() {
                // Each of the others has a head and a key.
                end += (count.unwrap_or(1) - index - 1) as usize * (SHORT_BYTES + 1);
                break;
            }
        }
        NonZeroUsize::new(end.saturating_sub(body.len()))
    }
}

/// Bytes that the operation at the head of `rest` has at least; `None` if it is wrong.
fn operation_bytes(rest: &[u8]) -> Option<usize> {
    let code = match rest.first() {
        Some(&code) => Code::of(code)?,
        None => return Some(SHORT_BYTES + 1),
    };
    let key_bytes = rest.get(1).map_or(1, |&bytes| bytes as usize);
    if !(1..=KEY_BYTES_MAX).contains(&key_bytes)
        || rest.iter().take(SHORT_BYTES).skip(2).any(|&zero| zero != 0)
    {
        return None;
    }
    if code.is_short() {
        return Some(SHORT_BYTES + key_bytes);
    }
    let value_bytes =
        rest.get(8..12).map_or(0, |word| u32::from_be_bytes([word[0], word[1], word[2], word[3]]));
    Some(LONG_BYTES + key_bytes + value_bytes as usize)
}

#[cfg(test)]
mod tests {
    use super::super::{FrameWriter, Operation};
    use super::*;
    use proptest::prelude::*;

    proptest! {
        /// However a frame is cut, what is missing at least is never more than what is missing, and it is something.
        #[test]
        fn a_cut_frame_says_what_it_lacks(
            all in prop::collection::vec((0..Code::ALL.len(), "[a-z]{1,20}", "[a-z]{0,30}"), 1..8), is_sealed: bool,
        ) {
            let mut out = Vec::new();
            let mut writer = FrameWriter::begin(1, &mut out);
            if is_sealed {
                writer = writer.sealed(1, 2, 3, &mut out);
            }
            for (code, key, value) in &all {
                let short = Operation::short(Code::ALL[*code], key.as_bytes());
                let value = if short.code.is_short() { b"" } else { value.as_bytes() };
                writer.put(&Operation { value, ..short }, &mut out);
            }
            writer.finish(&mut out);
            let body = &out[FRAME_HEADER_BYTES..];
            prop_assert_eq!(Frame::missing(body), None);
            for cut in 0..body.len() {
                let missing = Frame::missing(&body[..cut]).map_or(0, NonZeroUsize::get);
                prop_assert!((1..=body.len() - cut).contains(&missing), "{} at {cut}", missing);
            }
        }

        /// What is missing nothing, and is not wrong, can be read; what is missing something cannot.
        #[test]
        fn nothing_is_missing_of_what_can_be_read(body in prop::collection::vec(0u8..3, 0..80)) {
            let is_sound = Frame::open(&body).is_some_and(|frame| frame.operations(&body).are_sound());
            prop_assert!(!is_sound || Frame::missing(&body).is_none());
        }
    }

    #[test]
    fn what_is_wrong_lacks_nothing() {
        let mut out = Vec::new();
        let mut writer = FrameWriter::begin(7, &mut out);
        writer.get(b"a", &mut out);
        writer.finish(&mut out);
        let body = &out[FRAME_HEADER_BYTES..out.len() - 1];
        assert_eq!(Frame::missing(body).map(NonZeroUsize::get), Some(1));
        for (at, byte) in [(4, 0x80), (5, 0), (7, 4), (16, 0), (17, 0), (17, 251), (18, 1), (19, 1)] {
            let mut wrong = body.to_vec();
            wrong[at] = byte;
            assert_eq!(Frame::missing(&wrong), None, "byte {at} is {byte}");
        }
    }
}
