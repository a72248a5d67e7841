//! Who may ask: API keys, kept as hashes.

use axum::extract::{Request, State};
use axum::http::{HeaderMap, header};
use axum::middleware::Next;
use axum::response::Response;
use sha2::{Digest, Sha256};
use subtle::{Choice, ConstantTimeEq};

use crate::Context;
use crate::dialects::{self, Dialect};
use crate::failure::Failure;

/// The keys that are let in. Without any, everybody is, whatever `Authorization` says.
#[derive(Default)]
pub struct Keys(Vec<[u8; 32]>);

impl Keys {
    /// Lets in those who send one of these keys.
    pub fn new<K: AsRef<[u8]>>(keys: impl IntoIterator<Item = K>) -> Keys {
        Keys(keys.into_iter().map(|key| hash(key.as_ref())).collect())
    }

    /// Lets in those whose key has one of these SHA-256 sums.
    pub fn hashed(sums: impl IntoIterator<Item = [u8; 32]>) -> Keys {
        Keys(sums.into_iter().collect())
    }

    /// Compares with all keys in constant time.
    fn admit(&self, headers: &HeaderMap) -> bool {
        if self.0.is_empty() {
            return true;
        }
        let sum = hash(bearer(headers).unwrap_or_default().as_bytes());
        let any = |found: Choice, key: &[u8; 32]| found | key.ct_eq(&sum);
        self.0.iter().fold(Choice::from(0), any).into()
    }
}

fn hash(key: &[u8]) -> [u8; 32] {
    Sha256::digest(key).into()
}

/// The token of `Authorization: Bearer TOKEN`; the scheme's case does not count (RFC 9110, 11.1).
fn bearer(headers: &HeaderMap) -> Option<&str> {
    let value = headers.get(header::AUTHORIZATION)?.to_str().ok()?;
    let (scheme, token) = value.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
}

/// What needs no key: probes, and what a browser shows of the API, which is the same everywhere.
const OPEN: [&str; 3] = ["/health", "/openapi.json", "/docs"];

/// Refuses a request without a right key, in the dialect of its path.
pub(crate) async fn check(
    State(context): State<Context>,
    request: Request,
    next: Next,
) -> Response {
    let path = request.uri().path();
    if OPEN.contains(&Dialect::forced(path).1) || context.keys.admit(request.headers()) {
        return next.run(request).await;
    }
    dialects::refuse(path, Failure::Unauthorized)
}
