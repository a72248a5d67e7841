//! LoRAX's native API, which is TGI's with adapters.

pub(super) mod errors;

use crate::Routes;

/// Where the dialect is served.
pub(crate) fn routes() -> Routes {
    vec![]
}
