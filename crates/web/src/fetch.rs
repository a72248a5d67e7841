//! One request to the router, as `fetch` would send it, and the answer as a stream.

use axum::Router;
use axum::body::Body;
use axum::http::{Request, Response};
use futures::StreamExt;
use js_sys::Uint8Array;
use tower::ServiceExt;
use wasm_bindgen::prelude::*;
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

/// Asks the router.
///
/// # Errors
/// A method, path or header that is none; whatever the router has to say is an answer.
pub async fn fetch(
    router: Router,
    method: &str,
    path: &str,
    headers: &[String],
    body: Vec<u8>,
) -> Result<Answer, JsError> {
    let mut request = Request::builder().method(method).uri(path);
    for header in headers.chunks_exact(2) {
        request = request.header(&header[0], &header[1]);
    }
    let request = request.body(Body::from(body))?;
    // A router never fails: its error type has no values.
    let Ok(response) = router.oneshot(request).await;
    Ok(answer(response))
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
