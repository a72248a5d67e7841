//! Token bytes in, text out: whole characters, and nothing a stop string might still take back.

use aho_corasick::automaton::StateID;
use tinderbox_protocol::Error;

use crate::stops::Stops;

/// The text of one answer while it grows.
///
/// The stop string whose last byte comes first wins, so the answer does not depend on how the text
/// is cut into tokens; of several that end at the same byte the longest wins.
pub(crate) struct TextStream {
    stops: Option<(Stops, StateID)>,
    /// Bytes that are not text yet: part of a character, or of a possible stop string.
    pending: Vec<u8>,
    /// Leave the stop string in the text.
    include: bool,
}

/// What a token added.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Piece {
    /// Text that is certain now.
    pub text: String,
    /// The stop string that ended the answer.
    pub stop: Option<String>,
}

impl TextStream {
    /// # Errors
    /// Stop strings that are empty or too long together.
    pub fn new(stops: Vec<String>, include: bool) -> Result<TextStream, Error> {
        let stops = if stops.is_empty() {
            None
        } else {
            Some(Stops::new(stops)?)
        };
        let stops = stops.map(|stops| {
            let start = stops.start();
            (stops, start)
        });
        Ok(TextStream {
            stops,
            pending: Vec::new(),
            include,
        })
    }

    /// Adds a token's bytes. A stop string that ends in them counts only if `may_stop`.
    pub fn push(&mut self, bytes: &[u8], may_stop: bool) -> Piece {
        let mut held = 0;
        if let Some((stops, state)) = &mut self.stops {
            for (index, byte) in bytes.iter().enumerate() {
                *state = stops.next(*state, *byte);
                let Some(stop) = stops.matched(*state).filter(|_| may_stop) else {
                    continue;
                };
                let stop = stop.to_owned();
                self.pending.extend_from_slice(&bytes[..=index]);
                if !self.include {
                    self.pending.truncate(self.pending.len() - stop.len());
                }
                return Piece {
                    text: self.finish(),
                    stop: Some(stop),
                };
            }
            // What stays in the text anyway need not wait.
            held = if self.include { 0 } else { stops.held(*state) };
        }
        self.pending.extend_from_slice(bytes);
        Piece {
            text: self.take(held),
            stop: None,
        }
    }

    /// The text that was held back, when no more comes. An unfinished character is U+FFFD.
    pub fn finish(&mut self) -> String {
        String::from_utf8_lossy(&std::mem::take(&mut self.pending)).into_owned()
    }

    /// Takes the certain text before the last `held` bytes.
    fn take(&mut self, held: usize) -> String {
        let end = self.pending.len() - held;
        let mut text = String::new();
        let mut taken = 0;
        for chunk in self.pending[..end].utf8_chunks() {
            text.push_str(chunk.valid());
            taken += chunk.valid().len();
            let broken = chunk.invalid();
            let unfinished = std::str::from_utf8(broken).is_err_and(|e| e.error_len().is_none());
            if broken.is_empty() || (unfinished && taken + broken.len() == end) {
                break; // The next token may complete the character.
            }
            text.push(char::REPLACEMENT_CHARACTER);
            taken += broken.len();
        }
        self.pending.drain(..taken);
        text
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn stream(stops: &[&str]) -> TextStream {
        TextStream::new(stops.iter().map(|s| s.to_string()).collect(), false).unwrap()
    }

    /// All pieces of a run over tokens, and the stop string that ended it.
    fn run(
        stream: &mut TextStream,
        tokens: &[Vec<u8>],
        min: usize,
    ) -> (Vec<String>, Option<String>) {
        let mut pieces = Vec::new();
        for (index, token) in tokens.iter().enumerate() {
            let piece = stream.push(token, index >= min);
            pieces.push(piece.text);
            if piece.stop.is_some() {
                return (pieces, piece.stop);
            }
        }
        pieces.push(stream.finish());
        (pieces, None)
    }

    /// The same by looking at the whole text after each byte.
    fn naive(
        tokens: &[Vec<u8>],
        stops: &[String],
        min: usize,
        include: bool,
    ) -> (String, Option<String>) {
        let mut seen: Vec<u8> = Vec::new();
        for (index, token) in tokens.iter().enumerate() {
            for byte in token {
                seen.push(*byte);
                let ends = stops
                    .iter()
                    .filter(|s| index >= min && seen.ends_with(s.as_bytes()));
                if let Some(stop) = ends.max_by_key(|s| s.len()) {
                    let cut = seen.len() - if include { 0 } else { stop.len() };
                    return (
                        String::from_utf8_lossy(&seen[..cut]).into_owned(),
                        Some(stop.clone()),
                    );
                }
            }
        }
        (String::from_utf8_lossy(&seen).into_owned(), None)
    }

    #[test]
    fn a_character_is_never_split() {
        let mut text = stream(&[]);
        let bytes = "a🦀é".as_bytes();
        let pieces: Vec<String> = bytes.iter().map(|b| text.push(&[*b], true).text).collect();
        assert_eq!(pieces, ["a", "", "", "", "🦀", "", "é"]);
    }

    #[test]
    fn a_stop_string_across_tokens_is_held_back_and_given_back_when_it_was_none() {
        let mut text = stream(&["\n\nUser"]);
        assert_eq!(text.push(b"hi\n", true).text, "hi");
        assert_eq!(text.push(b"\nUs", true).text, "");
        assert_eq!(text.push(b"ual", true).text, "\n\nUsual");
        assert_eq!(text.push(b"\n\n", true).text, "");
        let end = text.push(b"User: x", true);
        assert_eq!(
            (end.text.as_str(), end.stop.as_deref()),
            ("", Some("\n\nUser"))
        );
        assert_eq!(text.finish(), "");
    }

    #[test]
    fn what_is_held_back_at_the_end_is_given() {
        let mut text = stream(&["STOP"]);
        assert_eq!(text.push(b"ST", true).text, "");
        assert_eq!(text.finish(), "ST");
    }

    #[test]
    fn only_possible_stop_text_is_held_back() {
        let mut text = stream(&["a very long stop string", "\n"]);
        assert_eq!(text.push(b"It is a", true).text, "It is ");
        assert_eq!(text.push(b" man", true).text, "a man");
    }

    #[test]
    fn ten_thousand_stop_strings_work() {
        let mut strings: Vec<String> = (0..10_000).map(|i| format!("stop {i}.")).collect();
        strings.push("zebra".into());
        let mut text = TextStream::new(strings, false).unwrap();
        assert_eq!(text.push(b"a stop 99", true).text, "a ");
        let end = text.push(b"99. and so on", true);
        assert_eq!(
            (end.text.as_str(), end.stop.as_deref()),
            ("", Some("stop 9999."))
        );
    }

    #[test]
    fn empty_and_endless_stop_strings_are_refused() {
        for strings in [
            vec!["a".into(), String::new()],
            vec!["x".repeat(crate::stops::MAX_BYTES + 1)],
        ] {
            let Err(Error::Invalid { field, .. }) = TextStream::new(strings, false) else {
                panic!("accepted")
            };
            assert_eq!(field, "stop");
        }
    }

    proptest! {
        #[test]
        fn pieces_together_are_the_naive_answer(
            tokens in prop::collection::vec(
                prop_oneof![
                    "[ab]{0,4}".prop_map(String::into_bytes),
                    "[aé🦀]{0,2}".prop_map(String::into_bytes),
                    prop::collection::vec(any::<u8>(), 0..3),
                    prop::sample::select(vec![vec![0xF0, 0x9F], vec![0xA6, 0x80], vec![0xC3]]),
                ],
                0..20,
            ),
            stops in prop::collection::vec("[abé🦀]{1,4}", 0..4),
            min in 0usize..6,
            include: bool,
        ) {
            let mut text = TextStream::new(stops.clone(), include).unwrap();
            let (pieces, stop) = run(&mut text, &tokens, min);
            let (expected, expected_stop) = naive(&tokens, &stops, min, include);
            prop_assert_eq!(pieces.concat(), expected);
            prop_assert_eq!(stop, expected_stop);
        }
    }
}
