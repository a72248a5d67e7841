//! What dialects say of single tokens: where they stand in the text and how likely they were.

use std::ops::Range;

/// What stands for -∞, which JSON cannot say.
pub(crate) const FLOOR: f32 = -9999.0;

/// A logprob that JSON can say.
pub(crate) fn finite(logprob: f32) -> f32 {
    logprob.max(FLOOR)
}

/// Characters before the next token.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Offset {
    characters: usize,
    /// The first token begins with a space the text does not have.
    extra_space: bool,
}

impl Offset {
    /// The offset before a text whose first token has these bytes. A SentencePiece tokenizer puts a
    /// space before its text.
    pub fn before(text: &str, first: Option<&[u8]>) -> Offset {
        let first = first.and_then(|bytes| bytes.first());
        Offset {
            characters: 0,
            extra_space: first == Some(&b' ') && !text.starts_with(' '),
        }
    }

    /// Characters before the next token.
    pub fn here(&self) -> usize {
        self.characters
    }

    /// The characters that the token with these bytes is, or is part of.
    pub fn step(&mut self, bytes: &[u8]) -> Range<usize> {
        let continues = |byte: &&u8| **byte & 0xC0 == 0x80;
        let goes_on = bytes.first().is_some_and(|byte| continues(&byte));
        let begin = self.characters.saturating_sub(usize::from(goes_on));
        self.characters += bytes.iter().filter(|byte| !continues(byte)).count();
        if std::mem::take(&mut self.extra_space) {
            self.characters -= 1;
        }
        begin..self.characters
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn offsets_count_characters_and_parts_of_one_share_its_place() {
        let crab = "🦀".as_bytes();
        let mut offset = Offset::default();
        let parts: [&[u8]; 5] = ["é".as_bytes(), &crab[..2], &crab[2..], b" ok", b"!"];
        let places = parts.map(|bytes| offset.step(bytes));
        assert_eq!(places, [0..1, 1..2, 1..2, 2..5, 5..6]);
    }

    #[test]
    fn a_space_the_tokenizer_added_takes_no_place() {
        let mut offset = Offset::before("The cat", Some(b" The"));
        assert_eq!([offset.step(b" The"), offset.step(b" cat")], [0..3, 3..7]);
    }
}
