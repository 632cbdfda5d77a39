//! Finding separators and reading numbers in CSV: where a loader spends its time.

/// The places of commas and newlines in a block, 64 bytes at a step.
pub(super) struct Cuts<'a> {
    block: &'a [u8],
    /// Where the 64 bytes that `found` is about begin.
    step_at: usize,
    /// A bit for each byte that is a separator and hasn't been returned yet.
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

/// A bit for each comma and newline. Written so that the compiler makes vector instructions of it.
fn separators(bytes: &[u8; STEP]) -> u64 {
    let mut flags = [[0; 8]; STEP / 8];
    for (flag, byte) in flags.as_flattened_mut().iter_mut().zip(bytes) {
        *flag = u8::from(*byte == b',') | u8::from(*byte == b'\n');
    }
    flags.iter().rev().fold(0, |bits, flags| {
        // Eight bytes of 0 or 1: the product has all of them in its top byte, the first lowest.
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

/// A field, and what stands before it in its block: so that short numbers are read in one load, whatever their length.
#[derive(Clone, Copy)]
pub(super) struct Field<'a> {
    up_to_end: &'a [u8],
    len: usize,
}

/// Numbers of more characters are read one by one.
const SHORT: usize = 16;

/// The same byte sixteen times.
const fn all(byte: u8) -> u128 {
    u128::from_le_bytes([byte; SHORT])
}

/// By number, so many of the lowest bytes: a look-up is cheaper than a shift of 128 bits.
const LOWEST: [u128; SHORT + 1] = {
    let mut lowest = [u128::MAX; SHORT + 1];
    let mut bytes = 0;
    while bytes < SHORT {
        lowest[bytes] = (1 << (8 * bytes)) - 1;
        bytes += 1;
    }
    lowest
};

impl<'a> Field<'a> {
    #[inline]
    pub(super) fn new(block: &'a [u8], place: std::ops::Range<usize>) -> Self {
        Field { up_to_end: &block[..place.end], len: place.len() }
    }

    /// The field as it stands there.
    pub(super) fn text(self) -> &'a [u8] {
        &self.up_to_end[self.up_to_end.len() - self.len..]
    }

    pub(super) fn is_empty(self) -> bool {
        self.len == 0
    }

    /// A whole number.
    #[inline]
    pub(super) fn integer(self) -> Option<u64> {
        match self.short() {
            Some(digits) => are_digits(digits).then(|| value(digits)),
            None => long_integer(self.text()),
        }
    }

    /// A number that is finite and not negative.
    #[inline]
    pub(super) fn amount(self) -> Option<f64> {
        self.plain_decimal().or_else(|| any_amount(self.text()))
    }

    /// The characters of a short field, each less `b'0'`: the last in the highest byte, zeros below the first.
    #[inline]
    fn short(self) -> Option<u128> {
        if self.len == 0 || self.len > SHORT {
            return None;
        }
        let bytes = match self.up_to_end.last_chunk() {
            Some(bytes) => *bytes,
            None => {
                let mut bytes = [0; SHORT];
                bytes[SHORT - self.up_to_end.len()..].copy_from_slice(self.up_to_end);
                bytes
            }
        };
        Some((u128::from_le_bytes(bytes) ^ all(b'0')) & !LOWEST[SHORT - self.len])
    }

    /// Digits with at most one point, few enough that one division rounds correctly; others aren't read here.
    #[inline]
    fn plain_decimal(self) -> Option<f64> {
        const POINT: u8 = b'.' ^ b'0';
        const POWERS: [f64; SHORT] =
            [1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15];
        let mut digits = self.short()?;
        let mut decimals = 0;
        let points = zero_bytes(digits ^ all(POINT));
        if points != 0 {
            let place = points.trailing_zeros() as usize / 8;
            decimals = SHORT - 1 - place;
            // Close the gap: what stands before the point moves up to where it was.
            digits = (digits & !LOWEST[place + 1]) | ((digits & LOWEST[place]) << 8);
        }
        let value = value(digits);
        // 16 digits without a point may pass 2^53.
        (are_digits(digits) && value < 1 << 53 && self.len > usize::from(points != 0))
            .then(|| value as f64 / POWERS[decimals])
    }
}

/// The top bit of each byte that is 0, exactly.
fn zero_bytes(bytes: u128) -> u128 {
    const LOW: u128 = all(0x7f);
    !(((bytes & LOW) + LOW) | bytes | LOW)
}

/// Return true if no byte is above 9.
fn are_digits(bytes: u128) -> bool {
    (bytes | bytes.wrapping_add(all(0x80 - 10))) & all(0x80) == 0
}

/// The number that 16 digits make; any number when they aren't digits.
#[inline]
fn value(digits: u128) -> u64 {
    let (first, last) = (digits as u64, (digits >> 64) as u64);
    eight_digits(first) * 100_000_000 + eight_digits(last)
}

/// Neighbours are put together three times: to numbers below 100, then below 10,000, then the whole.
#[inline]
fn eight_digits(digits: u64) -> u64 {
    const EVERY_FOURTH: u64 = 0x0000_00ff_0000_00ff;
    let pairs = digits.wrapping_mul(10).wrapping_add(digits >> 8);
    let first = (pairs & EVERY_FOURTH).wrapping_mul(100 + (1_000_000 << 32));
    let second = ((pairs >> 16) & EVERY_FOURTH).wrapping_mul(1 + (10_000 << 32));
    first.wrapping_add(second) >> 32
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

    /// What is read of a text at the head of a block and of one further on, which must be the same.
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
        fn cuts_are_the_separators(
            block in proptest::collection::vec(prop_oneof![Just(b','), Just(b'\n'), any::<u8>()], 0..300)
        ) {
            let slow: Vec<usize> = (0..block.len()).filter(|&at| block[at] == b',' || block[at] == b'\n').collect();
            prop_assert_eq!(Cuts::new(&block).collect::<Vec<_>>(), slow);
        }

        #[test]
        fn numbers_are_read_as_the_standard_library_reads_them(text in "[0-9]{0,12}(\\.[0-9]{0,12})?(e-?[0-9]{1,2})?") {
            prop_assert_eq!(read(&text, |field| field.amount()), text.parse::<f64>().ok());
        }

        #[test]
        fn whole_numbers_are_read_as_the_standard_library_reads_them(text in "[0-9]{0,22}x?") {
            prop_assert_eq!(read(&text, |field| field.integer()), text.parse::<u64>().ok());
        }

        #[test]
        fn a_whole_number_has_digits_only(text in "[ -~]{1,20}") {
            let digits = text.bytes().all(|byte| byte.is_ascii_digit());
            prop_assert_eq!(read(&text, |field| field.integer()), text.parse::<u64>().ok().filter(|_| digits));
        }
    }

    #[test]
    fn what_is_no_amount_is_refused() {
        for text in ["", ".", "-1", "nan", "inf", "1,5", "0x10", "1.2.3", " 1", "1:5", "1/5"] {
            assert_eq!(read(text, |field| field.amount()), None, "{text}");
        }
    }
}
