//! What every answer says about its making: `X-Process-Time`, in seconds up to its first byte, and
//! `X-Request-Count`, as LocalLab's server does.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use axum::extract::{Request, State};
use axum::http::{HeaderName, HeaderValue};
use axum::middleware::Next;
use axum::response::Response;

use crate::Place;

const PROCESS_TIME: HeaderName = HeaderName::from_static("x-process-time");
const REQUEST_COUNT: HeaderName = HeaderName::from_static("x-request-count");

/// Requests since the router was made, this one among them; an extension of each request.
#[derive(Clone, Copy)]
pub(crate) struct RequestCount(pub u64);

/// Counts requests and takes their time.
#[derive(Clone)]
pub(crate) struct Meter {
    place: Arc<dyn Place>,
    count: Arc<AtomicU64>,
}

impl Meter {
    pub fn new(place: Arc<dyn Place>) -> Meter {
        let count = Arc::default();
        Meter { place, count }
    }
}

/// Measures one request.
pub(crate) async fn measure(
    State(meter): State<Meter>,
    mut request: Request,
    next: Next,
) -> Response {
    let count = meter.count.fetch_add(1, Ordering::Relaxed) + 1;
    let start = meter.place.uptime();
    request.extensions_mut().insert(RequestCount(count));
    let mut response = next.run(request).await;
    let taken = meter.place.uptime().saturating_sub(start);
    let headers = response.headers_mut();
    if let Ok(seconds) = HeaderValue::from_str(&format!("{:.4}", taken.as_secs_f64())) {
        headers.insert(PROCESS_TIME, seconds);
    }
    headers.insert(REQUEST_COUNT, count.into());
    response
}
