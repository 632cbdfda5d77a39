//! The runs of small numbers in a page: levels and places in a dictionary ("RLE/bit-packing hybrid" in Encodings.md of
//! parquet-format). The decoder of the `parquet` crate trusts them more than it should.

/// A run of numbers.
struct Run<'a> {
    len: u64,
    /// The bytes of one number, or of all.
    bytes: &'a [u8],
    is_repeated: bool,
}

/// The next run of numbers of `width` bits. `None` if it is damaged, or ends after its page.
fn next<'a>(rest: &mut &'a [u8], width: u8) -> Option<Run<'a>> {
    let head = head(rest)?;
    let (is_repeated, nr_bytes) = match head & 1 {
        0 => (true, u64::from(width).div_ceil(8)),
        _ => (false, head / 2 * u64::from(width)),
    };
    let (bytes, after) = rest.split_at_checked(usize::try_from(nr_bytes).ok()?)?;
    *rest = after;
    // Numbers are packed in groups of eight.
    let len = if is_repeated { head / 2 } else { head / 2 * 8 };
    (len > 0).then_some(Run { len, bytes, is_repeated })
}

/// The number at the beginning of a run, seven bits a byte. Of the five bytes that 32 bits take, the `parquet` crate reads ten, and
/// panics at the next.
fn head(rest: &mut &[u8]) -> Option<u64> {
    let mut value = 0;
    for shift in (0..35).step_by(7) {
        let (&byte, after) = rest.split_first()?;
        *rest = after;
        value |= u64::from(byte & 0x7f) << shift;
        if byte < 0x80 {
            return Some(value);
        }
    }
    None
}

/// The number of ones among `wanted` levels that are 0 or 1. `None` if they are fewer or others, or if there are runs after them.
pub(super) fn ones(mut rest: &[u8], wanted: u64) -> Option<u64> {
    let (mut left, mut ones) = (wanted, 0);
    while !rest.is_empty() {
        let run = next(&mut rest, 1)?;
        let len = run.len.min(left);
        ones += match run.bytes {
            [value @ (0 | 1)] if run.is_repeated => u64::from(*value) * len,
            _ if run.is_repeated => return None,
            packed => ones_of(packed, len),
        };
        // The last group is filled up.
        if run.len - len > if run.is_repeated { 0 } else { 7 } {
            return None;
        }
        left -= len;
    }
    (left == 0).then_some(ones)
}

/// The number of ones among the first bits, the lowest of each byte first.
fn ones_of(packed: &[u8], bits: u64) -> u64 {
    let (whole, part) = (bits as usize / 8, bits as usize % 8);
    let of_part = packed.get(whole).map_or(0, |byte| (byte & ((1 << part) - 1)).count_ones());
    packed[..whole].iter().map(|byte| u64::from(byte.count_ones())).sum::<u64>() + u64::from(of_part)
}

/// Return true if there are `wanted` places in a dictionary, after their width in bits.
pub(super) fn has_places(page: &[u8], wanted: u64) -> bool {
    let Some((&width, mut rest)) = page.split_first() else { return false };
    let mut len = 0u64;
    while !rest.is_empty() {
        match next(&mut rest, width) {
            Some(run) => len = len.saturating_add(run.len),
            None => return false,
        }
    }
    width <= 32 && len >= wanted
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ones_are_counted_in_runs_of_both_kinds() {
        // Five ones; a group of eight: 1, 0, 1, 1, and four that fill it up.
        let levels = [0x0a, 1, 0x03, 0b1111_1101];
        assert_eq!(ones(&levels, 9), Some(8));
        assert_eq!(ones(&levels, 13), Some(12));
        for wrong in [0, 4, 5, 14] {
            assert_eq!(ones(&levels, wrong), None, "{wrong}");
        }
        // 300 zeros.
        assert_eq!(ones(&[0xd8, 0x04, 0], 300), Some(0));
        assert_eq!(ones(&[], 0), Some(0));
    }

    #[test]
    fn damaged_runs_are_refused() {
        // A level of 2, ends in the middle, runs of nothing, a number that doesn't end.
        for levels in [&[0x0a, 2][..], &[0x0a], &[0x05, 0xff], &[0x80], &[0x00, 0x00], &[0x01], &[0xff; 16]] {
            assert_eq!(ones(levels, 5), None, "{levels:?}");
        }
    }

    #[test]
    fn places_in_a_dictionary_are_counted() {
        // Eight places of three bits, then four times place 2.
        let page = [3, 0x03, 0x88, 0xc6, 0xfa, 0x08, 0x02];
        assert!(has_places(&page, 12) && !has_places(&page, 13));
        assert!((1..page.len()).all(|len| !has_places(&page[..len], 12)));
        // Of no bits: all are the first.
        assert!(has_places(&[0, 0x18], 12));
        assert!(!has_places(&[33, 0x18, 0, 0, 0, 0, 0], 1) && !has_places(&[], 0));
        let endless = [&[1][..], &[0xff; 16]].concat();
        assert!(!has_places(&endless, 1));
    }
}
