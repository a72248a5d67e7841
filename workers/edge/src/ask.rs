//! What a request asks for, as far as its place depends on it.

use std::borrow::Cow;
use std::fmt;

use serde::Deserialize;
use serde::de::{Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};

/// Letters of English text that make a token, about. What a prompt costs is estimated by it: the
/// tokenizer belongs to the model, which may be elsewhere.
const LETTERS_PER_TOKEN: usize = 4;

/// Where adapters come from that only a host can get, in LoRAX's words.
const FAR: [&str; 2] = ["hub", "s3"];

/// A longer text is no model's name.
const LONGEST_NAME: usize = 1000;

/// What the paths end with at which a model writes: `""`, `lorax` and `litellm` are whole paths.
const WRITES: [&str; 9] = [
    "",
    "batch",
    "chat",
    "completions",
    "generate",
    "generate_stream",
    "invocations",
    "litellm",
    "lorax",
];

/// Those at which it only reads, and at which it is loaded.
const READS: [&str; 4] = ["detokenize", "load", "logprob", "tokenize"];

/// A request's model and cost.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ask {
    /// It cannot be answered without a model. Facts and pages can, and what is not there.
    pub needs_model: bool,
    /// The model it names, if any; in OpenAI's dialect that may be an adapter.
    pub model: Option<String>,
    /// The adapter it names beside that (LoRAX).
    pub adapter: Option<String>,
    /// Its adapter is to be fetched from elsewhere.
    pub fetches: bool,
    /// Several adapters are to be merged.
    pub merges: bool,
    /// Estimated tokens of all prompts.
    pub prompt: usize,
    /// Most tokens of one answer; `None` where the request does not bound them.
    pub answer: Option<usize>,
    /// How many answers there are.
    pub answers: usize,
}

impl Ask {
    /// Reads a request, in whatever dialect. A body that is no JSON object asks for nothing in
    /// particular: whoever answers says what is wrong with it.
    pub fn read(method: &str, path: &str, body: &[u8]) -> Ask {
        let last = path.rsplit('/').next().unwrap_or_default();
        let writes = method == "POST" && WRITES.contains(&last);
        let reads = method == "POST" && (READS.contains(&last) || path.contains("/models/load/"));
        let Seen { fields, .. } = serde_json::from_slice(body).unwrap_or_default();
        let samples = fields.samples.unwrap_or(1).max(1);
        Ask {
            needs_model: writes || reads,
            model: engine(path).map(str::to_owned).or(fields.model),
            adapter: fields.adapter,
            fetches: fields.fetches,
            merges: fields.merges,
            prompt: tokens(body),
            answer: if writes { fields.bound } else { Some(0) },
            answers: samples.saturating_mul(fields.prompts.max(1)),
        }
    }

    /// Tokens it may take at most, where a context of `context` bounds an answer without a bound.
    pub fn tokens(&self, context: usize) -> usize {
        let answer = self.answer.unwrap_or(context);
        self.prompt
            .saturating_add(answer.saturating_mul(self.answers))
    }
}

/// TextSynth names the model in the path.
fn engine(path: &str) -> Option<&str> {
    let (_, after) = path.split_once("/v1/engines/")?;
    after.split('/').next().filter(|name| !name.is_empty())
}

/// An estimate that is rather too high: digits and signs are tokens, and other scripts may be one a byte.
fn tokens(body: &[u8]) -> usize {
    let is_letter = |byte: &&u8| byte.is_ascii_alphabetic() || **byte == b' ';
    let letters = body.iter().filter(is_letter).count();
    body.len() - letters + letters / LETTERS_PER_TOKEN
}

/// What matters of an object, whatever else is in it. Of several bounds the largest counts: dialects
/// differ in which one they look at.
#[derive(Default)]
struct Fields {
    model: Option<String>,
    adapter: Option<String>,
    fetches: bool,
    merges: bool,
    bound: Option<usize>,
    samples: Option<usize>,
    prompts: usize,
}

/// A value of any type, as what may be wanted of it. Nothing else of it is kept: bodies are large, and a
/// model leaves little memory.
#[derive(Default)]
struct Seen {
    name: Option<String>,
    number: Option<usize>,
    /// It is a prompt where it is in a list of them; a number is a token, an object a turn.
    is_prompt: bool,
    /// Prompts in this list.
    prompts: usize,
    fields: Fields,
}

impl<'de> Deserialize<'de> for Seen {
    fn deserialize<D: Deserializer<'de>>(json: D) -> Result<Seen, D::Error> {
        json.deserialize_any(Any)
    }
}

/// Reads a [`Seen`].
struct Any;

impl<'de> Visitor<'de> for Any {
    type Value = Seen;

    fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str("any value")
    }

    fn visit_unit<E>(self) -> Result<Seen, E> {
        Ok(Seen::default())
    }

    fn visit_bool<E>(self, _: bool) -> Result<Seen, E> {
        Ok(Seen::default())
    }

    fn visit_i64<E>(self, _: i64) -> Result<Seen, E> {
        Ok(Seen::default())
    }

    fn visit_f64<E>(self, _: f64) -> Result<Seen, E> {
        Ok(Seen::default())
    }

    fn visit_u64<E>(self, number: u64) -> Result<Seen, E> {
        Ok(Seen {
            number: Some(usize::try_from(number).unwrap_or(usize::MAX)),
            ..Seen::default()
        })
    }

    fn visit_str<E>(self, text: &str) -> Result<Seen, E> {
        let is_name = (1..=LONGEST_NAME).contains(&text.len());
        Ok(Seen {
            name: is_name.then(|| text.to_owned()),
            is_prompt: true,
            ..Seen::default()
        })
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Seen, A::Error> {
        let mut prompts = 0;
        while let Some(item) = list.next_element::<Seen>()? {
            prompts += usize::from(item.is_prompt);
        }
        Ok(Seen {
            is_prompt: true,
            prompts,
            ..Seen::default()
        })
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Seen, A::Error> {
        let mut fields = Fields::default();
        while let Some(Key(key)) = map.next_key()? {
            match &*key {
                "model" => fields.model = map.next_value::<Seen>()?.name.or(fields.model),
                "model_id" | "model_name" => {
                    let name = map.next_value::<Seen>()?.name;
                    fields.model = fields.model.or(name);
                }
                "adapter_id" => fields.adapter = map.next_value::<Seen>()?.name,
                "adapter_source" => {
                    let source = map.next_value::<Seen>()?.name;
                    fields.fetches = source.is_some_and(|word| FAR.contains(&&*word));
                }
                "merged_adapters" => {
                    fields.merges = map.next_value::<Option<IgnoredAny>>()?.is_some();
                }
                // OpenAI, LiteLLM and TextSynth; LoRAX; LocalLab.
                "max_completion_tokens" | "max_tokens" | "max_new_tokens" | "max_length" => {
                    fields.bound = fields.bound.max(map.next_value::<Seen>()?.number);
                }
                "n" | "best_of" => {
                    fields.samples = fields.samples.max(map.next_value::<Seen>()?.number);
                }
                "prompt" | "prompts" => {
                    fields.prompts = fields.prompts.max(map.next_value::<Seen>()?.prompts);
                }
                // LoRAX, LiteLLM.
                "parameters" | "params" => {
                    let inner = map.next_value::<Seen>()?.fields;
                    fields.adapter = fields.adapter.or(inner.adapter);
                    fields.fetches |= inner.fetches;
                    fields.merges |= inner.merges;
                    fields.bound = fields.bound.max(inner.bound);
                    fields.samples = fields.samples.max(inner.samples);
                    fields.prompts = fields.prompts.max(inner.prompts);
                }
                _ => {
                    map.next_value::<IgnoredAny>()?;
                }
            }
        }
        Ok(Seen {
            fields,
            ..Seen::default()
        })
    }
}

/// A name in an object, not copied where it has no escapes.
#[derive(Deserialize)]
struct Key<'a>(#[serde(borrow)] Cow<'a, str>);

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn ask(path: &str, body: Value) -> Ask {
        Ask::read("POST", path, body.to_string().as_bytes())
    }

    #[test]
    fn every_dialect_bounds_its_answers_in_its_own_words() {
        let cases = [
            ("/v1/chat/completions", json!({"max_tokens": 7}), 7),
            ("/v1/completions", json!({"max_tokens": 7, "n": 3}), 21),
            (
                "/lorax/generate",
                json!({"parameters": {"max_new_tokens": 9}}),
                9,
            ),
            ("/generate", json!({"prompt": "x", "max_length": 5}), 5),
            ("/litellm", json!({"params": {"max_tokens": 4}}), 4),
            ("/tokenize", json!({"prompt": "x", "max_tokens": 9}), 0),
            ("/v1/engines/m/logprob", json!({"context": "x"}), 0),
            ("/favicon.ico", json!({"max_tokens": 9}), 0),
            // Without a bound the context is one, for each answer.
            ("/v1/chat/completions", json!({"messages": []}), 100),
            ("/v1/completions", json!({"n": 2, "max_tokens": null}), 200),
            // The largest counts, wherever it stands.
            (
                "/v1/chat/completions",
                json!({"max_completion_tokens": 1, "max_tokens": 7}),
                7,
            ),
            (
                "/",
                json!({"max_completion_tokens": 1, "parameters": {"max_new_tokens": 9}}),
                9,
            ),
            (
                "/v1/completions",
                json!({"max_tokens": 2, "best_of": 1, "n": 10}),
                20,
            ),
            (
                "/",
                json!({"n": 2, "parameters": {"best_of": 3, "max_new_tokens": 2}}),
                6,
            ),
            // Several prompts have as many answers.
            (
                "/v1/completions",
                json!({"prompt": ["a", "b"], "max_tokens": 3, "n": 2}),
                12,
            ),
            (
                "/v1/completions",
                json!({"prompt": [[1, 2], [3]], "max_tokens": 3}),
                6,
            ),
            (
                "/v1/completions",
                json!({"prompt": [1, 2, 3], "max_tokens": 3}),
                3,
            ),
            (
                "/v1/completions",
                json!({"prompt": [{"role": "user"}], "max_tokens": 3}),
                3,
            ),
            (
                "/generate/batch",
                json!({"prompts": ["a", "b", "c"], "max_tokens": 3}),
                9,
            ),
            (
                "/litellm",
                json!({"params": {"prompt": ["a", "b"], "max_tokens": 4}}),
                8,
            ),
            // What another dialect would not take hides nothing.
            (
                "/generate/batch",
                json!({"n": "x", "params": 1, "prompts": ["a", "b"], "max_tokens": 3}),
                6,
            ),
        ];
        for (path, body, expected) in cases {
            let ask = ask(path, body.clone());
            assert_eq!(ask.tokens(100) - ask.prompt, expected, "{path} {body}");
        }
    }

    #[test]
    fn the_model_is_in_the_path_or_in_the_body() {
        let path = "/textsynth/v1/engines/gpt/completions";
        assert_eq!(ask(path, json!({})).model.as_deref(), Some("gpt"));
        let body = json!({"model_id": "other", "model": "m"});
        assert_eq!(ask("/v1/completions", body).model.as_deref(), Some("m"));
        let body = json!({"model_id": "m"});
        assert_eq!(ask("/chat", body).model.as_deref(), Some("m"));
        for none in [json!(""), json!(7), json!(null)] {
            assert_eq!(ask("/v1/completions", json!({"model": none})).model, None);
        }
    }

    #[test]
    fn adapters_are_among_loraxs_parameters_and_their_source_on_v1_beside_them() {
        let read = |parameters: Value| {
            let ask = ask(
                "/generate",
                json!({"inputs": "x", "parameters": parameters}),
            );
            (ask.adapter, ask.fetches, ask.merges)
        };
        let named = |fetches| (Some("a".to_owned()), fetches, false);
        assert_eq!(read(json!({"adapter_id": "a"})), named(false));
        for (source, fetches) in [
            ("local", false),
            ("hub", true),
            ("s3", true),
            ("moon", false),
        ] {
            let parameters = json!({"adapter_id": "a", "adapter_source": source});
            assert_eq!(read(parameters), named(fetches));
            let body = json!({"model": "a", "adapter_source": source});
            assert_eq!(ask("/v1/completions", body).fetches, fetches);
        }
        let merged = json!({"merged_adapters": {"ids": ["a", "b"], "weights": [1, 1]}});
        assert_eq!(read(merged), (None, false, true));
        let none = json!({"adapter_id": "", "adapter_source": null, "merged_adapters": null});
        assert_eq!(read(none), (None, false, false));
    }

    #[test]
    fn a_model_is_needed_to_answer_and_to_read_but_not_for_pages() {
        for path in [
            "/",
            "/lorax",
            "/v1/chat/completions",
            "/v1/engines/m/tokenize",
            "/models/load/m",
        ] {
            assert!(ask(path, json!({})).needs_model, "{path}");
            assert!(!Ask::read("GET", path, b"").needs_model, "{path}");
        }
        for path in [
            "/favicon.ico",
            "/docs",
            "/system/instructions",
            "/models/unload",
        ] {
            assert!(!ask(path, json!({})).needs_model, "{path}");
        }
    }

    #[test]
    fn any_body_is_read() {
        for body in [
            &b"[1"[..],
            b"",
            b"\xff",
            b"3",
            b"[]",
            b"{\"max_tokens\": -1}",
        ] {
            let ask = Ask::read("POST", "/v1/completions", body);
            assert_eq!((ask.model, ask.answer, ask.answers), (None, None, 1));
        }
        let huge = json!({"max_tokens": u64::MAX, "n": u64::MAX, "prompt": ["x", "y"]});
        assert_eq!(ask("/v1/completions", huge).tokens(10), usize::MAX);
    }

    #[test]
    fn a_prompt_costs_rather_more_than_it_will() {
        let cost = |text: &str| tokens(text.as_bytes());
        assert_eq!(cost("word and word so"), 4);
        assert_eq!(cost("31415926"), 8);
        // No tokenizer that falls back on bytes makes more of it.
        assert_eq!(cost("漢字"), 6);
        assert!(cost(r"\u6f22\u5b57") >= 6, "as Python writes it");
    }
}
