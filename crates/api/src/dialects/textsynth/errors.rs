//! Failures in this dialect's shape: `{"status", "error"}`.

use serde::Serialize;

use crate::failure::{Failure, Shape};

/// The dialect's shape.
pub(crate) struct TextSynth;

/// An error on the wire.
#[derive(Serialize)]
pub(crate) struct Body {
    status: u16,
    error: String,
}

impl Shape for TextSynth {
    type Body = Body;

    fn body(failure: &Failure) -> Body {
        Body {
            status: Self::status(failure).as_u16(),
            error: failure.message(),
        }
    }
}
