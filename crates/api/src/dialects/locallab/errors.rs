//! Failures in this dialect's shape: `{"detail"}`.

use axum::http::StatusCode;
use serde::Serialize;
use tinderbox_protocol::Error;
use utoipa::ToSchema;

use crate::failure::{Failure, Shape};

/// The dialect's shape.
pub(crate) struct LocalLab;

/// An error on the wire.
#[derive(Serialize, ToSchema)]
#[schema(as = LocalLabError)]
pub(crate) struct Body {
    /// What was wrong, for people.
    pub(super) detail: String,
}

impl Shape for LocalLab {
    type Body = Body;

    fn status(failure: &Failure) -> StatusCode {
        match failure {
            Failure::Ask(Error::NoModel) => StatusCode::BAD_REQUEST,
            Failure::Ask(Error::ContextOverflow { .. }) => StatusCode::PAYLOAD_TOO_LARGE,
            other => other.status(),
        }
    }

    fn body(failure: &Failure) -> Body {
        Body {
            detail: match failure {
                // What FastAPI says, which LocalLab is built on.
                Failure::NoRoute { .. } => "Not Found".into(),
                Failure::WrongMethod { .. } => "Method Not Allowed".into(),
                other => other.message(),
            },
        }
    }
}
