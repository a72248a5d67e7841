//! `GET /metrics`: what is counted, by which labels, and in which form it is read.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crate::common::*;
use axum::Router;
use axum::body::{Body, to_bytes};
use axum::http::Request;
use futures::{FutureExt, StreamExt};
use serde_json::{Value, json};
use tinderbox_api::{Context, Machine, Place, router};
use tinderbox_protocol::Error;
use tower::ServiceExt;

/// A place where each look at the clock takes a second.
#[derive(Default)]
struct Slow(AtomicU64);

impl Place for Slow {
    fn now(&self) -> u64 {
        Nowhere.now()
    }

    fn uptime(&self) -> Duration {
        Duration::from_secs(self.0.fetch_add(1, Ordering::SeqCst))
    }

    fn new_id(&self) -> String {
        Nowhere.new_id()
    }

    fn machine(&self) -> Machine {
        Nowhere.machine()
    }
}

fn slow(fake: Fake) -> Router {
    router(Context {
        place: Arc::new(Slow::default()),
        ..context(&Arc::new(fake))
    })
}

async fn ask(app: &Router, request: Request<Body>) -> String {
    let response = app.clone().oneshot(request).await.unwrap();
    let body = to_bytes(response.into_body(), usize::MAX).await.unwrap();
    String::from_utf8(body.to_vec()).unwrap()
}

async fn complete(app: &Router, body: Value) -> String {
    let request = Request::post("/v1/completions");
    ask(app, request.body(body.to_string().into()).unwrap()).await
}

/// Every sample of a scrape; each line must be one.
async fn scrape(app: &Router) -> BTreeMap<String, f64> {
    let request = Request::get("/metrics").body(Body::empty()).unwrap();
    let text = ask(app, request).await;
    let samples = text.lines().filter(|line| !line.starts_with('#'));
    let samples = samples.map(|line| {
        let (name, value) = line.rsplit_once(' ').unwrap_or_else(|| panic!("{line}"));
        (name.to_owned(), value.parse().unwrap())
    });
    samples.collect()
}

#[crate::common::async_test]
async fn requests_are_counted_by_dialect_endpoint_and_status() {
    let app = slow(Fake::default());
    for (method, path) in [
        ("GET", "/v1/models"),
        ("GET", "/openai/v1/models"),
        ("GET", "/v1/models/tiny"),
        ("GET", "/v1/models/a/b"),
        ("DELETE", "/v1/models"),
        ("GET", "/health"),
        ("GET", "/lorax/health"),
        ("GET", "/lorax/nowhere"),
        ("GET", "/nowhere/1"),
        ("GET", "/nowhere/2"),
    ] {
        let request = Request::builder().method(method).uri(path);
        ask(&app, request.body(Body::empty()).unwrap()).await;
    }
    let samples = scrape(&app).await;
    let count = |dialect: &str, endpoint: &str, status: u16| {
        let labels = format!(r#"dialect="{dialect}",endpoint="{endpoint}",status="{status}""#);
        samples.get(&format!("tinderbox_requests_total{{{labels}}}"))
    };
    assert_eq!(count("openai", "/v1/models", 200), Some(&2.0));
    assert_eq!(count("openai", "/v1/models", 405), Some(&1.0));
    assert_eq!(count("openai", "/v1/models/{*id}", 200), Some(&1.0));
    assert_eq!(count("openai", "/v1/models/{*id}", 404), Some(&1.0));
    assert_eq!(count("unknown", "/health", 200), Some(&1.0));
    assert_eq!(count("lorax", "/health", 200), Some(&1.0));
    assert_eq!(count("lorax", "unknown", 404), Some(&1.0));
    assert_eq!(count("unknown", "unknown", 404), Some(&2.0));
    let all = samples
        .iter()
        .filter(|(name, _)| name.starts_with("tinderbox_requests_total"));
    assert_eq!(all.map(|(_, count)| count).sum::<f64>(), 10.0);
}

#[crate::common::async_test]
async fn a_request_lasts_from_its_head_to_the_end_of_the_answers_body() {
    let app = slow(Fake::default());
    complete(&app, json!({"prompt": "a", "stream": true})).await;
    let samples = scrape(&app).await;
    let labels = r#"{dialect="openai",endpoint="/v1/completions"}"#;
    let head = samples[&format!("tinderbox_request_first_byte_seconds_sum{labels}")];
    let whole = samples[&format!("tinderbox_request_seconds_sum{labels}")];
    // The sequence looks at the clock when it is asked for and taken in, at its first token and its end.
    assert_eq!((head, whole), (3.0, 6.0));
}

#[crate::common::async_test]
async fn a_client_that_leaves_before_the_head_is_counted_as_such() {
    let app = slow(Fake {
        hang_after: Some(2),
        ..Fake::default()
    });
    let request = Request::post("/v1/completions").body(Body::from(r#"{"prompt": "a"}"#));
    let answer = app.clone().oneshot(request.unwrap());
    assert!(answer.now_or_never().is_none());
    let samples = scrape(&app).await;
    let labels = r#"{dialect="openai",endpoint="/v1/completions",status="499"}"#;
    assert_eq!(samples[&format!("tinderbox_requests_total{labels}")], 1.0);
    assert_eq!(
        samples[r#"tinderbox_generated_tokens_total{model="tiny"}"#],
        2.0
    );
    assert_eq!(samples[r#"lorax_request_failure{err="dropped"}"#], 1.0);
    assert_eq!(samples["lorax_request_success"], 0.0);
}

#[crate::common::async_test]
async fn tokens_and_times_are_measured_whether_an_answer_streams_or_not() {
    for stream in [false, true] {
        let app = slow(Fake::default());
        complete(
            &app,
            json!({"prompt": [1, 2, 3], "max_tokens": 5, "stream": stream}),
        )
        .await;
        let samples = scrape(&app).await;
        let of = |name: &str| samples[&format!(r#"tinderbox_{name}{{model="tiny"}}"#)];
        assert_eq!(of("prompt_tokens_total"), 3.0);
        assert_eq!(of("cached_prompt_tokens_total"), 1.0);
        assert_eq!(of("generated_tokens_total"), 5.0);
        assert_eq!(of("queue_seconds_sum"), 0.25);
        // Asked, taken in, first token, end: a second each. A stream's head goes out in between.
        let head = f64::from(u8::from(stream));
        assert_eq!(of("time_to_first_token_seconds_sum"), 2.0 + head);
        assert_eq!(of("time_per_output_token_seconds_sum"), 0.25);
        assert_eq!(of("time_per_output_token_seconds_count"), 1.0);
        let lorax = |name: &str| samples[&format!("lorax_request_{name}")];
        assert_eq!((lorax("count"), lorax("success")), (1.0, 1.0));
        assert_eq!(
            (lorax("duration_sum"), lorax("validation_duration_sum")),
            (3.0 + head, 1.0)
        );
        assert_eq!(
            (lorax("queue_duration_sum"), lorax("inference_duration_sum")),
            (0.25, 1.75 + head)
        );
        assert_eq!(
            lorax("mean_time_per_token_duration_sum"),
            (1.75 + head) / 5.0
        );
        assert_eq!(
            (lorax("generated_tokens_sum"), lorax("input_length_sum")),
            (5.0, 3.0)
        );
        assert_eq!(samples[r#"lorax_request_input_length_bucket{le="4"}"#], 1.0);
        assert_eq!(samples[r#"lorax_request_input_length_bucket{le="2"}"#], 0.0);
    }
}

#[crate::common::async_test]
async fn every_sequence_of_a_request_counts_and_a_model_by_its_own_name() {
    let app = slow(Fake::default());
    complete(
        &app,
        json!({"prompt": ["a", "b"], "n": 2, "model": "dummy", "max_tokens": 1}),
    )
    .await;
    complete(&app, json!({"prompt": "a", "model": "org/large"})).await;
    let samples = scrape(&app).await;
    assert_eq!(samples["lorax_request_count"], 5.0);
    assert_eq!(
        samples[r#"tinderbox_generated_tokens_total{model="tiny"}"#],
        4.0
    );
    assert_eq!(
        samples[r#"tinderbox_generated_tokens_total{model="org/large"}"#],
        6.0
    );
    let models = samples
        .keys()
        .filter(|key| key.starts_with("tinderbox_generated_tokens_total"));
    assert_eq!(models.count(), 2);
}

#[crate::common::async_test]
async fn what_is_refused_or_fails_is_counted_by_its_kind() {
    let wait = Duration::from_secs(1);
    let full = Error::Overloaded {
        queued: 9,
        retry_after: wait,
    };
    for (error, word) in [
        (full, "overloaded"),
        (Error::Template("no".into()), "template"),
        (Error::NoModel, "unavailable"),
    ] {
        let app = slow(Fake {
            refuse: Some(error),
            ..Fake::default()
        });
        complete(&app, json!({"prompt": "a"})).await;
        let samples = scrape(&app).await;
        assert_eq!(
            samples[&format!(r#"lorax_request_failure{{err="{word}"}}"#)],
            1.0
        );
    }
    let app = slow(Fake {
        fail_after: Some((1, Error::Internal("device lost".into()))),
        ..Fake::default()
    });
    complete(&app, json!({"prompt": "a", "model": "nobody"})).await;
    complete(&app, json!({"prompt": "a"})).await;
    let samples = scrape(&app).await;
    assert_eq!(samples[r#"lorax_request_failure{err="validation"}"#], 1.0);
    assert_eq!(samples[r#"lorax_request_failure{err="generation"}"#], 1.0);
    assert_eq!(
        (
            samples["lorax_request_count"],
            samples["lorax_request_success"]
        ),
        (2.0, 0.0)
    );
    assert!(!samples.keys().any(|key| key.contains("nobody")));
}

#[crate::common::async_test]
async fn the_engines_are_asked_at_each_reading() {
    let app = slow(Fake {
        hang_after: Some(1),
        ..Fake::default()
    });
    let running =
        |samples: &BTreeMap<String, f64>| samples[r#"tinderbox_running_sequences{model="tiny"}"#];
    let request = Request::post("/v1/completions");
    let request = request.body(Body::from(r#"{"prompt": "a", "stream": true, "n": 2}"#));
    let response = app.clone().oneshot(request.unwrap()).await.unwrap();
    let mut body = response.into_body().into_data_stream();
    body.next().await.unwrap().unwrap();
    let samples = scrape(&app).await;
    assert_eq!(running(&samples), 2.0);
    assert_eq!(samples[r#"tinderbox_queue_length{model="tiny"}"#], 2.0);
    assert_eq!(samples[r#"tinderbox_kv_blocks_used{model="tiny"}"#], 3.0);
    assert_eq!(samples[r#"tinderbox_kv_blocks{model="tiny"}"#], 10.0);
    assert_eq!(samples[r#"tinderbox_adapters{model="tiny"}"#], 2.0);
    assert_eq!(
        samples[r#"tinderbox_memory_bytes{kind="weights",model="tiny"}"#],
        65536.0
    );
    assert_eq!(
        samples[r#"tinderbox_memory_bytes{kind="kv_cache",model="tiny"}"#],
        4096.0
    );
    drop(body);
    assert_eq!(running(&scrape(&app).await), 0.0);
}

#[crate::common::async_test]
async fn the_text_is_prometheus_and_json_is_to_be_had_in_the_shape_of_lorax() {
    let fake = fake();
    let got = get(&fake, "/metrics").await;
    assert_eq!(
        got.header("content-type"),
        Some("text/plain; version=0.0.4")
    );
    assert!(got.body.contains("# TYPE tinderbox_kv_blocks gauge"));
    for accept in ["application/json", "text/html, application/json;q=0.9"] {
        let request = Request::get("/lorax/metrics").header("accept", accept);
        let got = send(&fake, request.body(Body::empty()).unwrap()).await;
        assert_eq!(got.header("content-type"), Some("application/json"));
        let json = got.json();
        let gauge = json!({"type": "gauge", "data": [
            {"key": "tinderbox_kv_blocks{model=\"tiny\"}", "value": 10.0},
        ]});
        assert_eq!(json["tinderbox_kv_blocks"], gauge);
        let duration = &json["lorax_request_duration"];
        assert_eq!(duration["type"], "histogram");
        let data = duration["data"].as_array().unwrap();
        let keys: Vec<_> = data
            .iter()
            .map(|sample| sample["key"].as_str().unwrap())
            .collect();
        assert_eq!(keys[0], r#"lorax_request_duration_bucket{le="0.0005"}"#);
        assert_eq!(keys[keys.len() - 2..], ["sum", "count"]);
        assert_eq!(
            json["lorax_request_success"],
            json!({"type": "counter", "data": [{"key": "", "value": 0.0}]})
        );
    }
}
