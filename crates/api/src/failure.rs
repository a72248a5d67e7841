//! What can go wrong between the socket and the answer, and how it is refused.

use std::marker::PhantomData;
use std::time::Duration;

use axum::Json;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use tinderbox_protocol::Error;

/// Longest message; a message may quote the caller's own megabytes.
const MAX_MESSAGE: usize = 1000;

/// Why a request got no answer.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// The request is wrong, or cannot be answered now.
    #[error(transparent)]
    Ask(#[from] Error),
    /// The body is too large.
    #[error("The request body is larger than the {limit} bytes this server takes")]
    TooLarge {
        /// Most bytes.
        limit: usize,
    },
    /// The connection broke, or the transfer coding is wrong.
    #[error("The request body could not be read: {0}")]
    Unread(String),
    /// Nothing is served at this path.
    #[error("There is no {path} here; GET /openapi.json lists what there is")]
    NoRoute {
        /// Path asked for.
        path: String,
    },
    /// A kind of answer that the models here cannot give.
    #[error("`{what}` is not supported: the models here complete, chat, score and tokenize text")]
    Unsupported {
        /// What was asked for.
        what: String,
    },
    /// The path takes other methods only.
    #[error("{path} does not take {method}; GET /openapi.json lists what it takes")]
    WrongMethod {
        /// Path asked for.
        path: String,
        /// Method used.
        method: String,
    },
    /// The body has the keys of two dialects.
    #[error("`{first}` and `{second}` belong to different dialects; send one of them")]
    Undecided {
        /// A key that is there.
        first: &'static str,
        /// Another.
        second: &'static str,
    },
    /// No key, or a wrong one.
    #[error("Missing or wrong API key: send it as `Authorization: Bearer KEY`.")]
    Unauthorized,
    /// One caller asked too often.
    #[error("Too many requests. Try again in {} s.", retry_after.as_secs_f64().ceil())]
    TooOften {
        /// When to try again.
        retry_after: Duration,
    },
}

impl Failure {
    /// When it is worth trying again.
    fn retry_after(&self) -> Option<Duration> {
        match self {
            Failure::Ask(
                Error::Overloaded { retry_after, .. } | Error::Unavailable { retry_after, .. },
            )
            | Failure::TooOften { retry_after } => Some(*retry_after),
            _ => None,
        }
    }

    /// What it says to the caller; bounded.
    pub(crate) fn message(&self) -> String {
        shorten(self.to_string())
    }

    /// The status most dialects give it.
    pub(crate) fn status(&self) -> StatusCode {
        match self {
            Failure::Ask(error) => match error {
                Error::Invalid { .. }
                | Error::ContextOverflow { .. }
                | Error::Template(_)
                | Error::Constraint { .. } => StatusCode::BAD_REQUEST,
                Error::AdapterMismatch { .. } => StatusCode::UNPROCESSABLE_ENTITY,
                Error::ModelNotFound { .. } | Error::AdapterNotFound { .. } => {
                    StatusCode::NOT_FOUND
                }
                Error::Overloaded { .. } => StatusCode::TOO_MANY_REQUESTS,
                Error::NoModel | Error::Unavailable { .. } => StatusCode::SERVICE_UNAVAILABLE,
                _ => StatusCode::INTERNAL_SERVER_ERROR,
            },
            Failure::TooLarge { .. } => StatusCode::PAYLOAD_TOO_LARGE,
            Failure::Unread(_) | Failure::Undecided { .. } => StatusCode::BAD_REQUEST,
            Failure::NoRoute { .. } | Failure::Unsupported { .. } => StatusCode::NOT_FOUND,
            Failure::WrongMethod { .. } => StatusCode::METHOD_NOT_ALLOWED,
            Failure::Unauthorized => StatusCode::UNAUTHORIZED,
            Failure::TooOften { .. } => StatusCode::TOO_MANY_REQUESTS,
        }
    }
}

/// How a dialect says that something went wrong.
pub(crate) trait Shape: Send + 'static {
    /// An error on the wire.
    type Body: Serialize;

    /// The status of the answer.
    fn status(failure: &Failure) -> StatusCode {
        failure.status()
    }

    /// The body of the answer, or an event of a stream.
    fn body(failure: &Failure) -> Self::Body;
}

/// A failure that is answered in a dialect's shape.
pub(crate) struct Refusal<S>(Failure, PhantomData<S>);

impl<S, F: Into<Failure>> From<F> for Refusal<S> {
    fn from(failure: F) -> Self {
        Refusal(failure.into(), PhantomData)
    }
}

impl<S: Shape> IntoResponse for Refusal<S> {
    fn into_response(self) -> Response {
        let status = S::status(&self.0);
        // Some dialects have a status of their own for a fault of ours.
        if self.0.status().is_server_error() {
            tracing::warn!(%status, error = %self.0, "refused");
        }
        let mut response = (status, Json(S::body(&self.0))).into_response();
        let headers = response.headers_mut();
        if let Some(wait) = self.0.retry_after() {
            let seconds = wait.as_secs_f64().ceil().max(1.0) as u64;
            headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        if let Failure::Unauthorized = self.0 {
            let scheme = HeaderValue::from_static("Bearer");
            headers.insert(header::WWW_AUTHENTICATE, scheme);
        }
        response
    }
}

/// The text, cut where it is very long.
pub(crate) fn shorten(mut text: String) -> String {
    if text.len() > MAX_MESSAGE {
        text.truncate(text.floor_char_boundary(MAX_MESSAGE));
        text.push('…');
    }
    text
}
