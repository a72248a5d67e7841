//! A request to a node, and its answer passed on as it comes.

use std::rc::Rc;
use std::time::Duration;

use futures::future::{Either, select};
use js_sys::{Array, Promise, Uint8Array};
use tinderbox_api::{Failure, REQUEST_ID, break_off};
use tinderbox_protocol::Error;
use wasm_bindgen::prelude::*;
use wasm_bindgen_futures::{JsFuture, spawn_local};
use worker::{
    Delay, Method, RequestInit, RequestRedirect, Response, ResponseBody, console_error,
    console_warn,
};

use crate::ask::Ask;
use crate::config::text;
use crate::edge::{Edge, Question, placed};
use crate::nodes::Node;
use crate::place::Place;
use crate::world::now;

/// How long a node that says it is busy is left alone where it names no time.
const BUSY: Duration = Duration::from_secs(1);

/// Headers of one connection (RFC 9110, 7.6.1), and what the runtime sets itself.
const HOP: [&str; 9] = [
    "accept-encoding",
    "connection",
    "host",
    "keep-alive",
    "proxy-authorization",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
];

/// What our nodes put on streams, so that nothing on the way collects them. A proxy may take it for itself.
const UNBUFFERED: &str = "x-accel-buffering";
/// The type of all streams but TextSynth's.
const EVENTS: &str = "text/event-stream";

#[wasm_bindgen]
extern "C" {
    /// A signal that fires with the first of several.
    #[wasm_bindgen(js_namespace = AbortSignal, js_name = any)]
    fn any_signal(signals: Vec<web_sys::AbortSignal>) -> web_sys::AbortSignal;
}

#[wasm_bindgen(module = "/pass.mjs")]
extern "C" {
    /// A stream of the same bytes, and promises of how it ended and of its first piece; see there.
    #[wasm_bindgen(js_name = passOn)]
    fn pass_through(source: &web_sys::ReadableStream, words: Uint8Array) -> Array;
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
/// What the client is told where nobody else answers: a busy node's own words, or
/// [`Error::Unavailable`].
pub async fn forward(
    edge: &Rc<Edge>,
    question: &Question,
) -> Result<Response, Result<Response, Failure>> {
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
        if question.client.is_gone() {
            // That is why there is no answer.
            return Err(Err(unheard()));
        }
        let name = edge.pool.borrow().node(index).name.clone();
        let mut pool = edge.pool.borrow_mut();
        match answer {
            Err(reason) => {
                console_warn!("node {name}: {reason}");
                pool.failed(index, start, now());
            }
            Ok(response) => match response.status_code() {
                401 | 403 if pool.node(index).secret.is_some() => {
                    console_error!("node {name} refuses the key that we have for it");
                    pool.failed(index, start, now());
                }
                429 | 503 => {
                    pool.busy(index, retry_after(&response).unwrap_or(BUSY), now());
                    refused = Some((response, name));
                }
                502 | 504 | 520..=530 => {
                    console_warn!("node {name}: status {}", response.status_code());
                    pool.failed(index, start, now());
                }
                _ => {
                    drop(pool);
                    let follow = Follow {
                        edge: edge.clone(),
                        index,
                        start,
                    };
                    return pass_on(response, &name, question, Some(follow))
                        .map_err(|e| Err(internal(e)));
                }
            },
        }
    }
    if let Some((response, name)) = refused {
        return Err(pass_on(response, &name, question, None).map_err(internal));
    }
    let opens_in = edge.pool.borrow().opens_in(model, now());
    Err(Err(Failure::Ask(match opens_in {
        None => absent(edge, &question.ask),
        Some(opens_in) => unavailable(opens_in),
    })))
}

/// What is said where no node ever has what is asked for.
fn absent(edge: &Edge, ask: &Ask) -> Error {
    match (&ask.model, &ask.adapter) {
        _ if ask.merges => Error::Invalid {
            field: "parameters.merged_adapters".into(),
            reason: "is for nodes, and there is none".into(),
        },
        (Some(model), _) => Error::ModelNotFound {
            model: model.clone(),
            known: edge.known(),
        },
        (None, Some(adapter)) => Error::AdapterNotFound {
            adapter: adapter.clone(),
        },
        (None, None) => unavailable(Duration::ZERO),
    }
}

fn unavailable(opens_in: Duration) -> Error {
    Error::Unavailable {
        reason: "No node can answer now.".into(),
        retry_after: opens_in.max(Duration::from_secs(1)),
    }
}

/// The question to a node, given up when the client goes or the node takes too long for its headers.
async fn send(edge: &Edge, index: usize, question: &Question) -> Result<Response, String> {
    let node = edge.pool.borrow().node(index).clone();
    let headers = question.headers.clone();
    let js = |error: worker::Error| error.to_string();
    for name in HOP {
        headers.delete(name).map_err(js)?;
    }
    headers.delete("content-length").map_err(js)?;
    // The caller's key is for us, where we ask for one.
    if node.secret.is_some() || edge.access.has_keys() {
        headers.delete("authorization").map_err(js)?;
    }
    headers.set(REQUEST_ID.as_str(), &question.id).map_err(js)?;
    let mut init = RequestInit::new();
    init.with_method(question.method.clone())
        .with_headers(headers);
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
    let asked = std::pin::pin!(async {
        match &node.binding {
            Some(name) => {
                let request = worker::Request::from(request);
                edge.env.service(name)?.fetch_request(request).await
            }
            None => {
                let world: web_sys::WorkerGlobalScope = js_sys::global().unchecked_into();
                let answer = JsFuture::from(world.fetch_with_request(&request)).await?;
                Ok(answer.unchecked_into::<web_sys::Response>().into())
            }
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

/// Tells the pool how a node's answer goes on.
struct Follow {
    edge: Rc<Edge>,
    index: usize,
    start: Duration,
}

impl Follow {
    /// The first byte is there: for a stream that of its first token, not of its head.
    fn begun(&self) {
        let waited = now().saturating_sub(self.start);
        self.edge.pool.borrow_mut().answered(self.index, waited);
    }

    fn over(&self, whole: bool) {
        let mut pool = self.edge.pool.borrow_mut();
        match whole {
            true => pool.completed(self.index),
            false => pool.failed(self.index, self.start, now()),
        }
    }
}

/// The node's answer, its bytes untouched. Of a stream that breaks off the client is told; `follow` hears
/// when it begins and how it ends, unless the client leaves.
fn pass_on(
    mut response: Response,
    node: &str,
    question: &Question,
    follow: Option<Follow>,
) -> worker::Result<Response> {
    let headers = response.headers_mut().clone();
    for name in HOP {
        headers.delete(name)?;
    }
    placed(&headers, Place::Node, Some(node))?;
    let kind = headers.get("content-type")?.unwrap_or_default();
    let streams = kind.starts_with(EVENTS) || headers.has(UNBUFFERED)?;
    let (builder, body) = response.into_parts();
    let body = match body {
        ResponseBody::Stream(stream) if streams => {
            let words = Uint8Array::from(&last_words(question.path())[..]);
            let passed = pass_through(&stream, words);
            let end = JsFuture::from(passed.get(1).unchecked_into::<Promise>());
            let first = JsFuture::from(passed.get(2).unchecked_into::<Promise>());
            let signal = question.client.signal.clone();
            spawn_local(async move {
                if first.await.is_ok_and(|there| there.is_truthy()) {
                    follow.iter().for_each(Follow::begun);
                }
                let whole = end.await.ok().and_then(|whole| whole.as_bool());
                // What ends because the client has gone says nothing of the node.
                if let Some(whole) = whole.filter(|_| !signal.aborted()) {
                    if !whole {
                        console_warn!("a node broke off");
                    }
                    follow.iter().for_each(|follow| follow.over(whole));
                }
            });
            ResponseBody::Stream(passed.get(0).unchecked_into())
        }
        body => {
            if let Some(follow) = follow {
                follow.begun();
                follow.over(true);
            }
            body
        }
    };
    Ok(builder.with_headers(headers).body(body))
}

/// What says that an answer is not complete. Part of a frame may stand before it.
fn last_words(path: &str) -> Vec<u8> {
    let error = Error::Internal("the node that computed the answer broke off".into());
    [b"\n\n", &break_off(path, error)[..]].concat()
}

/// Said to a client that has gone.
pub fn unheard() -> Failure {
    Error::Internal("nobody waits for the answer".into()).into()
}

fn internal(error: worker::Error) -> Failure {
    Error::Internal(error.to_string()).into()
}
