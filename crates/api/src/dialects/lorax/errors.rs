//! Failures in this dialect's shape: `{"error", "error_type"}`.

use axum::Json;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use tinderbox_protocol::Error;
use utoipa::ToSchema;

use crate::failure::{Failure, Shape, shorten};

/// The dialect's shape.
pub(crate) struct Lorax;

/// A failure that is answered in it.
pub(super) type Refusal = crate::failure::Refusal<Lorax>;

/// An error on the wire, as a body or as an event of a stream.
#[derive(Serialize, ToSchema)]
#[schema(as = Error)]
pub(crate) struct Body {
    /// What went wrong, for people.
    error: String,
    /// What LoRAX's clients choose their exception by: `validation`, `generation`, `overloaded`,
    /// `template_error`, `tool_error`, `healthcheck` or another word.
    error_type: &'static str,
}

impl Shape for Lorax {
    type Body = Body;

    fn status(failure: &Failure) -> StatusCode {
        match failure {
            Failure::Ask(
                Error::Invalid { .. } | Error::ContextOverflow { .. } | Error::Template(_),
            ) => StatusCode::UNPROCESSABLE_ENTITY,
            Failure::Ask(
                Error::AdapterNotFound { .. } | Error::AdapterMismatch { .. } | Error::Internal(_),
            ) => StatusCode::FAILED_DEPENDENCY,
            other => other.status(),
        }
    }

    fn body(failure: &Failure) -> Body {
        let error = match failure {
            Failure::Ask(error) => message(error),
            other => other.to_string(),
        };
        let template = matches!(failure, Failure::Ask(Error::Template(_)));
        let error_type = match Self::status(failure) {
            _ if template => "template_error",
            StatusCode::FAILED_DEPENDENCY => "generation",
            StatusCode::TOO_MANY_REQUESTS => "overloaded",
            StatusCode::SERVICE_UNAVAILABLE => "healthcheck",
            StatusCode::NOT_FOUND => "not_found",
            StatusCode::METHOD_NOT_ALLOWED => "method_not_allowed",
            StatusCode::UNAUTHORIZED => "unauthorized",
            StatusCode::INTERNAL_SERVER_ERROR => "incomplete_generation",
            _ => "validation",
        };
        Body {
            error: shorten(error),
            error_type,
        }
    }
}

/// Tools and a form of the answer exclude each other.
pub(super) fn tools_beside_format() -> Response {
    let body = Body {
        error: "Tool error: `tools` and `response_format` exclude each other; send one of them"
            .into(),
        error_type: "tool_error",
    };
    (StatusCode::UNPROCESSABLE_ENTITY, Json(body)).into_response()
}

/// The message, with the words that clients look for.
fn message(error: &Error) -> String {
    match error {
        Error::Invalid { .. } => format!("Input validation error: {error}"),
        // LiteLLM knows a context overflow by the middle of this.
        Error::ContextOverflow {
            context,
            prompt,
            completion,
        } => format!(
            "Input validation error: `inputs` tokens + `max_new_tokens` must be <= {context}, not \
             {prompt} + {completion}"
        ),
        Error::Template(reason) => format!("Failed applying chat template to inputs: {reason}"),
        Error::AdapterNotFound { .. } | Error::AdapterMismatch { .. } | Error::Internal(_) => {
            format!("Request failed during generation: {error}")
        }
        Error::Overloaded { .. } => "Model is overloaded".into(),
        other => other.to_string(),
    }
}

/// An engine's error, with the field's name in this dialect.
pub(super) fn renamed(error: Error) -> Error {
    match error {
        Error::Invalid { field, reason } => Error::Invalid {
            field: match field.strip_prefix("prompt") {
                Some(rest) => format!("inputs{rest}"),
                None => format!("parameters.{field}"),
            },
            reason,
        },
        other => other,
    }
}
