//! Finding separators and reading numbers in CSV: where a loader spends its time.

/// The places of commas and newlines in a block, eight bytes at a step.
pub(super) struct Cuts<'a> {
    block: &'a [u8],
    /// Where the word that `found` is about begins.
    word_at: usize,
    /// The top bit of each byte of the word that is a separator and hasn't been returned yet.
    found: u64,
}

const LOW: u64 = 0x7f7f_7f7f_7f7f_7f7f;
const COMMAS: u64 = 0x2c2c_2c2c_2c2c_2c2c;
const NEWLINES: u64 = 0x0a0a_0a0a_0a0a_0a0a;

impl<'a> Cuts<'a> {
    pub(super) fn new(block: &'a [u8]) -> Self {
        let mut cuts = Cuts { block, word_at: 0, found: 0 };
        cuts.look();
        cuts
    }

    /// Find the separators of the word at `word_at`.
    fn look(&mut self) {
        let rest = &self.block[self.word_at..];
        let word = match rest.first_chunk::<8>() {
            Some(bytes) => u64::from_le_bytes(*bytes),
            None => {
                let mut bytes = [0; 8];
                bytes[..rest.len()].copy_from_slice(rest);
                u64::from_le_bytes(bytes)
            }
        };
        self.found = zero_bytes(word ^ COMMAS) | zero_bytes(word ^ NEWLINES);
    }
}

/// The top bit of each byte that is 0, exactly.
fn zero_bytes(word: u64) -> u64 {
    !(((word & LOW) + LOW) | word | LOW)
}

impl Iterator for Cuts<'_> {
    type Item = usize;

    #[inline]
    fn next(&mut self) -> Option<usize> {
        while self.found == 0 {
            self.word_at += 8;
            if self.word_at >= self.block.len() {
                self.word_at = self.block.len();
                return None;
            }
            self.look();
        }
        let byte = self.found.trailing_zeros() as usize / 8;
        self.found &= self.found - 1;
        Some(self.word_at + byte)
    }
}

/// A whole number.
pub(super) fn integer(text: &[u8]) -> Option<u64> {
    /// So many digits always fit.
    const SAFE_DIGITS: usize = 19;
    if text.is_empty() || !text.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let digit = |byte: u8| u64::from(byte - b'0');
    let (safe, rest) = text.split_at(text.len().min(SAFE_DIGITS));
    let start = safe.iter().fold(0, |value, &byte| value * 10 + digit(byte));
    rest.iter().try_fold(start, |value: u64, &byte| value.checked_mul(10)?.checked_add(digit(byte)))
}

/// A number that is finite and not negative.
pub(super) fn amount(text: &[u8]) -> Option<f64> {
    plain_decimal(text)
        .or_else(|| fast_float2::parse(text).ok().filter(|value: &f64| value.is_finite() && *value >= 0.0))
}

/// Digits with at most one point, few enough that one division rounds correctly; others aren't read here.
fn plain_decimal(text: &[u8]) -> Option<f64> {
    const MAX_LEN: usize = 16;
    const POWERS: [f64; MAX_LEN] =
        [1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15];
    if text.is_empty() || text.len() > MAX_LEN {
        return None;
    }
    let mut digits: u64 = 0;
    let mut point = None;
    for (place, &byte) in text.iter().enumerate() {
        match byte {
            b'0'..=b'9' => digits = digits * 10 + u64::from(byte - b'0'),
            b'.' if point.is_none() && text.len() > 1 => point = Some(place),
            _ => return None,
        }
    }
    let decimals = point.map_or(0, |place| text.len() - place - 1);
    // 16 digits without a point may pass 2^53.
    (digits < 1 << 53).then(|| digits as f64 / POWERS[decimals])
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn cuts_are_the_separators(block in proptest::collection::vec(prop_oneof![Just(b','), Just(b'\n'), any::<u8>()], 0..80)) {
            let slow: Vec<usize> = (0..block.len()).filter(|&at| block[at] == b',' || block[at] == b'\n').collect();
            prop_assert_eq!(Cuts::new(&block).collect::<Vec<_>>(), slow);
        }

        #[test]
        fn numbers_are_read_as_the_standard_library_reads_them(text in "[0-9]{0,12}(\\.[0-9]{0,12})?(e-?[0-9]{1,2})?") {
            prop_assert_eq!(amount(text.as_bytes()), text.parse::<f64>().ok());
        }

        #[test]
        fn whole_numbers_are_read_as_the_standard_library_reads_them(text in "[0-9]{0,22}x?") {
            prop_assert_eq!(integer(text.as_bytes()), text.parse::<u64>().ok());
        }
    }

    #[test]
    fn what_is_no_amount_is_refused() {
        for text in ["", ".", "-1", "nan", "inf", "1,5", "0x10", "1.2.3", " 1"] {
            assert_eq!(amount(text.as_bytes()), None, "{text}");
        }
    }
}
