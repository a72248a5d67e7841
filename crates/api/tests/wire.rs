//! Wire bytes of request cases: `tests/cases/*.json` in, `tests/snapshots` out. A new case is a new
//! file; `INSTA_UPDATE=always cargo test` writes its snapshot.

mod common;

use std::fmt::Write;
use std::path::Path;
use std::sync::Arc;

use axum::body::Body;
use axum::http::Request;
use common::{Fake, send};
use serde_json::Value;

#[tokio::test]
async fn every_case_gives_the_bytes_of_its_snapshot() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cases");
    let mut cases: Vec<_> = std::fs::read_dir(folder)
        .unwrap()
        .map(|f| f.unwrap().path())
        .collect();
    cases.sort();
    assert!(cases.len() > 20, "the cases are gone");
    for path in cases {
        let case: Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
        let name = path.file_stem().unwrap().to_str().unwrap().to_owned();
        let answer = exchange(&case).await;
        insta::with_settings!({ prepend_module_to_snapshot => false, omit_expression => true }, {
            insta::assert_snapshot!(name, answer);
        });
    }
}

/// Status, the headers that matter, and the body of the answer to a case.
async fn exchange(case: &Value) -> String {
    let method = case["method"].as_str().unwrap_or("POST");
    let request = Request::builder()
        .method(method)
        .uri(case["path"].as_str().unwrap());
    let body = match &case["body"] {
        Value::Null => Body::empty(),
        // What is no JSON is written as a string.
        Value::String(raw) => raw.clone().into(),
        body => body.to_string().into(),
    };
    let got = send(&Arc::new(Fake::default()), request.body(body).unwrap()).await;
    let mut text = format!("{}\n", got.status);
    for name in ["content-type", "allow", "retry-after"] {
        if let Some(value) = got.header(name) {
            writeln!(text, "{name}: {value}").unwrap();
        }
    }
    format!("{text}\n{}", got.body)
}
