//! Messages with calls of tools, whole and in pieces.

use serde::Serialize;
use sha2::{Digest, Sha256};
use tinderbox_protocol::Token;
use utoipa::ToSchema;

use crate::answer::Answer;
use crate::tools::{Offer, Part, Reader, Syntax};

/// An assistant's message.
#[derive(Serialize, ToSchema)]
#[schema(as = ChatMessage)]
pub(super) struct Message {
    role: &'static str,
    /// Null where there are calls and nothing was said before them.
    content: Option<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schema(required = false)]
    tool_calls: Vec<Call>,
}

impl Message {
    pub fn text(text: String) -> Message {
        Message {
            role: "assistant",
            content: Some(text),
            tool_calls: Vec::new(),
        }
    }

    /// Whether there are calls.
    pub fn called(&self) -> bool {
        !self.tool_calls.is_empty()
    }
}

/// What is added to a message.
#[derive(Default, Serialize, ToSchema)]
#[schema(as = ChatDelta)]
pub(super) struct Delta {
    #[serde(skip_serializing_if = "Option::is_none")]
    role: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    content: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Vec<Call>>)]
    tool_calls: Option<[Call; 1]>,
}

impl Delta {
    /// What begins an assistant's message.
    pub fn assistant() -> Delta {
        Delta {
            role: Some("assistant"),
            ..Delta::empty()
        }
    }

    /// No more text.
    pub fn empty() -> Delta {
        Delta {
            content: Some(String::new()),
            ..Delta::default()
        }
    }

    /// More text, where there is any.
    pub fn text(text: String) -> Vec<Delta> {
        let delta = |text| Delta {
            content: Some(text),
            ..Delta::default()
        };
        Some(text)
            .filter(|text| !text.is_empty())
            .map(delta)
            .into_iter()
            .collect()
    }

    fn call(call: Call) -> Delta {
        Delta {
            tool_calls: Some([call]),
            ..Delta::default()
        }
    }
}

/// A call, or what is added to one.
#[derive(Serialize, ToSchema)]
#[schema(as = ChatCall)]
pub(super) struct Call {
    /// Its place among the message's calls, in a stream.
    #[serde(skip_serializing_if = "Option::is_none")]
    index: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<String>,
    /// `function`.
    #[serde(rename = "type", skip_serializing_if = "Option::is_none")]
    kind: Option<&'static str>,
    function: Function,
}

/// What is called.
#[derive(Serialize, ToSchema)]
#[schema(as = ChatFunction)]
struct Function {
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<String>,
    /// JSON, or a piece of it.
    arguments: String,
}

/// The calls to look for in the choices of an answer.
pub(super) struct Calls {
    answer: String,
    offer: Offer,
    syntax: Syntax,
    sure: bool,
}

impl Calls {
    /// `answer` is the answer's id. Calls are `sure` where a grammar makes them.
    pub fn new(answer: &str, offer: Offer, syntax: Syntax, sure: bool) -> Calls {
        Calls {
            answer: answer.into(),
            offer,
            syntax,
            sure,
        }
    }

    /// A choice that is read from its first token.
    pub fn open(&self, index: usize) -> Opened {
        let most = if self.offer.parallel { usize::MAX } else { 1 };
        let tools = &self.offer.tools;
        Opened {
            reader: Reader::new(self.syntax.clone(), tools, self.sure, most),
            choice: format!("{}-{index}", self.answer),
            calls: 0,
        }
    }

    /// The message of a whole choice.
    pub fn message(&self, index: usize, answer: &Answer) -> Message {
        let mut opened = self.open(index);
        let tokens = answer.tokens.iter();
        let mut deltas: Vec<Delta> = tokens.flat_map(|token| opened.token(token)).collect();
        // The end's text is the last token's.
        deltas.extend(opened.end(""));
        let mut message = Message {
            content: None,
            ..Message::text(String::new())
        };
        for delta in deltas {
            if let Some(text) = delta.content {
                message.content.get_or_insert_default().push_str(&text);
            }
            for call in delta.tool_calls.into_iter().flatten() {
                match (call.id.is_some(), message.tool_calls.last_mut()) {
                    (false, Some(last)) => last.function.arguments += &call.function.arguments,
                    _ => message.tool_calls.push(Call {
                        index: None,
                        ..call
                    }),
                }
            }
        }
        if !message.called() {
            message.content.get_or_insert_default();
        }
        message
    }
}

/// A choice that is read for calls.
pub(super) struct Opened {
    reader: Reader,
    choice: String,
    /// Calls so far.
    calls: usize,
}

impl Opened {
    /// What a token adds.
    pub fn token(&mut self, token: &Token) -> Vec<Delta> {
        let text = self.reader.syntax().text(token);
        let parts = self.reader.push(&text);
        self.deltas(parts)
    }

    /// What the last text adds.
    pub fn end(&mut self, text: &str) -> Vec<Delta> {
        let mut parts = self.reader.push(text);
        parts.extend(self.reader.end());
        self.deltas(parts)
    }

    /// Whether there was a call.
    pub fn called(&self) -> bool {
        self.calls > 0
    }

    fn deltas(&mut self, parts: Vec<Part>) -> Vec<Delta> {
        let deltas = parts.into_iter().flat_map(|part| match part {
            Part::Text(text) => Delta::text(text),
            Part::Call(name) => {
                self.calls += 1;
                vec![Delta::call(Call {
                    index: Some(self.calls - 1),
                    id: Some(self.id()),
                    kind: Some("function"),
                    function: Function {
                        name: Some(name),
                        arguments: String::new(),
                    },
                })]
            }
            Part::Arguments(arguments) => vec![Delta::call(Call {
                index: Some(self.calls - 1),
                id: None,
                kind: None,
                function: Function {
                    name: None,
                    arguments,
                },
            })],
        });
        deltas.collect()
    }

    /// The last call's: nine letters and digits, because Mistral's templates take no other.
    fn id(&self) -> String {
        let sum = Sha256::digest(format!("{}-{}", self.choice, self.calls));
        let mut id = hex::encode(sum);
        id.truncate(9);
        id
    }
}
