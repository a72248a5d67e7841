//! A model's vocabulary as a tree of bytes, which masks are computed on.

use std::sync::Arc;

use llguidance::ParserFactory;
use llguidance::toktrie::{ApproximateTokEnv, INVALID_TOKEN, TokEnv, TokRxInfo, TokTrie};

use crate::Vocabulary;

/// Longest token that can be chosen, in bytes: the tree is no deeper.
const LONGEST: usize = 1000;

/// Most bytes of all tokens together: the tree has no more nodes.
const TREE: usize = (1 << 22) - 1;

/// Lexer states of one sequence, which hold one or two kilobytes each. Ordinary schemas need some
/// hundreds.
const STATES: usize = 20_000;

/// What compiles grammars for a vocabulary of `vocab` token ids.
pub(super) fn factory(vocabulary: &dyn Vocabulary, vocab: usize) -> Result<ParserFactory, String> {
    let words: Vec<Vec<u8>> = (0..vocab as u32).map(|id| word(vocabulary, id)).collect();
    let bytes: usize = words.iter().map(Vec::len).sum();
    if bytes > TREE {
        return Err(format!("its tokens have {bytes} bytes, at most {TREE}"));
    }
    let ends = vocabulary.end_tokens().iter().copied();
    let ends: Vec<u32> = ends.filter(|id| (*id as usize) < vocab).collect();
    let end = ends.first().copied().unwrap_or(INVALID_TOKEN);
    let mut tree = TokTrie::from(&TokRxInfo::new(vocab as u32, end), &words);
    if !ends.is_empty() {
        tree = tree.with_eos_tokens(&ends);
    }
    // "Approximate" is how it would tokenize text, which nothing here asks for: whatever spells the
    // text is allowed, and the model chooses how.
    let env: TokEnv = Arc::new(ApproximateTokEnv::new(tree));
    let mut factory = ParserFactory::new_simple(&env).map_err(|error| error.to_string())?;
    factory.quiet();
    let limits = factory.limits_mut();
    limits.verbose_errors = false;
    limits.max_lexer_states = STATES;
    Ok(factory)
}

/// A token's bytes; none where it cannot be chosen as text. Marks begin with a byte that no text
/// has, so that only their own name in a grammar means them.
fn word(vocabulary: &dyn Vocabulary, id: u32) -> Vec<u8> {
    let bytes = vocabulary.bytes(id);
    if bytes.is_empty() || bytes.len() > LONGEST {
        return Vec::new();
    }
    if vocabulary.is_special(id) {
        return [&[TokTrie::SPECIAL_TOKEN_MARKER], &bytes[..]].concat();
    }
    bytes
}
