//! Who may ask: API keys, kept as hashes.

use axum::extract::{Request, State};
use axum::http::{HeaderMap, header};
use axum::middleware::Next;
use axum::response::Response;
use hex::FromHexError;
use sha2::{Digest, Sha256};
use subtle::{Choice, ConstantTimeEq};

use crate::Context;
use crate::dialects::{self, Dialect};
use crate::failure::Failure;

/// The keys that are let in. Without any, everybody is, whatever `Authorization` says.
#[derive(Default)]
pub struct Keys(Vec<[u8; 32]>);

impl Keys {
    /// Lets in those who send this key.
    pub fn add(&mut self, key: impl AsRef<[u8]>) {
        self.0.push(hash(key.as_ref()));
    }

    /// Lets in those whose key has this SHA-256 sum, in hexadecimal digits.
    ///
    /// # Errors
    /// Anything but 64 of them.
    pub fn add_hash(&mut self, sum: &str) -> Result<(), FromHexError> {
        let mut bytes = [0; 32];
        hex::decode_to_slice(sum, &mut bytes)?;
        self.0.push(bytes);
        Ok(())
    }

    /// Whether everybody is let in.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether a request for `path` with these headers is let in.
    pub(crate) fn admit(&self, path: &str, headers: &HeaderMap) -> bool {
        self.is_empty() || is_open(path) || self.holds(&key_sum(authorization(headers)))
    }

    /// Whether this is the SHA-256 sum of one of them. Compares with all in constant time.
    pub fn holds(&self, sum: &[u8; 32]) -> bool {
        let any = |found: Choice, key: &[u8; 32]| found | key.ct_eq(sum);
        self.0.iter().fold(Choice::from(0), any).into()
    }
}

/// The SHA-256 sum of the key in a request's `Authorization`; that of an empty one where there is none.
pub fn key_sum(authorization: Option<&str>) -> [u8; 32] {
    hash(
        authorization
            .and_then(bearer)
            .unwrap_or_default()
            .as_bytes(),
    )
}

fn authorization(headers: &HeaderMap) -> Option<&str> {
    headers.get(header::AUTHORIZATION)?.to_str().ok()
}

/// Whether a path needs no key, whatever keys there are: probes.
pub fn is_open(path: &str) -> bool {
    Dialect::forced(path).1 == "/health"
}

fn hash(key: &[u8]) -> [u8; 32] {
    Sha256::digest(key).into()
}

/// The token of `Bearer TOKEN`; the scheme's case does not count (RFC 9110, 11.1).
pub(crate) fn bearer(authorization: &str) -> Option<&str> {
    let (scheme, token) = authorization.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
}

/// Refuses a request without a right key, in the dialect of its path.
pub(crate) async fn check(
    State(context): State<Context>,
    request: Request,
    next: Next,
) -> Response {
    let path = request.uri().path();
    if context.keys.admit(path, request.headers()) {
        return next.run(request).await;
    }
    dialects::refuse(path, Failure::Unauthorized)
}
