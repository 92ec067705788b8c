//! A histogram as logs carry it: base64 of HdrHistogram's own encodings, of version 0, 1 or 2, plain or compressed.
//!
//! ```text
//! base64 ─▶ cookie ─┬─ compressed: length, zlib ─▶ cookie ─┐
//!                   └──────────────────────────────────────┴▶ header ─▶ counts by index ─▶ Histogram
//! ```
//! The crate's own reader knows version 2 alone, refuses header fields that every other reader ignores (the npm package
//! writes odd ones), and trusts lengths. Here every length is checked before anything is allocated for it.
//!
//! | field of the header | version 0 | 1 and 2 | what is made of it |
//! |---|---|---|---|
//! | payload length | – | 4 bytes | must be there |
//! | normalizing offset | – | 4 | ignored: it says how the writer laid its array out in memory |
//! | significant digits | 4 | 4 | 0 to 5 |
//! | lowest, highest value | 8, 8 | 8, 8 | the lowest is the unit; the highest is ignored, because counts say it better |
//! | total count | 8 | – | ignored |
//! | integer to double ratio | – | 8 | ignored: histograms of integers have no use for it |

use crate::limits::LOG_HISTOGRAM_BYTES_MAX;
use base64::Engine;
use base64::alphabet::STANDARD;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use hdrhistogram::Histogram;
use std::io::Read;

/// Some writers leave the padding out.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// The bits of a cookie that say how long a count is; the others say the version.
const WORD_BITS: u32 = 0xf0;
const COOKIES: [u32; 3] = [0x1c84_9308, 0x1c84_9301, 0x1c84_9303];
const COMPRESSED_COOKIES: [u32; 3] = [0x1c84_9309, 0x1c84_9302, 0x1c84_9304];
/// Histograms of floating-point numbers, plain and compressed.
const DOUBLE_COOKIES: [u32; 2] = [0x0c72_124e, 0x0c72_124f];

/// Decodes a histogram that grows when values are added to it.
///
/// # Errors
/// What is wrong with it.
pub fn histogram(base64: &[u8]) -> Result<Histogram<u64>, String> {
    let bytes = BASE64.decode(base64).map_err(|e| format!("the histogram is not base64, or cut: {e}"))?;
    let mut fields = Fields(&bytes);
    let cookie = fields.u32()?;
    if DOUBLE_COOKIES.contains(&cookie) {
        return Err("a histogram of floating-point numbers: write integers, as in nanoseconds".into());
    }
    if version(cookie, COMPRESSED_COOKIES).is_some() {
        let length = fields.u32()? as usize;
        return plain(&inflated(fields.take(length)?)?);
    }
    plain(&bytes)
}

/// The same with the digits and the unit of another, and without events.
pub fn empty_like(other: &Histogram<u64>) -> Histogram<u64> {
    empty(other.low(), other.sigfig())
}

/// Adds what `from` holds. A value that `from` knows less exactly than `into` counts as the largest that it may have been, so no
/// figure is below what was recorded.
pub fn add(into: &mut Histogram<u64>, from: &Histogram<u64>) -> Result<(), String> {
    if from.low() < into.low() || from.sigfig() > into.sigfig() {
        let finer = empty(from.low().min(into.low()), from.sigfig().max(into.sigfig()));
        let coarser = std::mem::replace(into, finer);
        add(into, &coarser)?;
    }
    for step in from.iter_recorded() {
        let value = from.highest_equivalent(step.value_iterated_to());
        into.record_n(value, step.count_at_value()).map_err(|e| format!("the histogram is damaged: {e}"))?;
    }
    Ok(())
}

fn empty(low: u64, digits: u8) -> Histogram<u64> {
    let mut histogram = Histogram::new_with_bounds(low, low * 2, digits).expect("they are a histogram's own");
    histogram.auto(true);
    histogram
}

fn version(cookie: u32, cookies: [u32; 3]) -> Option<usize> {
    cookies.iter().position(|&base| base == cookie & !WORD_BITS)
}

fn inflated(bytes: &[u8]) -> Result<Vec<u8>, String> {
    let mut plain = Vec::new();
    let mut unpacked = flate2::read::ZlibDecoder::new(bytes).take(LOG_HISTOGRAM_BYTES_MAX as u64 + 1);
    unpacked.read_to_end(&mut plain).map_err(|e| format!("the histogram is damaged: {e}"))?;
    match plain.len() {
        0..=LOG_HISTOGRAM_BYTES_MAX => Ok(plain),
        _ => Err(format!("the histogram unpacks to more than {LOG_HISTOGRAM_BYTES_MAX} bytes")),
    }
}

/// Decodes what is not compressed.
fn plain(bytes: &[u8]) -> Result<Histogram<u64>, String> {
    let mut fields = Fields(bytes);
    let cookie = fields.u32()?;
    let version = version(cookie, COOKIES).ok_or("the histogram is damaged: no cookie of HdrHistogram")?;
    let length = if version == 0 { None } else { Some(fields.u32()? as usize) };
    if version > 0 {
        let _normalizing_offset = fields.u32()?;
    }
    let (digits, low, _high) = (fields.u32()?, fields.u64()?, fields.u64()?);
    let _total_or_ratio = fields.u64()?;
    let payload = fields.take(length.unwrap_or(fields.0.len()))?;
    let counts = Counts { payload, word_bytes: if version == 2 { 0 } else { (cookie >> 4 & 0xe) as usize } };
    of_counts(counts, low, digits)
}

/// A histogram of these counts, no larger than its largest value needs.
fn of_counts(counts: Counts, low: u64, digits: u32) -> Result<Histogram<u64>, String> {
    let wrong = || format!("the histogram is damaged: {digits} digits from {low} on");
    let digits = u8::try_from(digits).ok().filter(|&digits| digits <= 5).ok_or_else(wrong)?;
    let layout = Layout::new(low, digits).ok_or_else(wrong)?;
    let (mut largest, mut total) = (0, 0u64);
    counts.each(&mut |index, count| {
        largest = layout.value(index).ok_or("the histogram is damaged: a value of more than 63 bits")?;
        total = total.checked_add(count).filter(|&n| n <= i64::MAX as u64).ok_or("more than 2^63 events")?;
        Ok(())
    })?;
    let made = Histogram::new_with_bounds(low, largest.max(low.saturating_mul(2)), digits);
    let mut histogram = made.map_err(|_| wrong())?;
    histogram.auto(true);
    counts.each(&mut |index, count| {
        let value = layout.value(index).unwrap_or(largest);
        histogram.record_n(value, count).map_err(|e| format!("the histogram is damaged: {e}"))
    })?;
    Ok(histogram)
}

/// Which value a place in the array of counts stands for.
struct Layout {
    unit_bits: u32,
    half_bits: u32,
}

impl Layout {
    fn new(low: u64, digits: u8) -> Option<Layout> {
        let unit_bits = low.checked_ilog2()?;
        // As many steps as tell twice ten to the power of the digits apart.
        let half_bits = (2 * 10u64.pow(digits.into())).next_power_of_two().ilog2() - 1;
        (unit_bits + half_bits < 63).then_some(Layout { unit_bits, half_bits })
    }

    fn value(&self, index: u64) -> Option<u64> {
        let half = 1 << self.half_bits;
        let (bucket, step) = match index < 2 * half {
            true => (0, index),
            false => ((index >> self.half_bits) - 1, (index & (half - 1)) + half),
        };
        let shift = bucket.checked_add(self.unit_bits.into()).filter(|&shift| shift < 63)?;
        (u64::from(step.leading_zeros()) > shift).then(|| step << shift)
    }
}

/// The counts of a histogram, as they are written.
struct Counts<'a> {
    payload: &'a [u8],
    /// Bytes of a count; 0: as few as it needs, and runs of zeros as one negative number.
    word_bytes: usize,
}

impl Counts<'_> {
    /// Visits every count that is not 0, with its place.
    fn each(&self, visit: &mut dyn FnMut(u64, u64) -> Result<(), String>) -> Result<(), String> {
        let mut fields = Fields(self.payload);
        let mut index = 0u64;
        while !fields.0.is_empty() {
            let count = match self.word_bytes {
                0 => fields.zig_zag()?,
                // Behind the counts of version 0 there may be a piece of a word.
                bytes if fields.0.len() < bytes => return Ok(()),
                bytes @ (2 | 4 | 8) => fields.signed(bytes)?,
                bytes => return Err(format!("the histogram is damaged: counts of {bytes} bytes")),
            };
            match count {
                0 => index += 1,
                1.. => {
                    visit(index, count as u64)?;
                    index += 1;
                }
                _ if self.word_bytes > 0 => return Err("the histogram is damaged: a negative count".into()),
                zeros => index = index.saturating_add(zeros.unsigned_abs()),
            }
        }
        Ok(())
    }
}

/// Bytes that are left to read.
struct Fields<'a>(&'a [u8]);

impl<'a> Fields<'a> {
    fn take(&mut self, bytes: usize) -> Result<&'a [u8], String> {
        let (taken, rest) = self.0.split_at_checked(bytes).ok_or("the histogram is cut")?;
        self.0 = rest;
        Ok(taken)
    }

    fn u32(&mut self) -> Result<u32, String> {
        Ok(u32::from_be_bytes(self.take(4)?.try_into().expect("4 bytes were taken")))
    }

    fn u64(&mut self) -> Result<u64, String> {
        Ok(u64::from_be_bytes(self.take(8)?.try_into().expect("8 bytes were taken")))
    }

    /// A signed number of 2, 4 or 8 bytes.
    fn signed(&mut self, bytes: usize) -> Result<i64, String> {
        let unused = 64 - 8 * bytes as u32;
        let number = self.take(bytes)?.iter().fold(0u64, |number, &byte| number << 8 | u64::from(byte));
        Ok((number << unused) as i64 >> unused)
    }

    /// A number in groups of 7 bits, the lowest first, of at most 9 bytes, of which the ninth has 8; its lowest bit is the sign.
    fn zig_zag(&mut self) -> Result<i64, String> {
        let mut number = 0u64;
        for group in 0..9 {
            let byte = self.take(1)?[0];
            let is_last = group == 8 || byte < 0x80;
            number |= u64::from(if group == 8 { byte } else { byte & 0x7f }) << (7 * group);
            if is_last {
                break;
            }
        }
        Ok((number >> 1) as i64 ^ -((number & 1) as i64))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use hdrhistogram::serialization::{Serializer, V2DeflateSerializer, V2Serializer};
    use proptest::prelude::*;

    fn encoded(histogram: &Histogram<u64>, compressed: bool) -> Vec<u8> {
        let mut bytes = Vec::new();
        match compressed {
            true => V2DeflateSerializer::new().serialize(histogram, &mut bytes).map(|_| ()).unwrap(),
            false => V2Serializer::new().serialize(histogram, &mut bytes).map(|_| ()).unwrap(),
        }
        BASE64.encode(bytes).into_bytes()
    }

    proptest! {
        #[test]
        fn what_the_crate_writes_is_what_is_read(
            values in prop::collection::vec((0u64..1 << 40, 1u64..1000), 0..60),
            low in 1u64..100_000,
            digits in 0u8..=5,
            compressed in any::<bool>(),
        ) {
            let mut written = Histogram::<u64>::new_with_bounds(low, 1 << 41, digits).unwrap();
            values.iter().for_each(|&(value, count)| written.record_n(value, count).unwrap());
            let read = histogram(&encoded(&written, compressed)).unwrap();
            prop_assert_eq!((read.low(), read.sigfig(), read.len()), (low, digits, written.len()));
            for (mine, theirs) in read.iter_recorded().zip(written.iter_recorded()) {
                let told = |i: hdrhistogram::iterators::IterationValue<u64>| (i.value_iterated_to(), i.count_at_value());
                prop_assert_eq!(told(mine), told(theirs));
            }
        }

        #[test]
        fn a_sum_is_never_below_what_was_recorded(
            values in prop::collection::vec(0u64..1_000_000, 1..50),
            lows in (1u64..50_000, 1u64..50_000),
            digits in (1u8..=3, 1u8..=3),
        ) {
            let mut a = Histogram::<u64>::new_with_bounds(lows.0, 1 << 30, digits.0).unwrap();
            let mut sum = empty(lows.1, digits.1);
            values.iter().for_each(|&value| a.record(value).unwrap());
            add(&mut sum, &a).unwrap();
            let mut sorted = values.clone();
            sorted.sort_unstable();
            for (at, value) in sorted.iter().enumerate() {
                let share = (at + 1) as f64 / sorted.len() as f64;
                prop_assert!(sum.value_at_quantile(share) >= *value);
            }
            prop_assert_eq!((sum.len(), sum.low()), (values.len() as u64, lows.0.min(lows.1)));
        }

        #[test]
        fn any_bytes_are_a_histogram_or_an_error(
            version in 0usize..3, word in 0u32..16, bytes in prop::collection::vec(any::<u8>(), 0..80),
        ) {
            for cookie in [COOKIES[version], COMPRESSED_COOKIES[version]] {
                let bytes = [&(cookie | word << 4).to_be_bytes()[..], &bytes].concat();
                if let Ok(read) = histogram(BASE64.encode(bytes).as_bytes()) {
                    add(&mut empty_like(&read), &read).unwrap();
                }
            }
        }
    }

    /// Zeros that unpack to gigabytes, and a length that nothing stands behind.
    #[test]
    fn lengths_are_checked_before_they_are_believed() {
        let mut zlib = flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::fast());
        std::io::copy(&mut std::io::repeat(0).take(LOG_HISTOGRAM_BYTES_MAX as u64 + 9), &mut zlib).unwrap();
        let packed = zlib.finish().unwrap();
        let bomb =
            [&0x1c84_9314u32.to_be_bytes()[..], &(packed.len() as u32).to_be_bytes(), &packed].concat();
        assert!(histogram(BASE64.encode(bomb).as_bytes()).unwrap_err().contains("unpacks to more"));
        let mut long = 0x1c84_9313u32.to_be_bytes().to_vec();
        long.extend([0xff; 4]);
        long.extend([0; 40]);
        assert!(histogram(BASE64.encode(long).as_bytes()).unwrap_err().contains("cut"));
    }
}
