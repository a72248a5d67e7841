//! A host's own policies in the real binary: keys, CORS, LocalLab's rate, what is logged.

use crate::common::{Server, tinderbox};
use futures::future::join_all;
use reqwest::{Client, Method, Response};

async fn get(server: &Server, path: &str, key: &str) -> Response {
    let request = Client::new().get(format!("{}{path}", server.url));
    request.bearer_auth(key).send().await.unwrap()
}

#[tokio::test]
async fn keys_of_a_file_are_let_in_and_a_refusal_is_logged_without_key_and_query() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("keys");
    // The sum is that of `zwei`.
    let keys = "# ours\n\n eins \nsha256:9dbe3cfc5af797f3516eb7c92f37fe507b83c13017aa9ddb57b9afe25a75a3a6\n";
    std::fs::write(&file, keys).unwrap();
    let server = Server::start(|command| {
        command.arg("--api-keys").arg(&file);
        command.env("TINDERBOX_API_KEY", "drei");
    });
    for key in ["eins", "zwei", "drei"] {
        assert_eq!(get(&server, "/v1/models", key).await.status(), 200, "{key}");
    }
    let refused = get(&server, "/v1/models?page=918273", "vier").await;
    assert_eq!(refused.status(), 401);
    assert_eq!(get(&server, "/health", "vier").await.status(), 200);
    server.process.logged("path=\"/health\"").await;

    let id = refused.headers()["x-request-id"].to_str().unwrap();
    let log = server.process.log();
    let line = log.lines().find(|line| line.contains(id)).expect(&log);
    for part in ["method=GET", "path=\"/v1/models\"", "status=401"] {
        assert!(line.contains(part), "{line}");
    }
    for secret in ["eins", "zwei", "drei", "vier", "9dbe3cfc", "918273"] {
        assert!(!log.contains(secret), "{log}");
    }
}

#[test]
fn a_file_without_keys_or_with_half_a_hash_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("keys");
    for (keys, reason) in [
        ("# none yet\n\n", "keys: no key"),
        ("one\nsha256:1636\n", "keys:2"),
    ] {
        std::fs::write(&file, keys).unwrap();
        let mut serve = tinderbox();
        serve.args(["serve", "--port", "0", "--device", "cpu", "--api-keys"]);
        let output = serve.arg(&file).output().unwrap();
        assert_eq!(output.status.code(), Some(1));
        let error = String::from_utf8_lossy(&output.stderr);
        assert!(error.contains(reason) && !error.contains("1636"), "{error}");
    }
}

#[tokio::test]
async fn only_listed_origins_may_call_from_a_page() {
    let server = Server::start(|command| {
        command.args(["--cors", "https://a.example, https://b.example"]);
    });
    let ask = async |method: Method, origin: &str| {
        let request = Client::new().request(method, format!("{}/chat", server.url));
        let request = request.header("origin", origin);
        let request = request.header("access-control-request-method", "POST");
        let request = request.header("access-control-request-headers", "authorization");
        request.send().await.unwrap()
    };
    for origin in ["https://a.example", "https://b.example"] {
        let preflight = ask(Method::OPTIONS, origin).await;
        assert_eq!(preflight.status(), 200);
        let headers = preflight.headers();
        assert_eq!(headers["access-control-allow-origin"], origin);
        assert_eq!(headers["access-control-allow-headers"], "authorization");
        // Of every answer, as LocalLab's server has it.
        assert!(headers.contains_key("x-process-time") && headers.contains_key("x-request-count"));
        let refusal = ask(Method::POST, origin).await;
        assert_eq!(refusal.headers()["access-control-allow-origin"], origin);
    }
    for origin in ["https://c.example", "http://a.example", "null"] {
        for method in [Method::OPTIONS, Method::POST] {
            let answer = ask(method, origin).await;
            let allowed = answer.headers().get("access-control-allow-origin");
            assert_eq!(allowed, None, "{origin}");
        }
    }
}

#[tokio::test]
async fn an_address_gets_locallabs_documented_rate() {
    let server = Server::start(|_| {});
    let ask = async |client: &Client, path: &str| {
        let request = client.post(format!("{}{path}", server.url));
        let request = request.body(r#"{"prompt": "hello", "max_tokens": 1}"#);
        request.send().await.unwrap()
    };
    // More at once than come back in the time this takes.
    let client = Client::new();
    let answers = join_all((0..100).map(|_| ask(&client, "/generate"))).await;
    let (taken, refused): (Vec<_>, Vec<_>) = answers.iter().partition(|a| a.status() == 200);
    assert!(taken.len() >= 10 && !refused.is_empty(), "{}", taken.len());
    for answer in refused {
        assert_eq!(answer.status(), 429);
        assert!(answer.headers().contains_key("retry-after"));
    }
    assert_eq!(ask(&client, "/v1/completions").await.status(), 200);
    // All of 127.0.0.0/8 is loopback there.
    if cfg!(target_os = "linux") {
        let other = Client::builder().local_address(std::net::IpAddr::from([127, 0, 0, 2]));
        let answer = ask(&other.build().unwrap(), "/generate").await;
        assert_eq!(answer.status(), 200);
    }
}
