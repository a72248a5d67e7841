//! What can go wrong between the socket and the answer. Dialects choose the status and the shape.

/// Why a request got no answer.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Failure {
    /// The request is wrong, or cannot be answered now.
    #[error(transparent)]
    Ask(#[from] tinderbox_protocol::Error),
    /// The body is too large.
    #[error("The request body is larger than the {limit} bytes this server takes")]
    TooLarge {
        /// Most bytes.
        limit: usize,
    },
    /// The connection broke, or the transfer coding is wrong.
    #[error("The request body could not be read: {0}")]
    Unread(String),
    /// Nothing is served at this path.
    #[error("There is no {path} here; GET /openapi.json lists what there is")]
    NoRoute {
        /// Path asked for.
        path: String,
    },
    /// The path takes other methods only.
    #[error("{path} does not take {method}; GET /openapi.json lists what it takes")]
    WrongMethod {
        /// Path asked for.
        path: String,
        /// Method used.
        method: String,
    },
}
