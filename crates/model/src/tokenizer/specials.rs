//! Tokens that are one token wherever they are written out, found before anything else.

use aho_corasick::{AhoCorasick, MatchKind};

/// A part of a text.
pub(super) enum Piece<'t> {
    /// A special token.
    Token(u32),
    /// Anything else; not empty.
    Text(&'t str),
}

/// Finds special tokens: leftmost first, then longest.
pub(super) struct Specials {
    finder: Option<AhoCorasick>,
    /// Of each pattern: its token, and whether white space behind it belongs to it.
    tokens: Vec<(u32, bool)>,
}

impl Specials {
    /// Tokens as text, id, and whether white space behind them is dropped (Phi-3).
    ///
    /// # Errors
    /// Where the texts are too many or too long to search for, in words.
    pub fn new(tokens: impl Iterator<Item = (String, u32, bool)>) -> Result<Self, String> {
        let (texts, tokens): (Vec<_>, Vec<_>) = tokens
            .filter(|(text, ..)| !text.is_empty())
            .map(|(text, id, strip)| (text, (id, strip)))
            .unzip();
        let finder = match texts.is_empty() {
            true => None,
            false => Some(
                AhoCorasick::builder()
                    .match_kind(MatchKind::LeftmostLongest)
                    .build(&texts)
                    .map_err(|e| format!("special tokens: {e}"))?,
            ),
        };
        Ok(Specials { finder, tokens })
    }

    /// Calls `each` with the parts of a text, in order.
    pub fn split<'t>(&self, text: &'t str, mut each: impl FnMut(Piece<'t>)) {
        let mut at = 0;
        let matches = self.finder.iter().flat_map(|finder| finder.find_iter(text));
        for found in matches {
            // White space that the token before took may hold a token's beginning.
            if found.start() < at {
                continue;
            }
            if found.start() > at {
                each(Piece::Text(&text[at..found.start()]));
            }
            let (id, strip) = self.tokens[found.pattern().as_usize()];
            each(Piece::Token(id));
            at = found.end();
            if strip {
                at += text[at..].len() - text[at..].trim_start().len();
            }
        }
        if at < text.len() {
            each(Piece::Text(&text[at..]));
        }
    }
}
