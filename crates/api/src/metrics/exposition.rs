//! `GET /metrics`: Prometheus' text, or the same as JSON in the shape of LoRAX.

use std::collections::BTreeMap;

use axum::Json;
use axum::extract::State;
use axum::http::{HeaderMap, Uri, header};
use axum::response::{IntoResponse, Response};
use prometheus::{IntGaugeVec, Opts, Registry, TEXT_FORMAT, TextEncoder};
use serde::Serialize;
use tinderbox_protocol::{Error, Stats};

use super::{Metrics, registered};
use crate::{Context, dialects};

/// One metric.
#[derive(Default, Serialize, utoipa::ToSchema)]
struct Family {
    /// `counter`, `gauge` or `histogram`.
    #[serde(rename = "type")]
    kind: String,
    data: Vec<Sample>,
}

/// One value of a metric.
#[derive(Serialize, utoipa::ToSchema)]
struct Sample {
    /// Name and labels as in the text; without labels `sum`, `count` or nothing.
    key: String,
    value: f64,
}

/// What the server counted and timed
///
/// The text format of Prometheus; with `Accept: application/json` the same as JSON, in the shape of LoRAX.
#[utoipa::path(get, path = "/metrics", operation_id = "metrics", tag = "tinderbox", responses(
    (status = 200, description = "All metrics", content(
        (String = "text/plain", example = "tinderbox_running_sequences{model=\"tiny\"} 3"),
        (BTreeMap<String, Family> = "application/json"),
    )),
))]
pub(crate) async fn show(State(context): State<Context>, uri: Uri, headers: HeaderMap) -> Response {
    let accept = headers
        .get(header::ACCEPT)
        .and_then(|value| value.to_str().ok());
    let json = accept.is_some_and(|kinds| kinds.contains("application/json"));
    match context.metrics.text(&context.inference.stats()) {
        Ok(text) if json => Json(families(&text)).into_response(),
        Ok(text) => ([(header::CONTENT_TYPE, TEXT_FORMAT)], text).into_response(),
        Err(error) => dialects::refuse(uri.path(), Error::Internal(error.to_string()).into()),
    }
}

impl Metrics {
    fn text(&self, stats: &[Stats]) -> prometheus::Result<String> {
        let mut families = self.registry.gather();
        families.extend(gauges(stats).gather());
        TextEncoder::new().encode_to_string(&families)
    }
}

/// The state of the engines. It is made anew at each reading, so a model that is gone leaves nothing.
fn gauges(stats: &[Stats]) -> Registry {
    let registry = Registry::new();
    let gauge = |name, help, value: fn(&Stats) -> usize| {
        let made = IntGaugeVec::new(Opts::new(name, help), &["model"]);
        let gauge = registered(&registry, made);
        for model in stats {
            gauge
                .with_label_values(&[&model.model])
                .set(value(model) as i64);
        }
    };
    gauge("tinderbox_queue_length", "Sequences that wait.", |s| {
        s.waiting
    });
    gauge(
        "tinderbox_running_sequences",
        "Sequences that are generated.",
        |s| s.running,
    );
    gauge("tinderbox_kv_blocks_used", "KV blocks in use.", |s| {
        s.used_blocks
    });
    gauge("tinderbox_kv_blocks", "KV blocks there are.", |s| s.blocks);
    gauge("tinderbox_adapters", "Adapters in memory.", |s| s.adapters);
    let options = Opts::new("tinderbox_memory_bytes", "Memory by kind.");
    let memory = registered(&registry, IntGaugeVec::new(options, &["model", "kind"]));
    for model in stats {
        for (kind, bytes) in &model.memory {
            memory
                .with_label_values(&[model.model.as_str(), kind])
                .set(*bytes as i64);
        }
    }
    registry
}

/// The text's metrics by name.
fn families(text: &str) -> BTreeMap<&str, Family> {
    let mut families = BTreeMap::new();
    let mut current = "";
    for line in text.lines() {
        if let Some((name, kind)) = line.strip_prefix("# TYPE ").and_then(|l| l.split_once(' ')) {
            current = name;
            let kind = kind.to_owned();
            families.insert(
                name,
                Family {
                    kind,
                    data: Vec::new(),
                },
            );
        } else if let Some((name, value)) = line.rsplit_once(' ')
            && let (Some(family), Ok(value)) = (families.get_mut(current), value.parse())
        {
            let key = match name {
                labelled if labelled.contains('{') => labelled,
                sum if sum.ends_with("_sum") => "sum",
                count if count.ends_with("_count") => "count",
                _ => "",
            };
            let key = key.to_owned();
            family.data.push(Sample { key, value });
        }
    }
    families
}
