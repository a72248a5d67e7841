//! Paths that several dialects have: the keys of the body decide.

use crate::Routes;

/// The shared paths.
pub(super) fn routes() -> Routes {
    vec![]
}
