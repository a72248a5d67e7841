//! HTTP requests: how many of each kind there were, and how long they took. Each answer says so, as
//! LocalLab's server does: `X-Process-Time`, in seconds up to its first byte, and `X-Request-Count`.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{self, Poll};
use std::time::Duration;

use axum::body::{Body, Bytes, HttpBody};
use axum::extract::{MatchedPath, Request, State};
use axum::http::{HeaderName, HeaderValue};
use axum::middleware::Next;
use axum::response::Response;
use http_body::{Frame, SizeHint};
use prometheus::{HistogramVec, IntCounterVec, Registry};

use super::{Metrics, counters, timers};
use crate::dialects::Dialect;
use crate::{Context, Place};

/// Where the dialect is not known, or the path not served.
const UNKNOWN: &str = "unknown";

/// The status of a request whose client left before there was one, as nginx logs it.
const CLIENT_LEFT: u16 = 499;

const PROCESS_TIME: HeaderName = HeaderName::from_static("x-process-time");
const REQUEST_COUNT: HeaderName = HeaderName::from_static("x-request-count");

/// Requests since the router was made, this one among them; an extension of each request.
#[derive(Clone, Copy)]
pub(crate) struct RequestCount(pub u64);

pub(super) struct Requests {
    /// Those that have begun.
    begun: AtomicU64,
    total: IntCounterVec,
    head: HistogramVec,
    whole: HistogramVec,
}

impl Requests {
    pub fn new(registry: &Registry) -> Requests {
        Requests {
            begun: AtomicU64::new(0),
            total: counters(
                registry,
                "tinderbox_requests_total",
                "HTTP requests that are over; status 499: the client left before there was one.",
                &["dialect", "endpoint", "status"],
            ),
            head: timers(
                registry,
                "tinderbox_request_first_byte_seconds",
                "Time to the first byte of the answer, which is its head.",
                &["dialect", "endpoint"],
            ),
            whole: timers(
                registry,
                "tinderbox_request_seconds",
                "Time to the end of the answer's body, or until the client left.",
                &["dialect", "endpoint"],
            ),
        }
    }
}

/// Measures a request, from its head to the end of the answer's body.
pub(crate) async fn measure(
    State(context): State<Context>,
    mut request: Request,
    next: Next,
) -> Response {
    let count = context
        .metrics
        .requests
        .begun
        .fetch_add(1, Ordering::Relaxed)
        + 1;
    request.extensions_mut().insert(RequestCount(count));
    let matched = request.extensions().get::<MatchedPath>();
    let endpoint = matched.map_or(UNKNOWN, |path| Dialect::forced(path.as_str()).1);
    let mut exchange = Exchange {
        start: context.place.uptime(),
        metrics: context.metrics,
        place: context.place,
        dialect: Dialect::of(request.uri().path()),
        endpoint: endpoint.to_owned(),
        status: CLIENT_LEFT,
    };
    let mut response = next.run(request).await;
    let seconds = exchange.head(&response);
    let headers = response.headers_mut();
    if let Ok(seconds) = HeaderValue::from_str(&format!("{seconds:.4}")) {
        headers.insert(PROCESS_TIME, seconds);
    }
    headers.insert(REQUEST_COUNT, count.into());
    response.map(|body| Body::new(Measured { body, exchange }))
}

/// A request under way. It is over when this is dropped.
struct Exchange {
    metrics: Arc<Metrics>,
    place: Arc<dyn Place>,
    start: Duration,
    dialect: Option<Dialect>,
    endpoint: String,
    status: u16,
}

impl Exchange {
    /// Notes the head of the answer; gives the seconds it took.
    fn head(&mut self, response: &Response) -> f64 {
        // Who decided a shared path by its body says so on the answer.
        let decided = response.extensions().get::<Dialect>().copied();
        self.dialect = decided.or(self.dialect);
        self.status = response.status().as_u16();
        let seconds = self.seconds();
        let head = &self.metrics.requests.head;
        head.with_label_values(&self.labels()).observe(seconds);
        seconds
    }

    fn labels(&self) -> [&str; 2] {
        [self.dialect.map_or(UNKNOWN, Dialect::name), &self.endpoint]
    }

    fn seconds(&self) -> f64 {
        let time = self.place.uptime().saturating_sub(self.start);
        time.as_secs_f64()
    }
}

impl Drop for Exchange {
    fn drop(&mut self) {
        let [dialect, endpoint] = self.labels();
        let Requests { total, whole, .. } = &self.metrics.requests;
        let status = self.status.to_string();
        total.with_label_values(&[dialect, endpoint, &status]).inc();
        let timer = whole.with_label_values(&[dialect, endpoint]);
        timer.observe(self.seconds());
    }
}

/// A body, and the exchange that ends with it.
struct Measured {
    body: Body,
    #[expect(dead_code, reason = "it counts when it is dropped")]
    exchange: Exchange,
}

impl HttpBody for Measured {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        task: &mut task::Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        Pin::new(&mut self.body).poll_frame(task)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
