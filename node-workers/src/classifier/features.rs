//! What of a text a classifier looks at. Part of the format: a change of anything here wants a new version of it.

use xxhash_rust::xxh3::xxh3_64_with_seed;

/// Places that features are hashed into.
pub const BUCKETS: usize = 1 << 16;
/// What follows in a text is not looked at: whoever asks says soon what it is about, and nobody waits for the rest.
pub const TEXT_BYTES_MAX: usize = 4 * 1024;
/// Of the pieces of words, in characters.
const LENGTHS: std::ops::RangeInclusive<usize> = 2..=5;
/// What is hashed: a word, two of them, or a piece of one.
const WORD: u64 = 1;
const PAIR: u64 = 2;
const PIECE: u64 = 3;

/// Buckets with their values. One may come twice: its values add up.
pub type Features = Vec<(u32, f32)>;

/// Words and pairs of them, and pieces of words. How long the text is doesn't count: rules can say that.
pub fn features(text: &str) -> Features {
    let text = text[..text.floor_char_boundary(TEXT_BYTES_MAX)].to_lowercase();
    let words: Vec<&str> =
        text.split(|char: char| !char.is_alphanumeric() && char != '\'').filter(|word| !word.is_empty()).collect();
    let pairs = words.windows(2).map(|pair| bucket(PAIR, &pair.join(" ")));
    let mut found = Vec::new();
    add(&mut found, words.iter().map(|word| bucket(WORD, word)).chain(pairs).collect());
    add(&mut found, pieces_of(&words));
    found
}

fn pieces_of(words: &[&str]) -> Vec<u32> {
    let mut pieces = Vec::new();
    for word in words {
        let padded = format!(" {word} ");
        let starts: Vec<usize> = padded.char_indices().map(|(start, _)| start).chain([padded.len()]).collect();
        for length in LENGTHS {
            let of_length = starts.windows(length + 1).map(|of| &padded[of[0]..of[length]]);
            pieces.extend(of_length.map(|piece| bucket(PIECE, piece)));
        }
    }
    pieces
}

fn bucket(kind: u64, what: &str) -> u32 {
    (xxh3_64_with_seed(what.as_bytes(), kind) % BUCKETS as u64) as u32
}

/// The group as a vector of length 1; what comes again counts less each time.
fn add(found: &mut Features, mut group: Vec<u32>) {
    group.sort_unstable();
    let length = (group.len() as f32).sqrt();
    let counted = group.chunk_by(PartialEq::eq).map(|same| (same[0], (same.len() as f32).sqrt() / length));
    found.extend(counted);
}
