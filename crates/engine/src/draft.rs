//! Guesses at an answer's next tokens: what followed when its last tokens stood in prompt or answer
//! before (prompt lookup decoding, Saxena 2023). The model checks them all in one step.

/// Last tokens that must have stood there before.
const REPEATED: usize = 3;

/// `count` tokens that may follow `tokens`, those after the latest repetition of the last ones; none
/// where these are new.
pub(crate) fn draft(tokens: &[u32], count: usize) -> Vec<u32> {
    let Some(start) = repetition(tokens) else {
        return Vec::new();
    };
    let mut draft = Vec::with_capacity(count);
    for at in start..start + count {
        // Where the repetition is near, the guess goes on with itself.
        let token = tokens.get(at).copied();
        draft.push(token.unwrap_or_else(|| draft[at - tokens.len()]));
    }
    draft
}

/// The place after the latest earlier occurrence of the last tokens.
fn repetition(tokens: &[u32]) -> Option<usize> {
    let last = tokens.last_chunk::<REPEATED>()?;
    let earlier = &tokens[..tokens.len() - 1];
    let found = earlier
        .windows(REPEATED)
        .rposition(|window| window == last)?;
    Some(found + REPEATED)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_followed_the_latest_repetition_is_guessed() {
        let tokens = [1, 2, 3, 4, 5, 1, 2, 3, 6, 7, 8, 9, 1, 2, 3];
        assert_eq!(draft(&tokens, 2), [6, 7]);
        // Two tokens are no repetition.
        for (tokens, count) in [
            (&tokens[..], 0),
            (&tokens[..14], 2),
            (&[1, 2, 3], 2),
            (&[], 2),
        ] {
            assert!(draft(tokens, count).is_empty(), "{tokens:?}");
        }
    }

    #[test]
    fn a_guess_near_the_end_goes_on_with_itself() {
        assert_eq!(draft(&[9, 5, 5, 5, 5], 4), [5, 5, 5, 5]);
        assert_eq!(draft(&[1, 2, 1, 2, 1, 2], 5), [1, 2, 1, 2, 1]);
        assert_eq!(
            draft(&[1, 2, 3, 4, 1, 2, 3], 9),
            [4, 1, 2, 3, 4, 1, 2, 3, 4]
        );
    }
}
