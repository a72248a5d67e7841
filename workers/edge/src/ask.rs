//! What a request asks for, as far as its place depends on it.

use serde_json::Value;

/// Bytes of English text that make a token, about. What a prompt costs is estimated by it: the
/// tokenizer belongs to the model, which may be elsewhere.
const BYTES_PER_TOKEN: usize = 4;

/// A request's model and cost.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ask {
    /// The model it names, if any.
    pub model: Option<String>,
    /// Estimated tokens of all prompts.
    pub prompt: usize,
    /// Most tokens of all answers; `None` where the request does not bound them.
    pub answer: Option<usize>,
}

/// Where dialects keep the bound on an answer: OpenAI, LoRAX and LocalLab, TextSynth, LiteLLM.
const BOUNDS: [&[&str]; 6] = [
    &["max_completion_tokens"],
    &["max_tokens"],
    &["max_new_tokens"],
    &["max_length"],
    &["parameters", "max_new_tokens"],
    &["params", "max_tokens"],
];

/// Where they keep how many answers there are.
const COUNTS: [&[&str]; 3] = [&["best_of"], &["n"], &["parameters", "best_of"]];

impl Ask {
    /// Reads a request's path and body, in whatever dialect. A body that is no JSON object asks for
    /// nothing in particular: whoever answers says what is wrong with it.
    pub fn read(path: &str, body: &[u8]) -> Ask {
        let fields: Value = serde_json::from_slice(body).unwrap_or_default();
        let named = ["model", "model_id", "model_name"]
            .iter()
            .find_map(|key| fields[key].as_str());
        let model = engine(path).or(named).filter(|name| !name.is_empty());
        let answers = COUNTS.iter().find_map(|keys| number(&fields, keys));
        let bound = BOUNDS.iter().find_map(|keys| number(&fields, keys));
        // Scoring, tokenizing and asking for facts write nothing.
        let writes = ["generate", "completions", "chat", "invocations", "litellm"];
        let silent = !writes.iter().any(|word| path.contains(word)) && path != "/";
        Ask {
            model: model.map(str::to_owned),
            prompt: body.len() / BYTES_PER_TOKEN,
            answer: match silent {
                true => Some(0),
                false => bound.map(|tokens| tokens.saturating_mul(answers.unwrap_or(1).max(1))),
            },
        }
    }

    /// Tokens it may take at most, where a context of `context` bounds an answer without a bound.
    pub fn tokens(&self, context: usize) -> usize {
        let answer = self.answer.unwrap_or(context);
        self.prompt.saturating_add(answer)
    }
}

/// TextSynth names the model in the path.
fn engine(path: &str) -> Option<&str> {
    let (_, after) = path.split_once("/v1/engines/")?;
    after.split('/').next()
}

fn number(fields: &Value, keys: &[&str]) -> Option<usize> {
    let found = keys.iter().try_fold(fields, |value, key| value.get(key))?;
    found.as_u64().and_then(|n| usize::try_from(n).ok())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn ask(path: &str, body: Value) -> Ask {
        Ask::read(path, body.to_string().as_bytes())
    }

    #[test]
    fn every_dialect_bounds_its_answer_in_its_own_words() {
        let cases = [
            ("/v1/chat/completions", json!({"max_tokens": 7}), Some(7)),
            (
                "/v1/chat/completions",
                json!({"max_completion_tokens": 8, "max_tokens": 7}),
                Some(8),
            ),
            (
                "/v1/completions",
                json!({"max_tokens": 7, "n": 3}),
                Some(21),
            ),
            (
                "/generate",
                json!({"inputs": "x", "parameters": {"max_new_tokens": 9}}),
                Some(9),
            ),
            (
                "/generate",
                json!({"prompt": "x", "max_length": 5}),
                Some(5),
            ),
            (
                "/litellm",
                json!({"model": "m", "params": {"max_tokens": 4}}),
                Some(4),
            ),
            ("/v1/chat/completions", json!({"messages": []}), None),
            ("/tokenize", json!({"prompt": "x"}), Some(0)),
            ("/v1/engines/m/logprob", json!({"context": "x"}), Some(0)),
        ];
        for (path, body, expected) in cases {
            assert_eq!(ask(path, body.clone()).answer, expected, "{path} {body}");
        }
    }

    #[test]
    fn the_model_is_in_the_path_or_in_the_body() {
        let path = "/textsynth/v1/engines/gpt/completions";
        assert_eq!(ask(path, json!({})).model.as_deref(), Some("gpt"));
        let body = json!({"model": "m"});
        assert_eq!(ask("/v1/completions", body).model.as_deref(), Some("m"));
        assert_eq!(ask("/v1/completions", json!({"model": ""})).model, None);
    }

    #[test]
    fn any_body_is_read_and_costs_at_least_its_bytes() {
        for body in [&b"[1"[..], b"", b"\xff", b"3", b"{\"max_tokens\": -1}"] {
            let ask = Ask::read("/v1/completions", body);
            assert_eq!((ask.model, ask.answer), (None, None));
        }
        let huge = json!({"max_tokens": u64::MAX, "n": u64::MAX, "prompt": "x".repeat(4000)});
        assert_eq!(ask("/v1/completions", huge.clone()).tokens(10), usize::MAX);
        assert!(ask("/v1/completions", huge).prompt >= 1000);
    }
}
