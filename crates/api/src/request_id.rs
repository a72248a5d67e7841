//! One identifier a request, from the client's log through ours and back.

use axum::extract::{Request, State};
use axum::http::{HeaderName, HeaderValue};
use axum::middleware::Next;
use axum::response::Response;
use tracing::Instrument;

use crate::Context;

/// The header that carries the identifier, in and out.
pub const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// Longest identifier taken from a client.
const MAX_LENGTH: usize = 128;

/// The request's identifier, among the extensions of the request and of its response.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RequestId(pub String);

/// Takes the client's identifier where it is sane, else makes one; puts it into the span of the
/// request and on the answer.
pub(crate) async fn assign(
    State(context): State<Context>,
    mut request: Request,
    next: Next,
) -> Response {
    let given = request.headers().get(&REQUEST_ID).and_then(sane);
    let id = given.unwrap_or_else(|| context.place.new_id());
    let span = tracing::info_span!(
        "request",
        request_id = id,
        method = %request.method(),
        path = request.uri().path(),
    );
    request.extensions_mut().insert(RequestId(id.clone()));
    let mut response = next.run(request).instrument(span).await;
    if let Ok(value) = HeaderValue::from_str(&id) {
        response.headers_mut().insert(REQUEST_ID, value);
    }
    response.extensions_mut().insert(RequestId(id));
    response
}

/// Visible ASCII of bounded length: what may go into a log line unquoted.
fn sane(value: &HeaderValue) -> Option<String> {
    let text = value.to_str().ok()?;
    let visible = text.bytes().all(|byte| byte.is_ascii_graphic());
    (visible && (1..=MAX_LENGTH).contains(&text.len())).then(|| text.to_owned())
}
