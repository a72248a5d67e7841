//! The isolate as the router sees it, and how its time passes.
//!
//! The clock of an isolate stands still while it computes and moves on with input and output, so
//! that nobody can time the machine by it: rates measured here are too high.

use std::time::Duration;

use axum::http::{HeaderMap, HeaderName, HeaderValue};
use js_sys::Date;
use tinderbox_api::{Machine, Place};
use worker::Headers;

/// Time since 1970.
pub fn now() -> Duration {
    Duration::from_secs_f64(Date::now() / 1000.0)
}

/// A header's value; `None` where there is none.
pub fn header(headers: &Headers, name: &str) -> Option<String> {
    headers.get(name).ok().flatten()
}

/// A request's headers as the router reads them. What is no header's value is left out: the runtime takes
/// some control characters.
pub fn read_headers(headers: &Headers) -> HeaderMap {
    let parsed = |(name, value): (String, String)| -> Option<(HeaderName, HeaderValue)> {
        Some((name.parse().ok()?, value.parse().ok()?))
    };
    headers.entries().filter_map(parsed).collect()
}

/// An answer's headers as the runtime takes them, but for what is no text.
pub fn write_headers(headers: &HeaderMap) -> Headers {
    let texts = headers.iter();
    let texts = texts.filter_map(|(name, value)| Some((name.as_str(), value.to_str().ok()?)));
    texts.collect()
}

/// An isolate: its clock and its identifiers.
pub struct Isolated {
    /// When it began.
    pub since: Duration,
}

impl Place for Isolated {
    fn now(&self) -> u64 {
        now().as_secs()
    }

    fn uptime(&self) -> Duration {
        now().saturating_sub(self.since)
    }

    fn new_id(&self) -> String {
        uuid::Uuid::new_v4().simple().to_string()
    }

    fn machine(&self) -> Machine {
        Machine {
            platform: "edge wasm32".into(),
            ..Machine::default()
        }
    }
}
