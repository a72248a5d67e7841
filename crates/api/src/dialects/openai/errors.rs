//! Failures in OpenAI's shape: `{"error": {"message", "type", "param", "code"}}`.

use axum::http::StatusCode;
use serde::Serialize;
use tinderbox_protocol::Error;
use utoipa::ToSchema;

use crate::failure::{Failure, Shape, shorten};

/// OpenAI's shape.
pub(crate) struct OpenAi;

/// A failure that is answered in it.
pub(super) type Refusal = crate::failure::Refusal<OpenAi>;

/// An error on the wire, as a body or as an event of a stream.
#[derive(Serialize, ToSchema)]
#[schema(as = Error)]
pub(crate) struct Body {
    error: Details,
}

/// What went wrong.
#[derive(Serialize, ToSchema)]
#[schema(as = ErrorDetails)]
struct Details {
    message: String,
    /// As in `invalid_request_error`.
    #[serde(rename = "type")]
    kind: &'static str,
    /// The field that is wrong, as in `messages[2].content`.
    param: Option<String>,
    /// As in `context_length_exceeded`.
    code: Option<&'static str>,
}

impl Shape for OpenAi {
    type Body = Body;

    fn body(failure: &Failure) -> Body {
        let (param, code) = match failure {
            Failure::Ask(Error::Invalid { field, .. }) => (Some(shorten(field.clone())), None),
            Failure::Ask(Error::AdapterMismatch { .. }) => (Some("model".into()), None),
            Failure::Ask(Error::ModelNotFound { .. } | Error::AdapterNotFound { .. }) => {
                (Some("model".into()), Some("model_not_found"))
            }
            Failure::Ask(Error::ContextOverflow { .. }) => (None, Some("context_length_exceeded")),
            Failure::Unauthorized => (None, Some("invalid_api_key")),
            _ => (None, None),
        };
        Body {
            error: Details {
                message: failure.message(),
                kind: kind(failure.status()),
                param,
                code,
            },
        }
    }
}

/// LiteLLM takes `invalid_request_error` for a 400 whatever the status says, so each status has
/// its own.
fn kind(status: StatusCode) -> &'static str {
    match status {
        StatusCode::UNAUTHORIZED => "authentication_error",
        StatusCode::NOT_FOUND => "not_found_error",
        StatusCode::TOO_MANY_REQUESTS => "rate_limit_error",
        StatusCode::SERVICE_UNAVAILABLE => "service_unavailable_error",
        status if status.is_server_error() => "server_error",
        _ => "invalid_request_error",
    }
}
