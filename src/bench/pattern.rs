//! Payload that knows its place: a byte that is lost, doubled or moved does not fit any more.

use std::ops::Range;

const WORD: usize = 8;

/// The word at this place of the stream: SplitMix64 (Steele, Lea and Flood, 2014), which never repeats
/// within 2^64 words.
fn word(seed: u64, index: u64) -> [u8; WORD] {
    let mut z = seed.wrapping_add(index.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15));
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    (z ^ (z >> 31)).to_le_bytes()
}

/// Fills `buffer` with the bytes of the stream from `offset` on.
pub fn fill(seed: u64, offset: u64, buffer: &mut [u8]) {
    for (index, places, within) in words(offset, buffer.len()) {
        buffer[places].copy_from_slice(&word(seed, index)[within]);
    }
}

/// Compares `bytes` with the stream from `offset` on.
///
/// # Errors
/// The place in the stream near which they differ: that of the first differing word.
pub fn check(seed: u64, offset: u64, bytes: &[u8]) -> Result<(), u64> {
    for (index, places, within) in words(offset, bytes.len()) {
        let at = offset + places.start as u64;
        if bytes[places] != word(seed, index)[within] {
            return Err(at);
        }
    }
    Ok(())
}

/// The words that `length` bytes from `offset` on touch: which word, where its bytes are among the
/// `length`, and which of its bytes they are.
fn words(offset: u64, length: usize) -> impl Iterator<Item = (u64, Range<usize>, Range<usize>)> {
    let skipped = (offset % WORD as u64) as usize;
    let first = offset / WORD as u64;
    (0..(skipped + length).div_ceil(WORD)).map(move |nth| {
        let from = (nth * WORD).max(skipped);
        let to = ((nth + 1) * WORD).min(skipped + length);
        let within = from - nth * WORD..to - nth * WORD;
        (first + nth as u64, from - skipped..to - skipped, within)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn pieces_fit_together_however_the_stream_is_cut(
            seed: u64,
            offset in 0_u64..1 << 40,
            cut in 0_usize..200,
            length in 0_usize..200,
        ) {
            let mut whole = vec![0; cut + length];
            fill(seed, offset, &mut whole);
            let mut pieces = vec![0; cut + length];
            fill(seed, offset, &mut pieces[..cut]);
            fill(seed, offset + cut as u64, &mut pieces[cut..]);
            prop_assert_eq!(&whole, &pieces);
            prop_assert_eq!(check(seed, offset + cut as u64, &whole[cut..]), Ok(()));
        }

        #[test]
        fn a_flipped_bit_is_found(seed: u64, offset in 0_u64..1 << 40, at in 0_usize..100, bit in 0_u8..8) {
            let mut bytes = vec![0; 100];
            fill(seed, offset, &mut bytes);
            bytes[at] ^= 1 << bit;
            let found = check(seed, offset, &bytes).unwrap_err();
            prop_assert!(found <= offset + at as u64 && found + 8 > offset + at as u64);
        }
    }

    #[test]
    fn a_stream_that_lost_or_doubled_bytes_does_not_fit() {
        let mut bytes = vec![0; 4096];
        fill(7, 0, &mut bytes);
        for shift in [1_u64, 8, 64, 1024] {
            assert!(check(7, 0, &bytes[shift as usize..]).is_err());
            assert!(check(7, shift, &bytes).is_err());
        }
        assert!(check(8, 0, &bytes).is_err());
    }
}
