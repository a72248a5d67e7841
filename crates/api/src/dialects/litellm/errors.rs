//! Failures in this dialect's shape: `{"error", "status"}`. LiteLLM chooses its exception by the
//! status, but takes any text about a rate limit for one.

use serde::Serialize;
use tinderbox_protocol::Error;
use utoipa::ToSchema;

use crate::batch::invalid;
use crate::failure::{Failure, Shape};

/// The dialect's shape.
pub(crate) struct LiteLlm;

/// A failure that is answered in it.
pub(super) type Refusal = crate::failure::Refusal<LiteLlm>;

/// An error on the wire.
#[derive(Serialize, ToSchema)]
#[schema(as = Error)]
pub(crate) struct Body {
    /// What went wrong, for people.
    error: String,
    /// The HTTP status again.
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

/// An engine's error, with the field's name in this dialect.
pub(super) fn renamed(error: Error) -> Error {
    match error {
        Error::Invalid { field, reason } => invalid(format!("params.{field}"), reason),
        other => other,
    }
}
