//! Adapters of a host: a folder, a hub and a storage on loopback, and the binary that serves them.

use std::path::Path;
use std::sync::{Arc, Mutex};

use crate::common::Server;
use crate::tiny_adapter::tiny_adapter;
use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, Response, StatusCode, header};
use axum::response::IntoResponse;
use rusty_s3::Credentials;
use serde_json::{Value, json};
use tempfile::TempDir;
use tinderbox::adapters::{S3, Sources};
use tinderbox_engine::{AdapterFiles, AdapterStore};
use tinderbox_protocol::{AdapterSource, Error};

const MOST: u64 = 1 << 20;
const TOKEN: &str = "hf_of-the-caller";

/// What came in: path, query, authorization.
type Seen = Arc<Mutex<Vec<(String, String, Option<String>)>>>;

/// A server on loopback that answers by `answer`.
async fn serve(answer: fn(&str, &HeaderMap) -> Response<Body>) -> (String, Seen) {
    let seen = Seen::default();
    let handler = move |State(seen): State<Seen>, request: Request| async move {
        let (uri, headers) = (request.uri(), request.headers());
        let authorization = headers.get(header::AUTHORIZATION);
        let authorization = authorization.map(|value| value.to_str().unwrap().to_owned());
        let query = uri.query().unwrap_or_default().to_owned();
        seen.lock()
            .unwrap()
            .push((uri.path().into(), query, authorization));
        answer(uri.path(), headers)
    };
    let router = Router::new().fallback(handler).with_state(seen.clone());
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(listener, router).await });
    (address, seen)
}

fn file(path: &str) -> Option<Vec<u8>> {
    tiny_adapter(1).remove(path.rsplit('/').next().unwrap())
}

async fn fetch(
    sources: &Sources,
    id: &str,
    source: AdapterSource,
    token: Option<&str>,
) -> Result<AdapterFiles, Error> {
    sources.fetch(id, source, token, MOST).await
}

fn put(folder: &Path, seed: u64) {
    std::fs::create_dir_all(folder).unwrap();
    for (name, bytes) in tiny_adapter(seed) {
        std::fs::write(folder.join(name), bytes).unwrap();
    }
}

fn absent(id: &str) -> Error {
    Error::AdapterNotFound { adapter: id.into() }
}

fn reason(result: Result<AdapterFiles, Error>) -> String {
    match result {
        Err(Error::AdapterMismatch { reason, .. }) => reason,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_folder_is_read_by_name_and_no_name_leaves_it() {
    let outside = tempfile::tempdir().unwrap();
    let folder = outside.path().join("adapters");
    put(&folder.join("one"), 1);
    put(&folder.join("owner/two"), 2);
    put(&outside.path().join("secret"), 3);
    let sources = Sources {
        folder: Some(folder.clone()),
        ..Sources::default()
    };
    let local = async |id: &str| fetch(&sources, id, AdapterSource::Local, None).await;
    assert_eq!(local("one").await, Ok(tiny_adapter(1)));
    assert_eq!(local("owner/two").await, Ok(tiny_adapter(2)));
    let names: Vec<String> = sources.names().into_iter().map(|(name, _)| name).collect();
    assert_eq!(names, ["one", "owner/two"]);

    let absolute = outside.path().join("secret");
    for id in [
        "../secret",
        "one/../../secret",
        "./one",
        "..",
        "",
        "/",
        "..\\secret",
        "none",
        "owner",
        absolute.to_str().unwrap(),
    ] {
        assert_eq!(local(id).await, Err(absent(id)));
    }
    let none = Sources::default();
    let without = fetch(&none, "one", AdapterSource::Local, None).await;
    assert_eq!(without, Err(absent("one")));
    let little = sources.fetch("one", AdapterSource::Local, None, 1000).await;
    assert!(reason(little).contains("all adapters may take"));
}

/// The hub: `org/open`, and `org/closed` for those who have the token. Files lie elsewhere.
fn hub(path: &str, headers: &HeaderMap) -> Response<Body> {
    let authorization = headers.get(header::AUTHORIZATION);
    let known = authorization.is_some_and(|value| value.to_str().unwrap().ends_with(TOKEN));
    match path {
        path if path.contains("org/closed") && !known => StatusCode::UNAUTHORIZED.into_response(),
        path if path.contains("org/none") => StatusCode::NOT_FOUND.into_response(),
        path if path.contains("/tree/") => {
            let mut names: Vec<_> = tiny_adapter(1).into_keys().collect();
            names.push("README.md");
            let file = |name: &str| file(name).map_or(3, |bytes| bytes.len());
            let entries = names.iter().map(
                |name| json!({ "type": "file", "oid": "1", "size": file(name), "path": name }),
            );
            let entries = Value::from_iter(entries).to_string();
            ([(header::CONTENT_TYPE, "application/json")], entries).into_response()
        }
        path => {
            let to = format!("{}{path}", ELSEWHERE.get().unwrap());
            (StatusCode::TEMPORARY_REDIRECT, [(header::LOCATION, to)]).into_response()
        }
    }
}

const COMMIT: &str = "0123456789012345678901234567890123456789";

/// Where the hub sends those who want a file.
static ELSEWHERE: std::sync::OnceLock<String> = std::sync::OnceLock::new();

fn elsewhere(path: &str, _: &HeaderMap) -> Response<Body> {
    let headers = [("etag", "\"aaaa\""), ("x-repo-commit", COMMIT)];
    match file(path) {
        Some(bytes) => (headers, bytes).into_response(),
        None => StatusCode::NOT_FOUND.into_response(),
    }
}

#[tokio::test]
async fn the_hub_alone_sees_the_callers_token_and_what_it_opened_is_kept_for_nobody() {
    let (store, behind) = serve(elsewhere).await;
    // Another name of this machine: a header for one host is not for the other.
    let store = store.replace("127.0.0.1", "localhost");
    ELSEWHERE.set(store).unwrap();
    let (address, seen) = serve(hub).await;
    let cache = tempfile::tempdir().unwrap();
    let sources = Sources {
        cache: Some(cache.path().into()),
        hub: Some(address),
        ..Sources::default()
    };
    let from_hub = async |id: &str, token| fetch(&sources, id, AdapterSource::Hub, token).await;

    let closed = reason(from_hub("org/closed", None).await);
    assert!(closed.contains("401"), "{closed}");
    assert_eq!(
        from_hub("org/closed", Some(TOKEN)).await,
        Ok(tiny_adapter(1))
    );
    let bearer = format!("Bearer {TOKEN}");
    let told = seen.lock().unwrap().clone();
    let told = told
        .iter()
        .any(|(.., token)| token.as_deref() == Some(bearer.as_str()));
    assert!(told);
    let behind = behind.lock().unwrap().clone();
    assert!(!behind.is_empty() && behind.iter().all(|(.., token)| token.is_none()));
    let again = reason(from_hub("org/closed", None).await);
    assert!(again.contains("401") && !again.contains(TOKEN), "{again}");

    // What is open to all is fetched once.
    assert_eq!(from_hub("org/open", None).await, Ok(tiny_adapter(1)));
    let count = seen.lock().unwrap().len();
    assert_eq!(from_hub("org/open", None).await, Ok(tiny_adapter(1)));
    assert_eq!(seen.lock().unwrap().len(), count);

    for id in [
        "org/none",
        "none",
        "../org/open",
        "org/../open",
        "org/open?x",
        "org/%2e%2e",
        "org/open/more",
        "",
    ] {
        assert_eq!(from_hub(id, None).await, Err(absent(id)), "{id}");
    }
    let large = sources
        .fetch("org/large", AdapterSource::Hub, None, 1000)
        .await;
    assert!(reason(large).contains("may have 1000"));
}

/// The bucket `shelf` with the adapter `pirates/one`; `pirates/closed` is nobody's.
fn storage(path: &str, _: &HeaderMap) -> Response<Body> {
    let found = path.strip_prefix("/shelf/pirates/one/").and_then(file);
    match found {
        Some(bytes) => bytes.into_response(),
        None if path.contains("closed") => StatusCode::FORBIDDEN.into_response(),
        None => StatusCode::NOT_FOUND.into_response(),
    }
}

#[tokio::test]
async fn storage_is_asked_with_a_signature_and_told_no_token() {
    let (address, seen) = serve(storage).await;
    let credentials = Credentials::new("KEYID", "the-secret-of-the-key");
    let s3 = S3::new(&address, "eu-west-3", credentials).unwrap();
    let sources = Sources {
        s3: Some(s3),
        ..Sources::default()
    };
    let from_s3 = async |id: &str| fetch(&sources, id, AdapterSource::S3, Some(TOKEN)).await;
    for id in ["s3://shelf/pirates/one", "shelf/pirates/one/"] {
        assert_eq!(from_s3(id).await, Ok(tiny_adapter(1)));
    }
    for (path, query, authorization) in seen.lock().unwrap().drain(..) {
        assert!(path.starts_with("/shelf/pirates/one/"), "{path}");
        assert_eq!(authorization, None);
        for part in [
            "X-Amz-Algorithm=AWS4-HMAC-SHA256",
            "X-Amz-Credential=KEYID%2F",
            "eu-west-3%2Fs3",
            "X-Amz-Signature=",
        ] {
            assert!(query.contains(part), "{query}");
        }
        assert!(
            !query.contains("the-secret") && !query.contains(TOKEN),
            "{query}"
        );
    }

    assert_eq!(
        from_s3("s3://shelf/none").await,
        Err(absent("s3://shelf/none"))
    );
    let closed = reason(from_s3("s3://shelf/closed/x").await);
    assert!(
        closed.contains("403") && !closed.contains("X-Amz"),
        "{closed}"
    );
    let little = sources
        .fetch("shelf/pirates/one", AdapterSource::S3, None, 1000)
        .await;
    assert!(reason(little).contains("all adapters may take"));
    seen.lock().unwrap().clear();
    for id in [
        "s3://shelf",
        "s3://shelf/../other/x",
        "s3:///x/y",
        "",
        "shelf/./x",
        "shelf//x",
    ] {
        let refused = from_s3(id).await;
        assert!(
            matches!(refused, Err(Error::AdapterMismatch { .. })),
            "{id}: {refused:?}"
        );
    }
    assert!(seen.lock().unwrap().is_empty());
    let none = Sources::default();
    let without = fetch(&none, "shelf/x", AdapterSource::S3, None).await;
    assert!(reason(without).contains("AWS_ACCESS_KEY_ID"));
    // An address that nobody answers shows no signature either.
    let nowhere = S3::new("http://127.0.0.1:9", "x", Credentials::new("KEYID", "s")).unwrap();
    let nowhere = Sources {
        s3: Some(nowhere),
        ..Sources::default()
    };
    let lost = reason(fetch(&nowhere, "shelf/x", AdapterSource::S3, None).await);
    assert!(!lost.contains("X-Amz"), "{lost}");
    let credentials = Credentials::new("KEYID", "s");
    assert!(S3::new("no address", "x", credentials).is_err());
}

/// The binary with the adapters `one` and `owner/two`, and one that fits no model.
async fn server() -> (Server, TempDir) {
    let folder = tempfile::tempdir().unwrap();
    put(&folder.path().join("one"), 1);
    put(&folder.path().join("owner/two"), 2);
    put(&folder.path().join("broken"), 1);
    let tensors = folder.path().join("broken/adapter_model.safetensors");
    std::fs::write(tensors, b"no tensors").unwrap();
    let server = Server::start(|command| {
        command.arg("--adapters").arg(folder.path());
        // Nothing is asked of the world.
        command.env("HF_ENDPOINT", "http://127.0.0.1:9");
        command.env_remove("HF_TOKEN");
    });
    (server, folder)
}

async fn ask(server: &Server, path: &str, body: Value) -> (u16, HeaderMap, Value) {
    let request = reqwest::Client::new().post(format!("{}{path}", server.url));
    let request = request.header("authorization", format!("Bearer {TOKEN}"));
    let answer = request.body(body.to_string()).send().await.unwrap();
    let (status, headers) = (answer.status().as_u16(), answer.headers().clone());
    let body = serde_json::from_slice(&answer.bytes().await.unwrap()).unwrap();
    (status, headers, body)
}

#[tokio::test]
async fn a_server_answers_with_the_adapter_a_request_names_and_tells_which_there_are() {
    let (server, _folder) = server().await;
    let native = async |parameters: Value| {
        let mut parameters = parameters;
        parameters["max_new_tokens"] = json!(12);
        parameters["ignore_eos_token"] = json!(true);
        let body = json!({ "inputs": "hello abc", "parameters": parameters });
        ask(&server, "/generate", body).await
    };
    let text = |answer: &(u16, HeaderMap, Value)| {
        assert_eq!(answer.0, 200, "{}", answer.2);
        answer.2["generated_text"].as_str().unwrap().to_owned()
    };
    let base = native(json!({})).await;
    assert!(base.1.get("x-adapter-id").is_none());
    let one = native(json!({ "adapter_id": "one" })).await;
    assert_eq!(one.1["x-adapter-id"], "one");
    assert_eq!(one.1["x-adapter-source"], "local");
    assert_ne!(text(&one), text(&base));
    let merged = json!({ "ids": ["one", "owner/two"], "weights": [1.0, 0.0] });
    let merged = native(json!({ "merged_adapters": merged })).await;
    assert_eq!(text(&merged), text(&one));
    assert_eq!(merged.1["x-adapter-id"], "one,owner/two");
    for none in [json!(""), json!(null), json!("tiny")] {
        assert_eq!(
            text(&native(json!({ "adapter_id": none })).await),
            text(&base)
        );
    }

    let v1 = async |model: &str, source: Value| {
        let body = json!({
            "model": model, "prompt": "hello abc", "max_tokens": 12, "temperature": 0,
            "ignore_eos": true, "adapter_source": source,
        });
        ask(&server, "/v1/completions", body).await
    };
    let (status, _, answer) = v1("one", json!(null)).await;
    assert_eq!((status, answer["model"].as_str()), (200, Some("one")));
    assert_eq!(answer["choices"][0]["text"], text(&one));

    // What is not there or does not fit: 424 natively, 404 and 422 on `/v1`, and why.
    let (status, _, error) = native(json!({ "adapter_id": "x", "adapter_source": "local" })).await;
    assert_eq!(
        (status, error["error_type"].as_str()),
        (424, Some("generation"))
    );
    let (status, _, error) = native(json!({ "adapter_id": "broken" })).await;
    assert_eq!(
        (status, error["error_type"].as_str()),
        (424, Some("generation"))
    );
    assert!(
        error["error"]
            .as_str()
            .unwrap()
            .contains("adapter_model.safetensors"),
        "{error}"
    );
    let (status, _, error) = native(json!({ "adapter_id": "org/far" })).await;
    assert_eq!(status, 424, "{error}");
    assert_eq!(v1("x", json!("local")).await.0, 404);
    assert_eq!(v1("x", json!(null)).await.0, 404);
    assert_eq!(v1("broken", json!(null)).await.0, 422);
    assert_eq!(text(&native(json!({})).await), text(&base));

    let models = reqwest::get(format!("{}/v1/models", server.url))
        .await
        .unwrap();
    let models: Value = serde_json::from_slice(&models.bytes().await.unwrap()).unwrap();
    let models: Vec<_> = (models["data"].as_array().unwrap().iter())
        .map(|model| (&model["id"], &model["parent"], &model["loaded"]))
        .map(|(id, parent, loaded)| json!([id, parent, loaded]))
        .collect();
    assert_eq!(
        Value::from(models),
        json!([
            ["tiny", null, true],
            ["one", "tiny", true],
            ["broken", "tiny", false],
            ["owner/two", "tiny", false],
        ])
    );
    let metrics = reqwest::get(format!("{}/metrics", server.url))
        .await
        .unwrap();
    let metrics = metrics.text().await.unwrap();
    assert!(
        metrics.contains("tinderbox_adapters{model=\"tiny\"} 2"),
        "{metrics}"
    );
    assert!(!server.process.log().contains(TOKEN));
}
