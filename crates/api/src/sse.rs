//! Server-sent events (WHATWG HTML, section 9.2), the part the dialects use: `data` lines.

use axum::body::Body;
use axum::response::Response;
use serde::Serialize;

use crate::stream;

/// Appends one event that holds a JSON text.
pub(crate) fn event(data: &impl Serialize, out: &mut Vec<u8>) {
    out.extend(b"data: ");
    stream::json(data, out);
    out.extend(b"\n\n");
}

/// Appends the mark that ends OpenAI's streams.
pub(crate) fn done(out: &mut Vec<u8>) {
    out.extend(b"data: [DONE]\n\n");
}

/// An answer of events.
pub(crate) fn response(body: Body) -> Response {
    stream::response("text/event-stream; charset=utf-8", body)
}
