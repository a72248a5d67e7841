//! Wire bytes of request cases: `tests/cases/*.json` in, `tests/snapshots` out. A new case is a new
//! file; `INSTA_UPDATE=always cargo test` writes its snapshot.

use std::fmt::Write;
use std::sync::Arc;

use crate::common::{Fake, send};
use axum::body::Body;
use axum::http::Request;
use serde_json::Value;

const CASES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/cases");

#[crate::common::async_test]
async fn every_case_gives_the_bytes_of_its_snapshot() {
    let mut cases = files::list(CASES);
    cases.sort();
    assert!(cases.len() > 20, "the cases are gone");
    for file in cases {
        let case: Value = serde_json::from_str(&files::read(&format!("{CASES}/{file}"))).unwrap();
        let answer = exchange(&case).await;
        files::compare(file.trim_end_matches(".json"), &answer);
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
    for name in [
        "content-type",
        "allow",
        "retry-after",
        "x-adapter-id",
        "x-adapter-source",
    ] {
        if let Some(value) = got.header(name) {
            writeln!(text, "{name}: {value}").unwrap();
        }
    }
    format!("{text}\n{}", got.body)
}

/// The folders, natively.
#[cfg(not(target_arch = "wasm32"))]
mod files {
    use std::fs;

    pub fn list(folder: &str) -> Vec<String> {
        let files = fs::read_dir(folder).unwrap();
        files
            .map(|file| file.unwrap().file_name().into_string().unwrap())
            .collect()
    }

    pub fn read(path: &str) -> String {
        fs::read_to_string(path).unwrap()
    }

    pub fn compare(name: &str, answer: &str) {
        insta::with_settings!({
            prepend_module_to_snapshot => false,
            omit_expression => true,
            snapshot_path => concat!(env!("CARGO_MANIFEST_DIR"), "/tests/snapshots"),
        }, {
            insta::assert_snapshot!(name, answer);
        });
    }
}

/// The folders, from WebAssembly in Node. Snapshots are only compared here.
#[cfg(target_arch = "wasm32")]
mod files {
    use wasm_bindgen::prelude::wasm_bindgen;

    #[wasm_bindgen(module = "node:fs")]
    extern "C" {
        #[wasm_bindgen(js_name = readdirSync)]
        pub fn list(folder: &str) -> Vec<String>;

        #[wasm_bindgen(js_name = readFileSync)]
        fn read_file(path: &str, encoding: &str) -> String;
    }

    pub fn read(path: &str) -> String {
        read_file(path, "utf8")
    }

    pub fn compare(name: &str, answer: &str) {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/snapshots");
        let file = read(&format!("{folder}/{name}.snap"));
        let (_, snapshot) = file.split_once("\n---\n").unwrap();
        assert_eq!(answer.trim_end(), snapshot.trim_end(), "{name}");
    }
}
