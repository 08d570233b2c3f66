//! Cuts text into chunks where its content says so: what stands before a change, and what comes some chunks behind it,
//! is cut as it was. A rolling "gear" hash looks at the last 64 bytes; a chunk ends where its upper bits are all 0. Never
//! looks at what the text means.

/// No chunk but the last is shorter, bytes: below it a row's key and expiry weigh as much as what they keep.
pub const MIN: usize = 1 << 10;
/// No chunk is longer, bytes: four times what is aimed at, so that of random text 0.7 % of the chunks are cut by length
/// and not by content: (1 − 1/3,072)^15,360.
pub const MAX: usize = 16 << 10;
/// A cut comes 3,072 bytes behind [`MIN`] on average, so a chunk has about 4 KiB: an edit then costs one or two of them,
/// and a document of 4 MiB has about 1,000.
const ONE_IN: u64 = 3_072;

/// A random number for each byte, by splitmix64 from a fixed seed. Other numbers would cut elsewhere, and everything
/// that is kept would be kept once more.
const GEAR: [u64; 256] = {
    let mut gear = [0; 256];
    let mut state: u64 = 0x5359_4e43_4252_4944;
    let mut index = 0;
    while index < 256 {
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut word = state;
        word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        gear[index] = word ^ (word >> 31);
        index += 1;
    }
    gear
};

/// The chunks of a text, in order; together they are the text. An empty text is one empty chunk.
pub fn cut(text: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut rest = Some(text);
    std::iter::from_fn(move || {
        let text = rest?;
        let (chunk, behind) = text.split_at(first(text));
        rest = (!behind.is_empty()).then_some(behind);
        Some(chunk)
    })
}

/// The length of the first chunk.
fn first(text: &[u8]) -> usize {
    let end = text.len().min(MAX);
    let mut hash: u64 = 0;
    for (at, byte) in text[..end].iter().enumerate() {
        hash = (hash << 1).wrapping_add(GEAR[usize::from(*byte)]);
        if at + 1 >= MIN && hash < u64::MAX / ONE_IN {
            return at + 1;
        }
    }
    end
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use fastrand::Rng;
    use proptest::prelude::*;

    use super::*;

    fn text(rng: &mut Rng, len: usize) -> Vec<u8> {
        (0..len).map(|_| rng.alphanumeric() as u8).collect()
    }

    proptest! {
        #[test]
        fn chunks_are_the_text_again_and_within_their_bounds(
            seed: u64, len in 0usize..200_000, repeats in prop::bool::ANY
        ) {
            let mut rng = Rng::with_seed(seed);
            let text = if repeats { vec![b'a'; len] } else { text(&mut rng, len) };
            let chunks: Vec<_> = cut(&text).collect();
            prop_assert_eq!(&chunks.concat(), &text);
            for chunk in &chunks[..chunks.len() - 1] {
                prop_assert!((MIN..=MAX).contains(&chunk.len()));
            }
        }

        #[test]
        fn an_edit_leaves_the_chunks_around_it_as_they_were(seed: u64, at in 0usize..400_000, removed in 0usize..50) {
            let mut rng = Rng::with_seed(seed);
            let before = text(&mut rng, 400_100);
            let mut after = before.clone();
            after.splice(at..at + removed, text(&mut rng, 30));
            let known: HashSet<&[u8]> = cut(&before).collect();
            let new = cut(&after).filter(|chunk| !known.contains(chunk)).count();
            prop_assert!((1..=8).contains(&new), "{} chunks are new", new);
        }
    }

    #[test]
    fn a_chunk_has_about_4_kib() {
        let text = text(&mut Rng::with_seed(1), 4 << 20);
        let average = text.len() / cut(&text).count();
        assert!((3_500..4_700).contains(&average), "{average}");
    }
}
