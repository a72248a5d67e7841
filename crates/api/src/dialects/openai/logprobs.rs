//! Log-probabilities in the two shapes OpenAI has. Values are written as the shortest decimal that
//! reads back as the same f32, so a client may compare them for equality.

use serde::ser::SerializeMap;
use serde::{Serialize, Serializer};
use tinderbox_protocol::TokenLogprob;
use utoipa::ToSchema;

use super::wire::Options;
use crate::tokens::{FLOOR, Offset, finite};

/// How tokens are named.
#[derive(Clone, Copy)]
pub(super) enum Names {
    /// By their text.
    Text,
    /// As `token_id:7`.
    Ids,
}

impl Names {
    pub fn of(options: &Options) -> Names {
        match options.return_tokens_as_token_ids {
            Some(true) => Names::Ids,
            _ => Names::Text,
        }
    }

    /// A name that differs between tokens: half a character is written as its bytes.
    fn distinct(self, id: u32, bytes: &[u8]) -> String {
        match (self, std::str::from_utf8(bytes)) {
            (Names::Ids, _) => format!("token_id:{id}"),
            (Names::Text, Ok(text)) => text.into(),
            (Names::Text, Err(_)) => {
                let bytes = bytes.iter().map(|byte| format!("\\x{byte:02x}"));
                format!("bytes:{}", bytes.collect::<String>())
            }
        }
    }

    /// A name beside which the bytes stand.
    fn readable(self, id: u32, bytes: &[u8]) -> String {
        match self {
            Names::Ids => self.distinct(id, bytes),
            Names::Text => String::from_utf8_lossy(bytes).into_owned(),
        }
    }
}

/// The completions endpoint's shape: parallel arrays.
#[derive(Default, Serialize, ToSchema)]
#[schema(as = CompletionLogprobs)]
pub(super) struct Legacy {
    /// Characters before each token.
    text_offset: Vec<usize>,
    /// Null for the first token of a sequence.
    token_logprobs: Vec<Option<f32>>,
    tokens: Vec<String>,
    /// Token names to logprobs, best first, the chosen token among them.
    #[schema(value_type = Vec<Option<BTreeMap<String, f32>>>)]
    top_logprobs: Vec<Option<Best>>,
}

impl Legacy {
    /// The arrays for tokens that follow one another.
    pub fn of<'a>(
        tokens: impl IntoIterator<Item = &'a TokenLogprob>,
        names: Names,
        offset: &mut Offset,
    ) -> Legacy {
        let mut arrays = Legacy::default();
        for token in tokens {
            arrays.text_offset.push(offset.step(&token.bytes).start);
            arrays.token_logprobs.push(token.logprob.map(finite));
            arrays.tokens.push(names.distinct(token.id, &token.bytes));
            arrays.top_logprobs.push(Best::of(token, names));
        }
        arrays
    }
}

/// Token names to logprobs, best first.
#[derive(Debug, PartialEq)]
struct Best(Vec<(String, f32)>);

impl Best {
    /// The alternatives and the chosen token. Of tokens with one name the most likely counts:
    /// lm-evaluation-harness compares the chosen token's value with the largest one here.
    fn of(token: &TokenLogprob, names: Names) -> Option<Best> {
        let chosen = (names.distinct(token.id, &token.bytes), token.logprob?);
        let top = token.top.iter();
        let top = top.map(|other| (names.distinct(other.id, &other.bytes), other.logprob));
        let mut best: Vec<(String, f32)> = Vec::with_capacity(token.top.len() + 1);
        for (name, value) in top.chain([chosen]) {
            match best.iter_mut().find(|(other, _)| *other == name) {
                Some((_, other)) => *other = other.max(finite(value)),
                None => best.push((name, finite(value))),
            }
        }
        Some(Best(best))
    }
}

impl Serialize for Best {
    fn serialize<S: Serializer>(&self, json: S) -> Result<S::Ok, S::Error> {
        let mut map = json.serialize_map(Some(self.0.len()))?;
        for (name, value) in &self.0 {
            map.serialize_entry(name, value)?;
        }
        map.end()
    }
}

/// The chat endpoint's shape: an object a token.
#[derive(Serialize, ToSchema)]
#[schema(as = ChatLogprobs)]
pub(super) struct Content {
    content: Vec<Token>,
}

/// A token and what could have stood in its place.
#[derive(Serialize, ToSchema)]
#[schema(as = ChatToken)]
struct Token {
    #[serde(flatten)]
    own: Alternative,
    top_logprobs: Vec<Alternative>,
}

/// A token with its probability.
#[derive(Serialize, ToSchema)]
struct Alternative {
    token: String,
    logprob: f32,
    bytes: Vec<u8>,
}

impl Content {
    /// `None` where no logprobs were asked.
    pub fn of(tokens: &[TokenLogprob], names: Names) -> Option<Content> {
        let alternative = |id, bytes: &[u8], logprob| Alternative {
            token: names.readable(id, bytes),
            logprob: finite(logprob),
            bytes: bytes.to_vec(),
        };
        let content = tokens.iter().map(|token| Token {
            own: alternative(token.id, &token.bytes, token.logprob.unwrap_or(FLOOR)),
            top_logprobs: (token.top.iter())
                .map(|other| alternative(other.id, &other.bytes, other.logprob))
                .collect(),
        });
        let content: Vec<Token> = content.collect();
        (!content.is_empty()).then_some(Content { content })
    }
}

#[cfg(test)]
mod tests {
    use tinderbox_protocol::Logprob;

    use super::*;

    fn token(bytes: &[u8], logprob: f32, top: &[(&str, f32)]) -> TokenLogprob {
        let top = top.iter().map(|(text, logprob)| Logprob {
            id: 0,
            bytes: text.as_bytes().to_vec(),
            logprob: *logprob,
        });
        TokenLogprob {
            id: 7,
            bytes: bytes.to_vec(),
            logprob: Some(logprob),
            top: top.collect(),
        }
    }

    #[test]
    fn a_token_that_shares_its_text_with_the_best_one_does_not_look_greedy() {
        let best = Best::of(&token(b"a", -2.0, &[("a", -0.5)]), Names::Text).unwrap();
        assert_eq!(best, Best(vec![("a".into(), -0.5)]));
    }

    #[test]
    fn the_chosen_token_is_among_the_best_even_with_no_alternatives() {
        let best = Best::of(&token(b"x", -3.0, &[]), Names::Text).unwrap();
        assert_eq!(best, Best(vec![("x".into(), -3.0)]));
    }

    #[test]
    fn minus_infinity_is_written_as_a_number_and_floats_read_back_the_same() {
        let value = -0.1f32.next_up();
        let tokens = [
            token(b"a", f32::NEG_INFINITY, &[]),
            token(b"b", value, &[]),
            token(&[0xF0, 0x9F], -1.0, &[]),
        ];
        let arrays = Legacy::of(&tokens, Names::Text, &mut Offset::default());
        let json = serde_json::to_value(&arrays).unwrap();
        assert_eq!(json["token_logprobs"][0], -9999.0);
        assert_eq!(json["tokens"][2], "bytes:\\xf0\\x9f");
        let text = serde_json::to_string(&arrays).unwrap();
        let back: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert_eq!(back["token_logprobs"][1].as_f64().unwrap() as f32, value);
        assert_eq!(back["token_logprobs"][1], back["top_logprobs"][1]["b"]);
    }
}
