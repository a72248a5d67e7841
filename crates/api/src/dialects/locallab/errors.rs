//! Failures in this dialect's shape: `{"detail"}`.

use serde::Serialize;

use crate::failure::{Failure, Shape};

/// The dialect's shape.
pub(crate) struct LocalLab;

/// An error on the wire.
#[derive(Serialize)]
pub(crate) struct Body {
    detail: String,
}

impl Shape for LocalLab {
    type Body = Body;

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
