//! Failures in this dialect's shape: `{"status", "error"}`.

use serde::Serialize;
use utoipa::ToSchema;

use crate::failure::{Failure, Shape};

/// The dialect's shape.
pub(crate) struct TextSynth;

/// A failure that is answered in it.
pub(super) type Refusal = crate::failure::Refusal<TextSynth>;

/// An error on the wire, as a body or as the last answer of a stream.
#[derive(Serialize, ToSchema)]
#[schema(as = Error)]
pub(crate) struct Body {
    /// The HTTP status, or what it would have been.
    status: u16,
    /// What went wrong, for people.
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
