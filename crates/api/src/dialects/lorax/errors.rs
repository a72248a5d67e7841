//! Failures in this dialect's shape: `{"error", "error_type"}`.

use axum::http::StatusCode;
use serde::Serialize;

use crate::failure::{Failure, Shape};

/// The dialect's shape.
pub(crate) struct Lorax;

/// An error on the wire.
#[derive(Serialize)]
pub(crate) struct Body {
    error: String,
    error_type: &'static str,
}

impl Shape for Lorax {
    type Body = Body;

    fn body(failure: &Failure) -> Body {
        Body {
            error: failure.message(),
            error_type: match failure.status() {
                StatusCode::TOO_MANY_REQUESTS => "overloaded",
                status if status.is_server_error() => "generation",
                _ => "validation",
            },
        }
    }
}
