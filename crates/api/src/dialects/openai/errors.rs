//! Failures in OpenAI's shape: `{"error": {"message", "type", "param", "code"}}`.

use std::time::Duration;

use axum::Json;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use tinderbox_protocol::Error;

use crate::failure::Failure;

/// Longest message; a message may quote the caller's own megabytes.
const MAX_MESSAGE: usize = 1000;

/// A failure that is answered.
pub(crate) struct Refusal(Failure);

impl<F: Into<Failure>> From<F> for Refusal {
    fn from(failure: F) -> Self {
        Refusal(failure.into())
    }
}

/// An error on the wire, as a body or as an event of a stream.
#[derive(Serialize)]
pub(crate) struct Body {
    error: Details,
}

#[derive(Serialize)]
struct Details {
    message: String,
    #[serde(rename = "type")]
    kind: &'static str,
    param: Option<String>,
    code: Option<&'static str>,
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let status = status(&self.0);
        if status.is_server_error() {
            tracing::warn!(%status, error = %self.0, "refused");
        }
        let mut response = (status, Json(body(&self.0))).into_response();
        if let Some(wait) = retry_after(&self.0) {
            let seconds = wait.as_secs_f64().ceil().max(1.0) as u64;
            let headers = response.headers_mut();
            headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        response
    }
}

/// A failure's body.
pub(crate) fn body(failure: &Failure) -> Body {
    let (param, code) = match failure {
        Failure::Ask(Error::Invalid { field, .. }) => (Some(shorten(field.clone())), None),
        Failure::Ask(Error::ModelNotFound { .. }) => {
            (Some("model".into()), Some("model_not_found"))
        }
        Failure::Ask(Error::ContextOverflow { .. }) => (None, Some("context_length_exceeded")),
        _ => (None, None),
    };
    Body {
        error: Details {
            message: shorten(failure.to_string()),
            kind: kind(status(failure)),
            param,
            code,
        },
    }
}

fn status(failure: &Failure) -> StatusCode {
    match failure {
        Failure::Ask(error) => match error {
            Error::Invalid { .. } | Error::ContextOverflow { .. } | Error::Template(_) => {
                StatusCode::BAD_REQUEST
            }
            Error::ModelNotFound { .. } => StatusCode::NOT_FOUND,
            Error::Overloaded { .. } => StatusCode::TOO_MANY_REQUESTS,
            Error::Unavailable { .. } => StatusCode::SERVICE_UNAVAILABLE,
            _ => StatusCode::INTERNAL_SERVER_ERROR,
        },
        Failure::TooLarge { .. } => StatusCode::PAYLOAD_TOO_LARGE,
        Failure::Unread(_) => StatusCode::BAD_REQUEST,
        Failure::NoRoute { .. } => StatusCode::NOT_FOUND,
        Failure::WrongMethod { .. } => StatusCode::METHOD_NOT_ALLOWED,
    }
}

/// LiteLLM takes `invalid_request_error` for a 400 whatever the status says, so each status has
/// its own.
fn kind(status: StatusCode) -> &'static str {
    match status {
        StatusCode::NOT_FOUND => "not_found_error",
        StatusCode::TOO_MANY_REQUESTS => "rate_limit_error",
        StatusCode::SERVICE_UNAVAILABLE => "service_unavailable_error",
        status if status.is_server_error() => "server_error",
        _ => "invalid_request_error",
    }
}

fn retry_after(failure: &Failure) -> Option<Duration> {
    match failure {
        Failure::Ask(
            Error::Overloaded { retry_after, .. } | Error::Unavailable { retry_after, .. },
        ) => Some(*retry_after),
        _ => None,
    }
}

fn shorten(mut text: String) -> String {
    if text.len() > MAX_MESSAGE {
        text.truncate(text.floor_char_boundary(MAX_MESSAGE));
        text.push('…');
    }
    text
}
