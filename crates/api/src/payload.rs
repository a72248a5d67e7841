//! Request bodies: JSON, whatever the content type says.

use std::convert::Infallible;

use axum::body::Bytes;
use axum::extract::{FromRequest, Request};
use axum::http::{HeaderMap, StatusCode, header};
use serde::de::DeserializeOwned;
use tinderbox_protocol::Error;
use utoipa::ToSchema;

use crate::Context;
use crate::failure::Failure;

/// A body, read but not yet parsed, so that each dialect answers a bad one in its own shape.
///
/// The content type is not looked at: `curl -d` and some clients send the wrong one or none.
pub(crate) struct Payload {
    body: Result<Bytes, Failure>,
    token: Option<String>,
}

impl FromRequest<Context> for Payload {
    type Rejection = Infallible;

    async fn from_request(request: Request, context: &Context) -> Result<Self, Infallible> {
        let token = match context.keys.is_empty() {
            true => hub_token(request.headers()),
            false => None,
        };
        let body = Bytes::from_request(request, context).await;
        let body = body.map_err(|rejection| match rejection.status() {
            StatusCode::PAYLOAD_TOO_LARGE => Failure::TooLarge {
                limit: context.body_limit,
            },
            _ => Failure::Unread(rejection.body_text()),
        });
        Ok(Payload { body, token })
    }
}

impl Payload {
    /// The body's bytes.
    ///
    /// # Errors
    /// A body that is too large or broke off.
    pub fn bytes(self) -> Result<Bytes, Failure> {
        self.body
    }

    /// The token for the hub that `Authorization` holds, where this server has no keys of its own: so
    /// LoRAX takes it.
    pub fn token(&self) -> Option<String> {
        self.token.clone()
    }
}

/// A token of the hub begins with `hf_`. Another key, `EMPTY` among them, is meant for somebody else
/// and told to nobody.
fn hub_token(headers: &HeaderMap) -> Option<String> {
    let value = headers.get(header::AUTHORIZATION)?.to_str().ok()?;
    let token = crate::keys::bearer(value)?;
    token.starts_with("hf_").then(|| token.to_owned())
}

/// A body of an endpoint's own fields and of those that it shares with others.
#[derive(ToSchema)]
pub(crate) struct Ask<W, O> {
    #[serde(flatten)]
    pub own: W,
    #[serde(flatten)]
    pub options: O,
}

impl<W: DeserializeOwned, O: DeserializeOwned> Ask<W, O> {
    /// Reads a body twice, because serde would keep a flattened one whole in an intermediate form.
    ///
    /// # Errors
    /// As [`parse`].
    pub fn read(body: &[u8]) -> Result<Self, Error> {
        Ok(Ask {
            own: parse(body)?,
            options: parse(body)?,
        })
    }
}

/// Reads one JSON object. Nesting is bounded by serde_json (128 levels).
///
/// # Errors
/// [`Error::Invalid`] with the path of the field, as in `messages[2].content`.
pub(crate) fn parse<T: DeserializeOwned>(body: &[u8]) -> Result<T, Error> {
    // serde would also fill a struct from a list, by position.
    if body.trim_ascii_start().first().is_some_and(|b| *b == b'[') {
        return Err(Error::Invalid {
            field: "body".into(),
            reason: "a JSON object is needed, not a list".into(),
        });
    }
    let mut json = serde_json::Deserializer::from_slice(body);
    let value = serde_path_to_error::deserialize(&mut json).map_err(|error| {
        // `.` is the whole body, `?` a place the parser could not name.
        let path = error.path().to_string();
        let field = match path.trim_end_matches(['.', '?']) {
            "" => "body".into(),
            field => field.to_owned(),
        };
        let reason = error.into_inner().to_string();
        Error::Invalid { field, reason }
    })?;
    json.end().map_err(|error| Error::Invalid {
        field: "body".into(),
        reason: error.to_string(),
    })?;
    Ok(value)
}
