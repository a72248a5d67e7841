//! A request at the edge, from the runtime's event to the answer.

use std::cell::{OnceCell, RefCell};
use std::convert::identity;
use std::rc::Rc;
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::http;
use futures::future::{Either, select};
use futures::{StreamExt, TryStreamExt};
use tinderbox_api::{Failure, REQUEST_ID, refuse};
use tinderbox_protocol::Error;
use worker::{Context, Delay, Env, Headers, Method, Request, Response, console_error, event};

use crate::access::Access;
use crate::adapters;
use crate::ask::Ask;
use crate::config::{default_nodes, number, text};
use crate::cors::Origins;
use crate::forward::{forward, unheard};
use crate::gone::Client;
use crate::isolate::Isolate;
use crate::metrics::Metrics;
use crate::models;
use crate::nodes::Pool;
use crate::packed::Store;
use crate::place::{Local, PLACE, Place, Wish, decide};
use crate::unloaded;
use crate::upkeep::Upkeep;
use crate::world::{header, now, read_headers, write_headers};

/// Seconds until the head of the answer, as LocalLab's server says them.
const PROCESS_TIME: &str = "x-process-time";
/// Names the node that answered.
const NODE: &str = "x-tinderbox-node";

/// Tokens a sequence of the isolate's model can hold, where the configuration says nothing.
const CONTEXT: usize = 512;
/// Tokens that are computed here while nodes could, where it says nothing.
const BUDGET: usize = 256;
/// MiB of adapters in memory, where it says nothing: as much again is on the device.
const ADAPTER_MEMORY: u32 = 4;
/// Largest body: it is held until a node answered, beside a model in 128 MB.
const BODY_LIMIT: usize = 4 << 20;
/// Seconds a node may take until its headers are there: those of a whole answer come at its end.
const PATIENCE: u64 = 120;
/// A body of up to so many times the limit is read, to be refused.
const DRAINED: usize = 8;
/// Seconds a client may take to send its body.
const BODY_PATIENCE: u64 = 30;

/// What an isolate knows: its configuration, and how the nodes are doing.
pub struct Edge {
    /// The model of the isolate.
    pub local: Option<Local>,
    /// The nodes.
    pub pool: RefCell<Pool>,
    /// How long a node may take until its headers are there.
    pub patience: Duration,
    /// Who may ask.
    pub access: Access,
    /// What was counted.
    pub metrics: Metrics,
    /// What is due beside requests.
    pub upkeep: Upkeep,
    /// Secrets and bindings.
    pub env: Env,
    origins: Origins,
    body_limit: usize,
    body_patience: Duration,
    store: Option<Store>,
}

/// A request as it is passed around: read whole, so that a second node can be asked.
pub struct Question {
    /// Its method.
    pub method: Method,
    /// Path and query.
    pub target: String,
    /// Its headers, as the runtime has them: to read all of them into the module takes time.
    pub headers: Headers,
    /// Its body.
    pub body: Bytes,
    /// Its identifier.
    pub id: String,
    /// What it asks for.
    pub ask: Ask,
    /// Who asked.
    pub client: Client,
}

impl Question {
    /// The path alone.
    pub fn path(&self) -> &str {
        self.target.split('?').next().unwrap_or_default()
    }
}

thread_local! {
    static EDGE: OnceCell<Rc<Edge>> = const { OnceCell::new() };
}

/// Answers a request.
#[event(fetch)]
async fn fetch(request: Request, env: Env, context: Context) -> worker::Result<Response> {
    console_error_panic_hook::set_once();
    let path = request.path();
    let edge = match Edge::of(&env) {
        Ok(edge) => edge,
        Err(reason) => {
            console_error!("configuration: {reason}");
            let error = Error::Internal(format!("the edge is not configured: {reason}"));
            return reply(refuse(&path, Failure::Ask(error)));
        }
    };
    let start = now();
    let headers = request.headers().clone();
    let id = identifier(&headers);
    let mut response = match preflight(&request)? {
        Some(response) => response,
        None => match edge.clone().answer(request, &id, &context).await {
            Ok(response) => response,
            Err(failure) => reply(refuse(&path, failure))?,
        },
    };
    let after = now().saturating_sub(start);
    edge.count(&response, after);
    let own = response.headers_mut();
    match edge.origins.allow(header(&headers, "origin").as_deref()) {
        Some(origin) => {
            own.set("access-control-allow-origin", origin)?;
            own.set("access-control-expose-headers", "*")?;
            own.append("vary", "origin")?;
        }
        // A node may allow more.
        None => own.delete("access-control-allow-origin")?,
    }
    own.set(REQUEST_ID.as_str(), &id)?;
    if own.get(PROCESS_TIME)?.is_none() {
        own.set(PROCESS_TIME, &format!("{:.4}", after.as_secs_f64()))?;
    }
    Ok(response)
}

/// The answer to a browser that asks whether a page may ask. What a page wants to send, a key among it,
/// it may; `*` would not stand for a key.
fn preflight(request: &Request) -> worker::Result<Option<Response>> {
    let wanted = |name| header(request.headers(), name);
    let Some(method) = wanted("access-control-request-method") else {
        return Ok(None);
    };
    if request.method() != Method::Options {
        return Ok(None);
    }
    let allowed = Headers::new();
    allowed.set("access-control-allow-methods", &method)?;
    if let Some(headers) = wanted("access-control-request-headers") {
        allowed.set("access-control-allow-headers", &headers)?;
    }
    allowed.set("access-control-max-age", "86400")?;
    Ok(Some(Response::builder().with_headers(allowed).empty()))
}

/// An answer in the runtime's form.
fn reply(response: http::Response<Body>) -> worker::Result<Response> {
    let (parts, body) = response.into_parts();
    let body = body.into_data_stream();
    answer(http::Response::from_parts(parts, body))
}

fn answer(
    response: http::Response<impl futures::Stream<Item = Result<Bytes, axum::Error>> + 'static>,
) -> worker::Result<Response> {
    let (parts, body) = response.into_parts();
    let body = body
        .map_ok(|chunk| chunk.to_vec())
        .map_err(|error| worker::Error::RustError(error.to_string()));
    Response::builder()
        .with_status(parts.status.as_u16())
        .with_headers(write_headers(&parts.headers))
        .from_stream(body)
}

/// Says who answered.
///
/// # Errors
/// A node's name that is no header's value.
pub fn placed(headers: &Headers, place: Place, node: Option<&str>) -> worker::Result<()> {
    let word = match place {
        Place::Edge => "edge",
        Place::Node => "node",
    };
    headers.set(PLACE, word)?;
    node.map_or(Ok(()), |node| headers.set(NODE, node))
}

impl Edge {
    /// What the variables say, read once an isolate.
    fn of(env: &Env) -> Result<Rc<Edge>, String> {
        EDGE.with(|cell| match cell.get() {
            Some(edge) => Ok(edge.clone()),
            None => Ok(cell
                .get_or_init({
                    let edge = Rc::new(Edge::read(env)?);
                    move || edge
                })
                .clone()),
        })
    }

    fn read(env: &Env) -> Result<Edge, String> {
        let context = number(env, "CONTEXT", CONTEXT)?;
        let budget = number(env, "BUDGET", BUDGET)?;
        let adapters = adapters::names(&text(env, "ADAPTERS").unwrap_or_default())?;
        let adapter_memory: u32 = number(env, "ADAPTER_MEMORY", ADAPTER_MEMORY)?;
        Ok(Edge {
            local: text(env, "MODEL").map(|model| Local {
                model,
                adapters,
                adapter_bytes: u64::from(adapter_memory) << 20,
                context,
                budget,
            }),
            pool: RefCell::new(Pool::new(default_nodes(env)?)),
            patience: Duration::from_secs(number(env, "NODE_PATIENCE", PATIENCE)?),
            access: Access::of(env)?,
            metrics: Metrics::new().map_err(|error| error.to_string())?,
            upkeep: Upkeep::default(),
            origins: Origins::parse(&text(env, "CORS").unwrap_or_default()),
            body_limit: number(env, "BODY_LIMIT", BODY_LIMIT)?,
            body_patience: Duration::from_secs(number(env, "BODY_PATIENCE", BODY_PATIENCE)?),
            store: Store::of(env),
            env: env.clone(),
        })
    }

    /// The models that are known by name.
    pub fn known(&self) -> String {
        let pool = self.pool.borrow();
        let nodes = pool.nodes().flat_map(|(_, node)| node.models.iter());
        let local = self.local.iter();
        let local = local.flat_map(|local| std::iter::once(&local.model).chain(&local.adapters));
        let names: Vec<&str> = local.chain(nodes).map(String::as_str).collect();
        names.join(", ")
    }

    async fn answer(
        self: Rc<Self>,
        mut request: Request,
        id: &str,
        context: &Context,
    ) -> Result<Response, Failure> {
        let path = request.path();
        let caller = match self.access.caller(&path, request.headers()).await {
            Ok(caller) => caller,
            Err(failure) => {
                // Left unread it breaks the connection, and with it this answer.
                let _ = self.body(&mut request).await;
                return Err(failure);
            }
        };
        self.keep_up(context).await;
        let failed = |error: worker::Error| Failure::Ask(Error::Internal(error.to_string()));
        let gets = request.method() == Method::Get;
        if gets && path == "/health" {
            return models::health(&self).map_err(failed);
        }
        let wish = header(request.headers(), PLACE);
        let wish = Wish::parse(wish.as_deref()).ok_or_else(|| Error::Invalid {
            field: PLACE.into(),
            reason: "must be auto, edge or node".into(),
        })?;
        let body = self.body(&mut request).await?;
        let url = request.url().map_err(failed)?;
        let question = Question {
            method: request.method(),
            target: match url.query() {
                Some(query) => format!("{path}?{query}"),
                None => path.clone(),
            },
            id: id.to_owned(),
            headers: request.headers().clone(),
            ask: Ask::read(request.method().as_ref(), &path, &body),
            body,
            client: Client::new(request.inner().signal(), context),
        };
        let tokens = question
            .ask
            .tokens(self.local.as_ref().map_or(CONTEXT, |l| l.context));
        let asked = (question.path(), &question.body[..]);
        self.access.admit(&caller, asked, tokens).await?;
        match question.path() {
            "/v1/models" if gets => return models::models(&self).await.map_err(failed),
            "/metrics" if gets => {
                let metrics = models::metrics(&self).await;
                return metrics.map_err(|reason| Error::Internal(reason).into());
            }
            _ => {}
        }
        let model = question.ask.model.as_deref();
        let node_up = self.pool.borrow().is_up(model, now());
        match decide(wish, &question.ask, self.local.as_ref(), node_up) {
            Some(Place::Edge) => self.here(&question).await,
            Some(Place::Node) => match forward(&self, &question).await {
                // What nobody else can answer is answered here, where it can be.
                Err(refusal) if self.has(wish, &question.ask) => {
                    let answer = self.here(&question).await;
                    match answer {
                        Ok(response) if response.status_code() < 400 => Ok(response),
                        _ => refusal,
                    }
                }
                answer => answer.or_else(identity),
            },
            // Says what is wrong: no such model, or nobody who has it.
            None => forward(&self, &question).await.or_else(identity),
        }
    }

    /// Counts an answer by what its headers say.
    fn count(&self, response: &Response, after: Duration) {
        let said = |name| header(response.headers(), name);
        let place = said(PLACE).unwrap_or_else(|| "none".into());
        let node = said(NODE).unwrap_or_default();
        let status = response.status_code();
        self.metrics.answered(&place, &node, status, after);
    }

    fn has(&self, wish: Wish, ask: &Ask) -> bool {
        decide(wish, ask, self.local.as_ref(), false) == Some(Place::Edge)
    }

    /// Reads the body, as far as it is allowed to go on.
    async fn body(&self, request: &mut Request) -> Result<Bytes, Failure> {
        if matches!(request.method(), Method::Get | Method::Head) {
            return Ok(Bytes::new());
        }
        let unread = |error: worker::Error| Failure::Unread(error.to_string());
        let limit = self.body_limit;
        let length = header(request.headers(), "content-length");
        let fits =
            length.is_some_and(|text| text.parse().is_ok_and(|length: usize| length <= limit));
        let read = std::pin::pin!(async {
            if fits {
                // All at once: each piece of a stream takes time.
                let body = request.bytes().await.map_err(unread)?;
                return Ok(Bytes::from(body));
            }
            // A request without any has no stream.
            let Ok(mut stream) = request.stream() else {
                return Ok(Bytes::new());
            };
            let mut body = Vec::new();
            let mut length = 0;
            // A client hears nothing while it sends: what is too much is read to its end, up to a point.
            while let Some(chunk) = stream.next().await {
                let chunk = chunk.map_err(unread)?;
                length += chunk.len();
                match length {
                    fits if fits <= limit => body.extend(chunk),
                    much if much <= limit.saturating_mul(DRAINED) => body.clear(),
                    _ => break,
                }
            }
            match length > limit {
                true => Err(Failure::TooLarge { limit }),
                false => Ok(Bytes::from(body)),
            }
        });
        match select(read, Delay::from(self.body_patience)).await {
            Either::Left((body, _)) => body,
            Either::Right(_) => {
                let seconds = self.body_patience.as_secs();
                Err(Failure::Unread(format!("not complete after {seconds} s")))
            }
        }
    }

    /// Answers in this isolate.
    async fn here(&self, question: &Question) -> Result<Response, Failure> {
        let internal = |reason: String| Failure::Ask(Error::Internal(reason));
        let (Some(local), Some(store)) = (&self.local, &self.store) else {
            return Err(internal("this isolate has no model".into()));
        };
        if question.client.is_gone() {
            return Err(unheard());
        }
        let mut request = http::Request::builder()
            .method(question.method.as_ref())
            .uri(&question.target)
            .body(Body::from(question.body.clone()))
            .map_err(|error| internal(error.to_string()))?;
        *request.headers_mut() = read_headers(&question.headers);
        let isolate = match question.ask.needs_model {
            true => Some(Isolate::get(store, local).await.map_err(|reason| {
                console_error!("{}: {reason}", local.model);
                internal(format!("{} could not be loaded: {reason}", local.model))
            })?),
            false => Isolate::loaded(),
        };
        let response = match isolate {
            Some(isolate) => {
                let response = isolate.answer(request, question.client.clone()).await;
                answer(response.ok_or_else(unheard)?)
            }
            None => reply(unloaded::answer(local, request).await),
        };
        let placed = response.and_then(|mut response| {
            placed(response.headers_mut(), Place::Edge, None)?;
            Ok(response)
        });
        placed.map_err(|error| internal(error.to_string()))
    }
}

/// The caller's identifier where it is sane, else a new one.
fn identifier(headers: &Headers) -> String {
    let sane = header(headers, REQUEST_ID.as_str()).filter(|id| {
        (1..=128).contains(&id.len()) && id.bytes().all(|byte| byte.is_ascii_graphic())
    });
    sane.unwrap_or_else(|| uuid::Uuid::new_v4().simple().to_string())
}
