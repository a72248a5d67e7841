//! API keys: who is let in, and how the others are told in their dialect.

use std::sync::Arc;

use crate::common::{context, fake};
use axum::Router;
use axum::body::{Body, to_bytes};
use axum::http::{Request, StatusCode};
use serde_json::{Value, json};
use tinderbox_api::{Context, Keys, router};
use tower::ServiceExt;

fn locked() -> Router {
    let mut keys = Keys::default();
    keys.add("first");
    // Of `second`, as sha256sum prints it.
    let sum = "16367aacb67a4a017c8da8ab95682ccb390863780f7114dda0a0e0c55644c7c4";
    keys.add_hash(sum).unwrap();
    assert!(keys.add_hash("16").is_err());
    router(Context {
        keys: Arc::new(keys),
        ..context(&fake())
    })
}

async fn ask(path: &str, authorization: Option<&str>) -> (StatusCode, Value) {
    let mut request = Request::get(path);
    if let Some(value) = authorization {
        request = request.header("authorization", value);
    }
    let request = request.body(Body::empty()).unwrap();
    let response = locked().oneshot(request).await.unwrap();
    let status = response.status();
    let challenge = response.headers().contains_key("www-authenticate");
    assert_eq!(challenge, status == StatusCode::UNAUTHORIZED);
    let body = to_bytes(response.into_body(), usize::MAX).await.unwrap();
    (status, serde_json::from_slice(&body).unwrap_or_default())
}

#[crate::common::async_test]
async fn any_configured_key_is_let_in_whatever_the_case_of_the_scheme() {
    for value in ["Bearer first", "bearer second", "BEARER  first"] {
        assert_eq!(ask("/v1/models", Some(value)).await.0, StatusCode::OK);
    }
}

#[crate::common::async_test]
async fn everybody_else_is_told_in_the_dialect_of_the_path_and_probes_need_no_key() {
    let wrong = [
        None,
        Some(""),
        Some("Bearer "),
        Some("Bearer firs"),
        Some("Basic first"),
    ];
    for value in wrong {
        let (status, body) = ask("/v1/models", value).await;
        assert_eq!(status, StatusCode::UNAUTHORIZED, "{value:?}");
        assert_eq!(body["error"]["type"], "authentication_error");
        assert_eq!(body["error"]["code"], "invalid_api_key");
        for open in ["/health", "/lorax/health"] {
            assert_eq!(ask(open, value).await.0, StatusCode::OK);
        }
        let closed = [
            "/metrics",
            "/openapi.json",
            "/docs",
            "/lorax/docs",
            "/v1/models/health",
        ];
        for closed in closed {
            assert_eq!(ask(closed, value).await.0, StatusCode::UNAUTHORIZED);
        }
    }
    let (_, body) = ask("/v1/credits", None).await;
    assert_eq!(body["status"], 401);
    assert!(body["error"].is_string());
    assert!(ask("/lorax/generate", None).await.1["error_type"].is_string());
    assert!(ask("/models/current", None).await.1["detail"].is_string());
    let (_, body) = ask("/", None).await;
    assert_eq!(
        (&body["status"], body["error"].is_string()),
        (&json!(401), true)
    );
}
