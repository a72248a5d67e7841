//! Failures where the dialect is not known: one object that LoRAX, TextSynth and LocalLab clients
//! can all read. (OpenAI's needs an object where these need a text.)

use axum::http::StatusCode;
use serde::Serialize;
use tinderbox_protocol::Error;

use crate::failure::{Failure, Shape};

/// Everybody's shape.
pub(super) struct Union;

/// An error on the wire.
#[derive(Serialize)]
pub(super) struct Body {
    /// LoRAX and TextSynth.
    error: String,
    /// LoRAX.
    error_type: &'static str,
    /// LocalLab.
    detail: String,
    /// TextSynth.
    status: u16,
}

impl Shape for Union {
    type Body = Body;

    fn status(failure: &Failure) -> StatusCode {
        match failure {
            // No JSON at all, or a field that is missing or wrong.
            Failure::Ask(Error::Invalid { field, .. }) if field != "body" => {
                StatusCode::UNPROCESSABLE_ENTITY
            }
            other => other.status(),
        }
    }

    fn body(failure: &Failure) -> Body {
        let status = Self::status(failure);
        let detail = match failure {
            // What FastAPI says, which LocalLab is built on.
            Failure::NoRoute { .. } => "Not Found".into(),
            Failure::WrongMethod { .. } => "Method Not Allowed".into(),
            other => other.message(),
        };
        Body {
            error: failure.message(),
            error_type: match status {
                StatusCode::NOT_FOUND => "not_found",
                StatusCode::TOO_MANY_REQUESTS => "overloaded",
                StatusCode::UNAUTHORIZED => "unauthorized",
                status if status.is_server_error() => "server",
                _ => "validation",
            },
            detail,
            status: status.as_u16(),
        }
    }
}
