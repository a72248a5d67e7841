//! A request to a node, and its answer passed on as it comes.

use std::future::poll_fn;
use std::rc::Rc;
use std::time::Duration;

use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use futures::StreamExt;
use futures::future::{Either, select};
use futures::stream::unfold;
use js_sys::Uint8Array;
use tinderbox_api::{Failure, REQUEST_ID, refuse};
use tinderbox_protocol::Error;
use wasm_bindgen::prelude::*;
use worker::{
    ByteStream, Delay, Fetch, Headers, Method, RequestInit, RequestRedirect, Response,
    ResponseBody, console_error, console_warn,
};

use crate::config::text;
use crate::edge::{Edge, Question, placed};
use crate::gone::UntilGone;
use crate::nodes::Node;
use crate::place::Place;
use crate::world::now;

/// How long a node that says it is busy is left alone where it names no time.
const BUSY: Duration = Duration::from_secs(1);

/// Headers of one connection (RFC 9110, 7.6.1), and what the runtime sets itself.
const HOP: [HeaderName; 10] = [
    header::ACCEPT_ENCODING,
    header::CONNECTION,
    header::CONTENT_LENGTH,
    header::HOST,
    HeaderName::from_static("keep-alive"),
    header::PROXY_AUTHORIZATION,
    header::TE,
    header::TRAILER,
    header::TRANSFER_ENCODING,
    header::UPGRADE,
];

/// What our nodes put on streams, so that nothing on the way collects them.
const UNBUFFERED: HeaderName = HeaderName::from_static("x-accel-buffering");

#[wasm_bindgen]
extern "C" {
    /// A signal that fires with the first of several.
    #[wasm_bindgen(js_namespace = AbortSignal, js_name = any)]
    fn any_signal(signals: Vec<web_sys::AbortSignal>) -> web_sys::AbortSignal;
}

/// Counts as waiting until it is dropped.
struct Waiting<'a> {
    edge: &'a Edge,
    index: usize,
    start: Duration,
}

impl Waiting<'_> {
    fn new(edge: &Edge, index: usize) -> Waiting<'_> {
        let start = now();
        edge.pool.borrow_mut().sent(index, start);
        Waiting { edge, index, start }
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.edge.pool.borrow_mut().over(self.index, self.start);
    }
}

/// Asks one node after the other until one answers; none is asked twice, and none after a first byte.
///
/// # Errors
/// [`Error::Unavailable`] where no node can answer.
pub async fn forward(edge: &Rc<Edge>, question: &Question) -> Result<Response, Failure> {
    let model = question.ask.model.as_deref();
    let mut tried = Vec::new();
    let mut refused = None;
    loop {
        let random = uuid::Uuid::new_v4().as_u64_pair().0;
        let picked = edge.pool.borrow().pick(model, &tried, now(), random);
        let Some(index) = picked else {
            break;
        };
        tried.push(index);
        let waiting = Waiting::new(edge, index);
        let start = waiting.start;
        let answer = send(edge, index, question).await;
        drop(waiting);
        let name = edge.pool.borrow().node(index).name.clone();
        let mut pool = edge.pool.borrow_mut();
        match answer {
            Err(reason) => {
                console_warn!("node {name}: {reason}");
                pool.failed(index, now());
            }
            Ok(response) => match response.status_code() {
                401 | 403 if pool.node(index).secret.is_some() => {
                    console_error!("node {name} refuses the key that we have for it");
                    pool.failed(index, now());
                }
                429 | 503 => {
                    pool.busy(index, now() + retry_after(&response).unwrap_or(BUSY));
                    refused = Some((response, name));
                }
                502 | 504 | 520..=530 => {
                    console_warn!("node {name}: status {}", response.status_code());
                    pool.failed(index, now());
                }
                _ => {
                    pool.answered(index, now().saturating_sub(start));
                    let broken = {
                        let edge = edge.clone();
                        move || edge.pool.borrow_mut().failed(index, now())
                    };
                    return Ok(pass_on(response, &name, question, broken));
                }
            },
        }
    }
    if let Some((response, name)) = refused {
        return Ok(pass_on(response, &name, question, || ()));
    }
    let opens_in = edge.pool.borrow().opens_in(model, now());
    Err(Failure::Ask(match (opens_in, model) {
        (None, Some(model)) => Error::ModelNotFound {
            model: model.to_owned(),
            known: edge.known(),
        },
        (opens_in, _) => Error::Unavailable {
            reason: "No node can answer now.".into(),
            retry_after: opens_in.unwrap_or_default().max(Duration::from_secs(1)),
        },
    }))
}

/// The question to a node, given up when the client goes or the node takes too long for its headers.
async fn send(edge: &Edge, index: usize, question: &Question) -> Result<Response, String> {
    let node = edge.pool.borrow().node(index).clone();
    let mut headers = question.headers.clone();
    for name in HOP {
        headers.remove(name);
    }
    // The caller's key is for us, where we ask for one.
    if node.secret.is_some() || edge.access.has_keys() {
        headers.remove(header::AUTHORIZATION);
    }
    if let Ok(id) = HeaderValue::from_str(&question.id) {
        headers.insert(REQUEST_ID, id);
    }
    let mut init = RequestInit::new();
    init.with_method(question.method.clone())
        .with_headers(Headers::from(headers));
    if !matches!(question.method, Method::Get | Method::Head) {
        init.with_body(Some(Uint8Array::from(&question.body[..]).into()));
    }
    let gone = Some(&question.client.signal);
    fetch(edge, &node, &question.target, init, edge.patience, gone).await
}

/// Asks a node, with the key that we have for it and by the way that leads to it, for at most
/// `patience` until the headers are there.
///
/// # Errors
/// What went wrong, in words.
pub async fn fetch(
    edge: &Edge,
    node: &Node,
    target: &str,
    mut init: RequestInit,
    patience: Duration,
    gone: Option<&web_sys::AbortSignal>,
) -> Result<Response, String> {
    let js = |error: JsValue| format!("{error:?}");
    if let Some(key) = node.secret.as_ref().and_then(|name| text(&edge.env, name)) {
        let bearer = format!("Bearer {key}");
        let set = init.headers.set("authorization", &bearer);
        set.map_err(|error| error.to_string())?;
    }
    init.with_redirect(RequestRedirect::Manual);
    let controller = web_sys::AbortController::new().map_err(js)?;
    let mut signals = vec![controller.signal()];
    signals.extend(gone.cloned());
    let init = web_sys::RequestInit::from(&init);
    init.set_signal(Some(&any_signal(signals)));
    let url = format!("{}{target}", node.url.trim_end_matches('/'));
    let request = web_sys::Request::new_with_str_and_init(&url, &init).map_err(js)?;
    let request = worker::Request::from(request);
    let asked = std::pin::pin!(async {
        match &node.binding {
            Some(name) => edge.env.service(name)?.fetch_request(request).await,
            None => Fetch::Request(request).send().await,
        }
    });
    match select(asked, Delay::from(patience)).await {
        Either::Left((answer, _)) => answer.map_err(|error| error.to_string()),
        Either::Right(_) => {
            controller.abort();
            Err(format!("no answer within {} s", patience.as_secs()))
        }
    }
}

/// When the node wants to be asked again.
pub fn retry_after(response: &Response) -> Option<Duration> {
    let value = response.headers().get("retry-after").ok()??;
    Some(Duration::from_secs(value.parse().ok()?))
}

/// The node's answer, its bytes untouched. Of a stream that breaks off the client is told, and `broken`.
fn pass_on(
    response: Response,
    node: &str,
    question: &Question,
    broken: impl FnOnce() + 'static,
) -> Response {
    let mut headers = HeaderMap::from(response.headers());
    for name in HOP.iter().filter(|name| **name != header::CONTENT_LENGTH) {
        headers.remove(name);
    }
    placed(&mut headers, Place::Node, Some(node));
    let streams = headers.contains_key(UNBUFFERED);
    let (builder, body) = response.into_parts();
    let builder = builder.with_headers(Headers::from(headers));
    match body {
        ResponseBody::Stream(stream) if streams => {
            let stream = watched(ByteStream::from(stream), question, broken);
            let passed = builder.from_stream(stream);
            passed.unwrap_or_else(|error| internal(question.path(), error.to_string()))
        }
        body => builder.body(body),
    }
}

/// A node's stream, with an error of the dialect at its end where it breaks off.
fn watched(
    stream: ByteStream,
    question: &Question,
    broken: impl FnOnce() + 'static,
) -> impl futures::Stream<Item = Result<Vec<u8>, worker::Error>> + 'static {
    let path = question.path().to_owned();
    let stream = UntilGone::new(stream, question.client.clone());
    unfold(Some((stream, path, broken)), |state| async move {
        let (held, path, broken) = state?;
        let next = poll_fn(|cx| held.poll(|stream| stream.poll_next_unpin(cx)));
        match next.await.flatten()? {
            Ok(chunk) => Some((Ok(chunk), Some((held, path, broken)))),
            Err(error) => {
                console_warn!("a node broke off: {error}");
                broken();
                Some((Ok(last_words(&path).await), None))
            }
        }
    })
}

/// The frame that says that an answer is not complete.
async fn last_words(path: &str) -> Vec<u8> {
    let error = Error::Internal("the node that computed the answer broke off".into());
    let (_, body) = refuse(path, Failure::Ask(error)).into_parts();
    let body = axum::body::to_bytes(body, usize::MAX).await;
    let body = body.unwrap_or_default();
    // TextSynth's streams are plain JSON lines.
    let prefix: &[u8] = match path.contains("/v1/engines/") {
        true => b"",
        false => b"data: ",
    };
    [prefix, &body, b"\n\n"].concat()
}

fn internal(path: &str, reason: String) -> Response {
    console_error!("{path}: {reason}");
    let status = StatusCode::INTERNAL_SERVER_ERROR.as_u16();
    Response::builder().with_status(status).empty()
}
