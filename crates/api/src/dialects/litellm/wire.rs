//! Bodies, field by field. A field that is absent or null has the default of its doc; fields that
//! are not here are ignored.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::text_or::TextOr;

/// What LiteLLM's custom provider sends.
#[derive(Deserialize, ToSchema)]
#[schema(as = Completion)]
pub(super) struct Ask {
    /// Default: the current model.
    pub model: Option<String>,
    /// Required, for the prompt.
    #[schema(required, value_type = Params)]
    pub params: Option<Params>,
}

/// What to continue and how.
#[derive(Deserialize, ToSchema)]
pub(super) struct Params {
    /// Required; one or several. LiteLLM sends the contents of all messages as one text in a list.
    #[schema(required, value_type = TextOr<String>)]
    pub prompt: Option<TextOr<String>>,
    /// New tokens.
    #[schema(minimum = 1, default = 256)]
    pub max_tokens: Option<i64>,
    /// 0 is greedy.
    #[schema(minimum = 0, default = 1)]
    pub temperature: Option<f64>,
    /// Keep the smallest set of tokens whose probability reaches this; 1 keeps all.
    #[schema(minimum = 0, maximum = 1, default = 1)]
    pub top_p: Option<f64>,
    /// Keep this many best tokens; 0 keeps all.
    #[schema(minimum = 0, default = 0)]
    pub top_k: Option<i64>,
}

/// The answer.
#[derive(Serialize, ToSchema)]
pub(super) struct Answer {
    /// One entry a prompt, in their order.
    pub data: Vec<Datum>,
    /// `ok`.
    pub message: &'static str,
}

/// The answer to one prompt.
#[derive(Serialize, ToSchema)]
pub(super) struct Datum {
    pub prompt: String,
    /// Exactly one text. It begins with the prompt where the server is set so.
    pub output: Vec<String>,
    pub params: Effective,
}

/// The values that were used.
#[derive(Clone, Copy, Serialize, ToSchema)]
pub(super) struct Effective {
    pub temperature: f32,
    /// 0 keeps all.
    pub top_k: usize,
    pub top_p: f32,
}
