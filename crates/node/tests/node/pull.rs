//! `pull` against a hub on loopback that redirects, cuts, refuses and lies.

use std::path::Path;
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, Response, StatusCode, header};
use axum::response::IntoResponse;
use futures::{StreamExt, stream};
use sha2::{Digest, Sha256};
use tinderbox::catalog::{Catalog, Entry, EntryFile, Source};
use tinderbox::pull::{Hub, Local, PullError, Quiet, fetch_entry, is_cached};

/// What the hub does next, and what it was asked.
struct Script {
    bytes: Vec<u8>,
    etag: String,
    /// Send only so many bytes of the next body, then break the connection.
    cut: Option<usize>,
    /// Answer everything with this.
    status: Option<StatusCode>,
    /// Send files from another path.
    redirect: bool,
    /// Send the whole file, without its length, whatever range is asked for.
    ignore_ranges: bool,
    /// Files of every repository.
    tree: Vec<&'static str>,
    ranges: Vec<String>,
    /// Paths of all bodies that were asked for.
    paths: Vec<String>,
}

type Shared = Arc<Mutex<Script>>;

async fn answer(State(script): State<Shared>, request: Request) -> Response<Body> {
    let mut script = script.lock().unwrap();
    if let Some(status) = script.status {
        return status.into_response();
    }
    let path = request.uri().path().to_owned();
    if path.contains("/tree/") {
        let files = script
            .tree
            .iter()
            .map(|path| serde_json::json!({ "type": "file", "oid": "1", "size": 3, "path": path }));
        let list = serde_json::Value::from_iter(files).to_string();
        return ([(header::CONTENT_TYPE, "application/json")], list).into_response();
    }
    if script.redirect && !path.starts_with("/elsewhere") {
        let to = format!("/elsewhere{path}");
        return (StatusCode::TEMPORARY_REDIRECT, [(header::LOCATION, to)]).into_response();
    }
    let range = request
        .headers()
        .get(header::RANGE)
        .map(|r| r.to_str().unwrap().to_owned());
    let mut headers = HeaderMap::new();
    headers.insert(
        header::ETAG,
        format!("\"{}\"", script.etag).parse().unwrap(),
    );
    headers.insert(
        "x-repo-commit",
        "0123456789012345678901234567890123456789".parse().unwrap(),
    );
    let start: usize = range.as_deref().map_or(0, |r| {
        r.trim_start_matches("bytes=")
            .split('-')
            .next()
            .unwrap()
            .parse()
            .unwrap()
    });
    let body = script.bytes[start..].to_vec();
    headers.insert(
        header::CONTENT_LENGTH,
        body.len().to_string().parse().unwrap(),
    );
    let status = if range.is_some() {
        StatusCode::PARTIAL_CONTENT
    } else {
        StatusCode::OK
    };
    if request.method() == axum::http::Method::HEAD {
        return (status, headers).into_response();
    }
    if script.ignore_ranges {
        let whole = stream::iter([Ok::<_, std::io::Error>(script.bytes.clone())]);
        headers.remove(header::CONTENT_LENGTH);
        return (StatusCode::OK, headers, Body::from_stream(whole)).into_response();
    }
    script.ranges.extend(range);
    script.paths.push(path);
    let body = match script.cut.take() {
        None => Body::from(body),
        Some(at) => {
            let sent = stream::iter([Ok::<_, std::io::Error>(body[..at].to_vec())]);
            // Time for the first bytes to leave before the connection breaks.
            let broken = stream::once(async {
                tokio::time::sleep(std::time::Duration::from_millis(100)).await;
                Err(std::io::Error::other("cut"))
            });
            Body::from_stream(sent.chain(broken))
        }
    };
    (status, headers, body).into_response()
}

async fn hub(bytes: &[u8]) -> (Shared, Hub) {
    let script = Script {
        bytes: bytes.to_vec(),
        etag: "aaaa".into(),
        cut: None,
        status: None,
        redirect: false,
        ignore_ranges: false,
        tree: vec!["one.gguf", "two.gguf"],
        ranges: Vec::new(),
        paths: Vec::new(),
    };
    let script = Arc::new(Mutex::new(script));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let endpoint = format!("http://{}", listener.local_addr().unwrap());
    let router = Router::new().fallback(answer).with_state(script.clone());
    tokio::spawn(async move { axum::serve(listener, router).await });
    (script, Hub::new(Some(&endpoint), None).unwrap())
}

fn file(name: &str, bytes: &[u8], sources: Vec<Source>) -> EntryFile {
    EntryFile {
        name: name.into(),
        bytes: bytes.len() as u64,
        sha256: Sha256::digest(bytes)
            .iter()
            .map(|b| format!("{b:02x}"))
            .collect(),
        sources,
    }
}

fn of_files(files: Vec<EntryFile>) -> Entry {
    Entry {
        name: "m".into(),
        description: String::new(),
        licence: String::new(),
        files,
    }
}

fn entry(bytes: &[u8], sources: Vec<Source>) -> Entry {
    of_files(vec![file("m.gguf", bytes, sources)])
}

fn on_hub() -> Vec<Source> {
    vec![Source::Hub {
        hub: "owner/repo".into(),
        file: None,
    }]
}

async fn resolve(model: &str, cache: &Path, hub: &Hub, quiet: &Quiet) -> Result<Local, PullError> {
    let catalog = Catalog::read(None).unwrap();
    tinderbox::pull::resolve(model, &catalog, cache, hub, quiet).await
}

/// Everything under a folder but lock files.
fn files(folder: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(folder.join("m")).unwrap().flatten();
    let names = entries.map(|e| e.file_name().to_string_lossy().into_owned());
    names.filter(|name| !name.ends_with(".lock")).collect()
}

const BYTES: &[u8] = b"The quick brown fox jumps over the lazy dog, many times over.";

#[tokio::test]
async fn a_file_is_fetched_once_and_through_redirects() {
    let cache = tempfile::tempdir().unwrap();
    let (script, hub) = hub(BYTES).await;
    script.lock().unwrap().redirect = true;
    let entry = entry(BYTES, on_hub());
    let path = fetch_entry(&entry, cache.path(), &hub, &Quiet)
        .await
        .unwrap();
    assert_eq!(std::fs::read(&path).unwrap(), BYTES);
    assert_eq!(files(cache.path()), ["m.gguf"]);

    script.lock().unwrap().status = Some(StatusCode::INTERNAL_SERVER_ERROR);
    assert_eq!(
        fetch_entry(&entry, cache.path(), &hub, &Quiet)
            .await
            .unwrap(),
        path
    );
}

#[tokio::test]
async fn a_cut_transfer_goes_on_where_it_stopped() {
    let cache = tempfile::tempdir().unwrap();
    let (script, hub) = hub(BYTES).await;
    script.lock().unwrap().cut = Some(20);
    let entry = entry(BYTES, on_hub());
    let error = fetch_entry(&entry, cache.path(), &hub, &Quiet)
        .await
        .unwrap_err();
    assert!(error.to_string().contains("resume"), "{error}");
    assert_eq!(files(cache.path()), ["m.gguf.aaaa.part"]);

    let path = fetch_entry(&entry, cache.path(), &hub, &Quiet)
        .await
        .unwrap();
    assert_eq!(std::fs::read(path).unwrap(), BYTES);
    let last = format!("bytes=20-{}", BYTES.len() - 1);
    assert_eq!(script.lock().unwrap().ranges, [last]);
    assert_eq!(files(cache.path()), ["m.gguf"]);
}

#[tokio::test]
async fn a_server_that_ignores_the_range_leaves_no_long_file() {
    let cache = tempfile::tempdir().unwrap();
    let (script, hub) = hub(BYTES).await;
    script.lock().unwrap().cut = Some(20);
    // No hash is pinned here: the length alone must tell.
    let pull = || resolve("hf:owner/repo/one.gguf", cache.path(), &hub, &Quiet);
    pull().await.unwrap_err();
    script.lock().unwrap().ignore_ranges = true;
    let error = pull().await.unwrap_err().to_string();
    assert!(error.contains("deleted"), "{error}");
    let path = pull().await.unwrap().path;
    assert_eq!(std::fs::read(path).unwrap(), BYTES);
}

#[tokio::test]
async fn a_repository_fetched_once_needs_no_hub() {
    let cache = tempfile::tempdir().unwrap();
    let (script, hub) = hub(BYTES).await;
    script.lock().unwrap().tree = vec!["config.json", "model.safetensors", "README.md"];
    let fetched = resolve("hf:owner/repo", cache.path(), &hub, &Quiet)
        .await
        .unwrap();
    assert!(fetched.path.join("model.safetensors").exists());
    assert!(!fetched.path.join("README.md").exists());
    let nowhere = Hub::new(Some("http://127.0.0.1:9"), None).unwrap();
    let again = resolve("hf:owner/repo", cache.path(), &nowhere, &Quiet).await;
    assert_eq!(again.unwrap(), fetched);
}

#[tokio::test]
async fn a_repository_cut_in_the_middle_is_not_taken_for_whole() {
    let cache = tempfile::tempdir().unwrap();
    let (script, hub) = hub(BYTES).await;
    script.lock().unwrap().tree = vec!["config.json", "model.safetensors"];
    script.lock().unwrap().cut = Some(20);
    let pull = || resolve("hf:owner/repo", cache.path(), &hub, &Quiet);
    pull().await.unwrap_err();
    let folder = pull().await.unwrap().path;
    for file in ["config.json", "model.safetensors"] {
        assert_eq!(std::fs::read(folder.join(file)).unwrap(), BYTES, "{file}");
    }
}

#[tokio::test]
async fn bytes_of_two_versions_never_mix() {
    let cache = tempfile::tempdir().unwrap();
    let (script, hub) = hub(&[b'x'; 61]).await;
    script.lock().unwrap().cut = Some(20);
    let entry = entry(BYTES, on_hub());
    fetch_entry(&entry, cache.path(), &hub, &Quiet)
        .await
        .unwrap_err();
    {
        let mut script = script.lock().unwrap();
        script.bytes = BYTES.to_vec();
        script.etag = "bbbb".into();
    }
    let path = fetch_entry(&entry, cache.path(), &hub, &Quiet)
        .await
        .unwrap();
    assert_eq!(std::fs::read(path).unwrap(), BYTES);
    assert!(script.lock().unwrap().ranges.is_empty());
}

#[tokio::test]
async fn a_wrong_hash_is_named_and_leaves_nothing() {
    let cache = tempfile::tempdir().unwrap();
    let (_script, hub) = hub(b"something else").await;
    let entry = entry(BYTES, on_hub());
    let error = fetch_entry(&entry, cache.path(), &hub, &Quiet)
        .await
        .unwrap_err()
        .to_string();
    assert!(
        error.contains("SHA-256") && error.contains(&entry.files[0].sha256),
        "{error}"
    );
    assert!(files(cache.path()).is_empty());
}

#[tokio::test]
async fn a_cached_file_of_the_wrong_length_is_fetched_again() {
    let cache = tempfile::tempdir().unwrap();
    let (_script, hub) = hub(BYTES).await;
    let entry = entry(BYTES, on_hub());
    let path = fetch_entry(&entry, cache.path(), &hub, &Quiet)
        .await
        .unwrap();
    std::fs::write(&path, &BYTES[..20]).unwrap();
    fetch_entry(&entry, cache.path(), &hub, &Quiet)
        .await
        .unwrap();
    assert_eq!(std::fs::read(path).unwrap(), BYTES);
}

#[tokio::test]
async fn refusals_of_the_hub_are_told() {
    let cache = tempfile::tempdir().unwrap();
    let (script, hub) = hub(BYTES).await;
    for (status, words) in [
        (StatusCode::UNAUTHORIZED, "Authentication"),
        (StatusCode::NOT_FOUND, "not found"),
    ] {
        script.lock().unwrap().status = Some(status);
        let fetched = fetch_entry(&entry(BYTES, on_hub()), cache.path(), &hub, &Quiet).await;
        let Err(PullError::NoSource { tried, .. }) = fetched else {
            panic!("{fetched:?}")
        };
        assert!(
            tried[0].starts_with("hf:owner/repo/m.gguf: ") && tried[0].contains(words),
            "{tried:?}"
        );
        // The list of a repository is asked for without hf-hub's words.
        let listed = resolve("hf:owner/repo", cache.path(), &hub, &Quiet).await;
        let listed = listed.unwrap_err().to_string();
        assert!(
            listed.starts_with("hf:owner/repo: ") && listed.contains(status.as_str()),
            "{listed}"
        );
    }
}

#[tokio::test]
async fn a_split_file_comes_with_all_its_parts() {
    let parts = [
        "m-00001-of-00003.gguf",
        "m-00002-of-00003.gguf",
        "m-00003-of-00003.gguf",
    ];
    for reference in ["hf:owner/repo", "hf:owner/repo/m-00002-of-00003.gguf"] {
        let cache = tempfile::tempdir().unwrap();
        let (script, hub) = hub(BYTES).await;
        script.lock().unwrap().tree = parts.to_vec();
        let first = resolve(reference, cache.path(), &hub, &Quiet).await;
        let first = first.unwrap().path;
        assert!(first.ends_with(parts[0]), "{}", first.display());
        for part in parts {
            assert_eq!(std::fs::read(first.with_file_name(part)).unwrap(), BYTES);
        }
    }
}

#[tokio::test]
async fn with_no_hub_reachable_the_next_source_is_taken() {
    let cache = tempfile::tempdir().unwrap();
    let copy = cache.path().join("elsewhere.gguf");
    std::fs::write(&copy, BYTES).unwrap();
    // Nobody listens on the discard port of loopback.
    let hub = Hub::new(Some("http://127.0.0.1:9"), None).unwrap();
    let mut sources = on_hub();
    sources.push(Source::Path(copy));
    let path = fetch_entry(&entry(BYTES, sources), cache.path(), &hub, &Quiet)
        .await
        .unwrap();
    assert_eq!(std::fs::read(path).unwrap(), BYTES);
}

#[tokio::test]
async fn a_repository_with_several_models_asks_which() {
    let cache = tempfile::tempdir().unwrap();
    let (_script, hub) = hub(BYTES).await;
    let error = resolve("hf:owner/repo", cache.path(), &hub, &Quiet)
        .await
        .unwrap_err()
        .to_string();
    assert!(error.contains("one.gguf, two.gguf"), "{error}");
    let local = resolve("hf:owner/repo/one.gguf", cache.path(), &hub, &Quiet)
        .await
        .unwrap();
    assert_eq!(std::fs::read(local.path).unwrap(), BYTES);
    // An absolute path: of a folder of our own, should it ever be written to.
    let outside = tempfile::tempdir().unwrap();
    let absolute = format!("hf:owner/repo/{}/x.gguf", outside.path().display());
    for bad in [
        "hf:owner",
        "hf:../x/y",
        "hf:owner/repo/../../etc",
        &absolute,
        "hf:owner/repo@../x.gguf",
        "hf:owner/repo@..",
        "nothing-of-the-kind",
    ] {
        let error = resolve(bad, cache.path(), &hub, &Quiet).await.unwrap_err();
        assert!(matches!(error, PullError::Unknown(_)), "{bad}: {error}");
    }
}

/// A Hugging Face folder on the hub.
fn folder() -> Entry {
    let elsewhere = Source::Hub {
        hub: "owner/other@v2".into(),
        file: Some("sub/t.json".into()),
    };
    of_files(vec![
        file("config.json", BYTES, on_hub()),
        file("tokenizer.json", BYTES, vec![elsewhere]),
        file("model.safetensors", BYTES, on_hub()),
    ])
}

#[tokio::test]
async fn a_folder_comes_file_by_file_and_goes_on_after_a_cut_where_it_stopped() {
    let cache = tempfile::tempdir().unwrap();
    let (script, hub) = hub(BYTES).await;
    let entry = folder();
    script.lock().unwrap().cut = Some(20);
    let pull = || fetch_entry(&entry, cache.path(), &hub, &Quiet);
    pull().await.unwrap_err();
    assert!(!is_cached(&entry, cache.path()));
    let path = pull().await.unwrap();
    assert_eq!(path, cache.path().join("m"));
    assert!(is_cached(&entry, cache.path()));
    let mut names = files(cache.path());
    names.sort();
    assert_eq!(
        names,
        ["config.json", "model.safetensors", "tokenizer.json"]
    );
    for name in names {
        assert_eq!(std::fs::read(path.join(&name)).unwrap(), BYTES, "{name}");
    }
    {
        let mut script = script.lock().unwrap();
        assert_eq!(script.ranges, [format!("bytes=20-{}", BYTES.len() - 1)]);
        assert!(
            script.paths[2].starts_with("/owner/other/resolve/")
                && script.paths[2].ends_with("/sub/t.json"),
            "{:?}",
            script.paths
        );
        // Once here, no hub is needed.
        script.status = Some(StatusCode::INTERNAL_SERVER_ERROR);
    }
    assert_eq!(pull().await.unwrap(), path);
}

#[tokio::test]
async fn a_folder_with_one_wrong_file_is_not_there() {
    let cache = tempfile::tempdir().unwrap();
    let (_script, hub) = hub(BYTES).await;
    let mut entry = folder();
    entry.files[2] = file("model.safetensors", b"what was pinned", on_hub());
    let fetched = fetch_entry(&entry, cache.path(), &hub, &Quiet).await;
    let error = fetched.unwrap_err().to_string();
    assert!(
        error.starts_with("model.safetensors: ") && error.contains(&entry.files[2].sha256),
        "{error}"
    );
    assert!(!is_cached(&entry, cache.path()));
    assert!(!cache.path().join("m/model.safetensors").exists());
}
