//! LiteLLM's custom endpoint.

pub(super) mod errors;

use crate::Routes;

/// Where the dialect is served.
pub(crate) fn routes() -> Routes {
    vec![]
}
