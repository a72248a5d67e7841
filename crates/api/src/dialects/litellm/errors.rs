//! Failures in this dialect's shape: `{"error", "status"}`.

use serde::Serialize;

use crate::failure::{Failure, Shape};

/// The dialect's shape.
pub(crate) struct LiteLlm;

/// An error on the wire.
#[derive(Serialize)]
pub(crate) struct Body {
    error: String,
    status: u16,
}

impl Shape for LiteLlm {
    type Body = Body;

    fn body(failure: &Failure) -> Body {
        Body {
            error: failure.message(),
            status: Self::status(failure).as_u16(),
        }
    }
}
