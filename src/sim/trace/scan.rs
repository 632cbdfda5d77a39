//! Finds separators and parses numbers in CSV, where a loader spends most of its time.

/// Iterator over the positions of commas and newlines in a block, 64 bytes per step.
pub(super) struct Cuts<'a> {
    block: &'a [u8],
    /// Start of the 64 bytes that `found` describes.
    step_at: usize,
    /// One bit for each separator that hasn't been returned yet.
    found: u64,
}

const STEP: usize = 64;

impl<'a> Cuts<'a> {
    pub(super) fn new(block: &'a [u8]) -> Self {
        let mut cuts = Cuts { block, step_at: 0, found: 0 };
        cuts.look();
        cuts
    }

    /// Find the separators of the step at `step_at`.
    fn look(&mut self) {
        let rest = &self.block[self.step_at..];
        self.found = match rest.first_chunk() {
            Some(bytes) => separators(bytes),
            None => {
                let mut bytes = [0; STEP];
                bytes[..rest.len()].copy_from_slice(rest);
                separators(&bytes)
            }
        };
    }
}

/// One bit for each comma and newline. Written so that the compiler vectorizes it.
fn separators(bytes: &[u8; STEP]) -> u64 {
    let mut flags = [[0; 8]; STEP / 8];
    for (flag, byte) in flags.as_flattened_mut().iter_mut().zip(bytes) {
        *flag = u8::from(*byte == b',') | u8::from(*byte == b'\n');
    }
    flags.iter().rev().fold(0, |bits, flags| {
        // Each of eight bytes is 0 or 1. The product collects them in its top byte, the first in the lowest bit.
        let eight = u64::from_le_bytes(*flags).wrapping_mul(0x0102_0408_1020_4080) >> 56;
        (bits << 8) | eight
    })
}

impl Iterator for Cuts<'_> {
    type Item = usize;

    #[inline]
    fn next(&mut self) -> Option<usize> {
        while self.found == 0 {
            self.step_at += STEP;
            if self.step_at >= self.block.len() {
                self.step_at = self.block.len();
                return None;
            }
            self.look();
        }
        let bit = self.found.trailing_zeros() as usize;
        self.found &= self.found - 1;
        Some(self.step_at + bit)
    }
}

/// A field, with the bytes before it in its block, so that numbers are read eight bytes at a time whatever their
/// length.
#[derive(Clone, Copy)]
pub(super) struct Field<'a> {
    up_to_end: &'a [u8],
    len: usize,
}

/// The same byte eight times.
const fn all(byte: u8) -> u64 {
    u64::from_le_bytes([byte; 8])
}

/// A point after the XOR with `b'0'` that turns digits into numbers.
const POINT: u8 = b'.' ^ b'0';

impl<'a> Field<'a> {
    #[inline]
    pub(super) fn new(block: &'a [u8], place: std::ops::Range<usize>) -> Self {
        Field { up_to_end: &block[..place.end], len: place.len() }
    }

    /// The bytes of the field.
    pub(super) fn text(self) -> &'a [u8] {
        &self.up_to_end[self.up_to_end.len() - self.len..]
    }

    pub(super) fn is_empty(self) -> bool {
        self.len == 0
    }

    /// Parse a whole number.
    #[inline]
    pub(super) fn integer(self) -> Option<u64> {
        match self.len {
            1..=8 => value(self.characters()),
            9..=16 => {
                let first = Field { up_to_end: &self.up_to_end[..self.up_to_end.len() - 8], len: self.len - 8 };
                let last = Field { len: 8, ..self };
                Some(value(first.characters())? * 100_000_000 + value(last.characters())?)
            }
            _ => long_integer(self.text()),
        }
    }

    /// Parse a finite number that is not negative.
    #[inline]
    pub(super) fn amount(self) -> Option<f64> {
        let read = match self.len {
            // Nearly all numbers have the form 0.00123.
            3..=10 if self.text().starts_with(b"0.") => {
                fraction(Field { len: self.len - 2, ..self }.characters(), self.len - 2)
            }
            1..=8 => self.short_decimal(),
            _ => None,
        };
        read.or_else(|| any_amount(self.text()))
    }

    /// Parse digits with at most one point.
    #[inline]
    fn short_decimal(self) -> Option<f64> {
        let characters = self.characters();
        let points = zero_bytes(characters ^ all(POINT));
        if points == 0 {
            return fraction(characters, 0);
        }
        let at = points.trailing_zeros() / 8;
        // Close the gap: the digits before the point move up by one byte.
        let before = characters & ((1 << (8 * at)) - 1);
        let digits = (characters ^ before ^ (u64::from(POINT) << (8 * at))) | (before << 8);
        fraction(digits, 7 - at as usize).filter(|_| self.len > 1)
    }

    /// The characters of a field of 1 to 8 bytes, each XORed with `b'0'`: the last in the highest byte, zeros below the
    /// first.
    #[inline]
    fn characters(self) -> u64 {
        let bytes = match self.up_to_end.last_chunk() {
            Some(bytes) => *bytes,
            None => {
                let mut bytes = [0; 8];
                bytes[8 - self.up_to_end.len()..].copy_from_slice(self.up_to_end);
                bytes
            }
        };
        let nothing_below = 8 * (8 - self.len);
        ((u64::from_le_bytes(bytes) ^ all(b'0')) >> nothing_below) << nothing_below
    }
}

/// Set the top bit of each byte that is 0, and of no other.
fn zero_bytes(bytes: u64) -> u64 {
    !(((bytes & all(0x7f)) + all(0x7f)) | bytes | all(0x7f))
}

/// Parse digits, the last `decimals` of which are decimals. There are few enough for one division to round correctly.
#[inline]
fn fraction(digits: u64, decimals: usize) -> Option<f64> {
    const POWERS: [f64; 9] = [1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8];
    Some(value(digits)? as f64 / POWERS[decimals])
}

/// The number that eight digits form, the last in the highest byte; `None` if one of them isn't a digit.
#[inline]
fn value(digits: u64) -> Option<u64> {
    const EVERY_FOURTH: u64 = 0x0000_00ff_0000_00ff;
    // Adding 118 sets the top bit of each byte above 9.
    if (digits | digits.wrapping_add(all(0x80 - 10))) & all(0x80) != 0 {
        return None;
    }
    // Combine adjacent digits into numbers below 100, then all four of these at once.
    let pairs = digits * 10 + (digits >> 8);
    let first = (pairs & EVERY_FOURTH).wrapping_mul(100 + (1_000_000 << 32));
    let second = ((pairs >> 16) & EVERY_FOURTH).wrapping_mul(1 + (10_000 << 32));
    Some(first.wrapping_add(second) >> 32)
}

#[cold]
fn any_amount(text: &[u8]) -> Option<f64> {
    fast_float2::parse(text).ok().filter(|value: &f64| value.is_finite() && *value >= 0.0)
}

#[cold]
fn long_integer(text: &[u8]) -> Option<u64> {
    if text.is_empty() {
        return None;
    }
    text.iter().try_fold(0, |value: u64, &byte| {
        let digit = byte.is_ascii_digit().then(|| u64::from(byte - b'0'))?;
        value.checked_mul(10)?.checked_add(digit)
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Parse a text at the start of a block and further on. The results must be equal.
    fn read<T: PartialEq + std::fmt::Debug>(text: &str, read: impl Fn(Field<'_>) -> T) -> T {
        let read_after = |before: &str| {
            let block = format!("{before}{text},7");
            read(Field::new(block.as_bytes(), before.len()..before.len() + text.len()))
        };
        let (first, later) = (read_after(""), read_after("16.25,1234567890123456789,"));
        assert_eq!(first, later, "{text}");
        first
    }

    proptest! {
        #[test]
        fn cuts_are_the_positions_of_separators(
            block in proptest::collection::vec(prop_oneof![Just(b','), Just(b'\n'), any::<u8>()], 0..300)
        ) {
            let slow: Vec<usize> = (0..block.len()).filter(|&at| block[at] == b',' || block[at] == b'\n').collect();
            prop_assert_eq!(Cuts::new(&block).collect::<Vec<_>>(), slow);
        }

        #[test]
        fn numbers_are_parsed_like_the_standard_librarys(text in "[0-9]{0,12}(\\.[0-9]{0,12})?(e-?[0-9]{1,2})?") {
            prop_assert_eq!(read(&text, |field| field.amount()), text.parse::<f64>().ok());
        }

        #[test]
        fn whole_numbers_are_parsed_like_the_standard_librarys(text in "[0-9]{0,22}x?") {
            prop_assert_eq!(read(&text, |field| field.integer()), text.parse::<u64>().ok());
        }

        #[test]
        fn a_whole_number_consists_of_digits_only(text in "[ -~]{1,20}") {
            let digits = text.bytes().all(|byte| byte.is_ascii_digit());
            prop_assert_eq!(read(&text, |field| field.integer()), text.parse::<u64>().ok().filter(|_| digits));
        }
    }

    #[test]
    fn invalid_amounts_are_refused() {
        for text in ["", ".", "-1", "nan", "inf", "1,5", "0x10", "1.2.3", " 1", "1:5", "1/5"] {
            assert_eq!(read(text, |field| field.amount()), None, "{text}");
        }
    }
}
