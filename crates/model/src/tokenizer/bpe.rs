//! Byte-pair encoding from a flat vocabulary: GPT-2's byte-level kind and SentencePiece's.
//!
//! Made for GGUF files, whose vocabulary is at hand in one piece: 3 MB hold what takes a general
//! tokenizer 33 MB (49,152 tokens), and SentencePiece's own rule (scores of joined texts) is
//! applied as it is, not rewritten as merges.

use std::collections::HashMap;

use unicode_normalization::{UnicodeNormalization, is_nfc};

use super::alphabet;
use super::merge::{Merger, NONE};
use super::specials::{Piece, Specials};
use super::split::Splitter;
use super::vocabulary::{Kind, Vocabulary};

/// SentencePiece's space.
pub(super) const SPACE: char = '▁';

/// Vocabulary, special tokens and rule of a model.
pub(super) struct Bpe {
    pub vocabulary: Vocabulary,
    pub specials: Specials,
    pub rule: Rule,
    /// What stands for text no token can say.
    pub unknown: Option<u32>,
    /// The token of each byte.
    pub bytes: [Option<u32>; 256],
}

/// Rank and result of each pair of tokens that joins.
pub(super) type Merges = HashMap<(u32, u32), (u32, u32)>;

/// How text between special tokens becomes tokens.
pub(super) enum Rule {
    /// Words of bytes, merged by a list.
    ByteLevel {
        splitter: Splitter,
        merges: Merges,
        /// A word that is a token is that token.
        whole_words: bool,
        /// Compose the text first.
        nfc: bool,
    },
    /// Characters, merged by the score of the joined text.
    SentencePiece {
        scores: Vec<f32>,
        /// Every text begins with a space of its own.
        prefix_space: bool,
        /// No token has a space behind another character, so that words can be merged alone.
        by_word: bool,
    },
}

impl Bpe {
    /// Token ids of a text of at most 4 GiB. Special tokens written out become their ids.
    pub fn encode(&self, text: &str) -> Vec<u32> {
        let mut ids = Vec::with_capacity(text.len() / 4);
        let mut merger = Merger::default();
        let mut begins = true; // A text begins anew behind a control token.
        self.specials.split(text, |piece| match piece {
            Piece::Token(id) => {
                ids.push(id);
                begins = self.vocabulary.kind(id) != Some(Kind::UserDefined);
            }
            Piece::Text(text) => match &self.rule {
                Rule::ByteLevel { splitter, nfc, .. } => {
                    let composed: String;
                    let text = if *nfc && !is_nfc(text) {
                        composed = text.nfc().collect();
                        &composed
                    } else {
                        text
                    };
                    splitter.split(text, |word| self.byte_level(word, &mut merger, &mut ids));
                }
                Rule::SentencePiece {
                    prefix_space,
                    by_word,
                    ..
                } => {
                    let mut spaced = text.replace(' ', "▁");
                    if *prefix_space && begins {
                        spaced.insert(0, SPACE);
                    }
                    let mut rest = spaced.as_str();
                    while !rest.is_empty() {
                        let end = if *by_word { word_end(rest) } else { rest.len() };
                        self.sentence_piece(&rest[..end], &mut merger, &mut ids);
                        rest = &rest[end..];
                    }
                }
            },
        });
        ids
    }

    fn byte_level(&self, word: &str, merger: &mut Merger, ids: &mut Vec<u32>) {
        let Rule::ByteLevel {
            merges,
            whole_words,
            ..
        } = &self.rule
        else {
            return;
        };
        if *whole_words {
            let spelled: String = word.bytes().map(alphabet::character).collect();
            if let Some(id) = self.vocabulary.id(&spelled) {
                return ids.push(id);
            }
        }
        merger.clear();
        for (at, byte) in (0..).zip(word.bytes()) {
            if let Some(id) = self.bytes[usize::from(byte)].or(self.unknown) {
                merger.push(at, at + 1, id);
            }
        }
        merger.run(|left, right| merges.get(&(left.id, right.id)).copied());
        ids.extend(merger.symbols().map(|symbol| symbol.id));
    }

    fn sentence_piece(&self, text: &str, merger: &mut Merger, ids: &mut Vec<u32>) {
        let Rule::SentencePiece { scores, .. } = &self.rule else {
            return;
        };
        let piece = |start: u32, end: u32| {
            let id = self.vocabulary.id(&text[start as usize..end as usize])?;
            let kind = self.vocabulary.kind(id)?;
            matches!(kind, Kind::Normal | Kind::Unused).then_some(id)
        };
        merger.clear();
        for (at, character) in text.char_indices() {
            let (start, end) = (at as u32, (at + character.len_utf8()) as u32);
            merger.push(start, end, piece(start, end).unwrap_or(NONE));
        }
        merger.run(|left, right| {
            let id = piece(left.start, right.end)?;
            Some((rank(scores[id as usize]), id))
        });
        let mut unknown = false; // A run of unknown characters is one unknown token.
        for symbol in merger.symbols() {
            if symbol.id != NONE {
                ids.push(symbol.id);
                unknown = false;
                continue;
            }
            for byte in text[symbol.start as usize..symbol.end as usize].bytes() {
                match (self.bytes[usize::from(byte)], self.unknown) {
                    (Some(id), _) => ids.push(id),
                    (None, Some(id)) if !unknown => {
                        ids.push(id);
                        unknown = true;
                    }
                    _ => {}
                }
            }
        }
    }
}

/// Where the first word ends: before the next space that follows another character.
fn word_end(text: &str) -> usize {
    let spaces = text.len() - text.trim_start_matches(SPACE).len();
    text[spaces..]
        .find(SPACE)
        .map_or(text.len(), |at| spaces + at)
}

/// Orders scores as ranks: the higher score is the lower rank.
fn rank(score: f32) -> u32 {
    let bits = score.to_bits();
    let ascending = if bits >> 31 == 1 {
        !bits
    } else {
        bits | 1 << 31
    };
    !ascending
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranks_fall_as_scores_rise() {
        let scores = [f32::NEG_INFINITY, -3.5, -0.0, 0.0, 1e-9, 7.0, f32::INFINITY];
        assert!(scores.map(rank).is_sorted_by(|a, b| a > b));
    }

    #[test]
    fn words_end_before_the_next_run_of_spaces() {
        assert_eq!(["▁▁ab▁c", "ab", "▁▁", "a▁"].map(word_end), [8, 2, 6, 1]);
    }
}
