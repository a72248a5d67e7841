//! Server-sent events (WHATWG HTML, section 9.2), the part the dialects use: `data` lines.

use axum::body::Body;
use axum::http::{HeaderName, HeaderValue, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;

/// Appends one event that holds a JSON text. JSON has no raw line feeds, so it is one line.
pub(crate) fn event(data: &impl Serialize, out: &mut Vec<u8>) {
    out.extend(b"data: ");
    if let Err(error) = serde_json::to_writer(&mut *out, data) {
        tracing::error!(%error, "an event could not be written as JSON");
    }
    out.extend(b"\n\n");
}

/// Appends the mark that ends OpenAI's streams.
pub(crate) fn done(out: &mut Vec<u8>) {
    out.extend(b"data: [DONE]\n\n");
}

/// An answer of events that nothing on the way should hold back.
pub(crate) fn response(body: Body) -> Response {
    let headers = [
        (header::CONTENT_TYPE, "text/event-stream; charset=utf-8"),
        (header::CACHE_CONTROL, "no-cache"),
        // nginx collects a proxied answer unless told not to.
        (HeaderName::from_static("x-accel-buffering"), "no"),
    ];
    let headers = headers.map(|(name, value)| (name, HeaderValue::from_static(value)));
    (headers, body).into_response()
}
