//! One request to the router, as `fetch` would send it, and the answer as a stream.

use axum::Router;
use axum::body::Body;
use axum::http::{Request, Response};
use futures::StreamExt;
use futures::future::{Either, select};
use js_sys::{Promise, Uint8Array};
use tower::ServiceExt;
use wasm_bindgen::prelude::*;
use wasm_bindgen_futures::JsFuture;
use wasm_streams::ReadableStream;

/// An answer: `WasmAnswer` of `js/wasm.ts`.
#[wasm_bindgen(js_name = WasmAnswer)]
pub struct Answer {
    status: u16,
    headers: Vec<String>,
    body: Option<wasm_streams::readable::sys::ReadableStream>,
}

#[wasm_bindgen(js_class = WasmAnswer)]
impl Answer {
    /// HTTP status.
    #[wasm_bindgen(getter)]
    pub fn status(&self) -> u16 {
        self.status
    }

    /// Name, value, name, value.
    #[wasm_bindgen(getter)]
    pub fn headers(&self) -> Vec<String> {
        self.headers.clone()
    }

    /// The body's bytes, once. Cancelling it drops the sequences it comes from.
    #[wasm_bindgen(getter)]
    pub fn body(&mut self) -> Option<wasm_streams::readable::sys::ReadableStream> {
        self.body.take()
    }
}

/// Asks the router. Once `gone` resolves nobody waits for an answer that has not begun, and what was
/// asked for it is dropped.
///
/// # Errors
/// A method, path or header that is none; `gone`. Whatever the router has to say is an answer.
pub async fn fetch(
    router: Router,
    method: &str,
    path: &str,
    headers: &[String],
    body: Vec<u8>,
    gone: Promise,
) -> Result<Answer, JsError> {
    let mut request = Request::builder().method(method).uri(path);
    for header in headers.chunks_exact(2) {
        request = request.header(&header[0], &header[1]);
    }
    let request = request.body(Body::from(body))?;
    match select(router.oneshot(request), JsFuture::from(gone)).await {
        // A router never fails: its error type has no values.
        Either::Left((Ok(response), _)) => Ok(answer(response)),
        Either::Right(_) => Err(JsError::new("nobody waits for the answer")),
    }
}

fn answer(response: Response<Body>) -> Answer {
    let (parts, body) = response.into_parts();
    let headers = parts.headers.iter().flat_map(|(name, value)| {
        let value = String::from_utf8_lossy(value.as_bytes()).into_owned();
        [name.as_str().to_owned(), value]
    });
    let chunks = body.into_data_stream().map(|chunk| match chunk {
        Ok(bytes) => Ok(JsValue::from(Uint8Array::from(&bytes[..]))),
        Err(error) => Err(JsValue::from(JsError::new(&error.to_string()))),
    });
    Answer {
        status: parts.status.as_u16(),
        headers: headers.collect(),
        body: Some(ReadableStream::from_stream(chunks).into_raw()),
    }
}
