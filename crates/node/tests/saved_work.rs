//! What a server need not compute, as its callers see it.

mod common;

use common::{Server, tinderbox, tiny_file};
use futures::future::join_all;
use reqwest::Client;
use serde_json::{Value, json};
use tinderbox_kernels::Format;

async fn post(server: &Server, path: &str, body: Value) -> String {
    let request = Client::new().post(format!("{}{path}", server.url));
    let response = request.json(&body).send().await.unwrap();
    assert_eq!(response.status(), 200);
    response.text().await.unwrap()
}

#[tokio::test]
async fn a_prompt_asked_again_is_counted_as_cached_whole_and_streamed() {
    let server = Server::start(|_| {});
    let prompt: Vec<u32> = (0..500).map(|at| 4 + at * at % 60).collect();
    let ask = |stream: bool| {
        let mut body = json!({"prompt": prompt, "max_tokens": 5, "temperature": 0, "ignore_eos": true,
            "stream": stream});
        if stream {
            body["stream_options"] = json!({"include_usage": true});
        }
        post(&server, "/v1/completions", body)
    };
    let [first, second] = [ask(false).await, ask(false).await]
        .map(|body| serde_json::from_str::<Value>(&body).unwrap());
    let usage = |answer: &Value| answer["usage"].clone();
    let counted = |cached: usize| {
        json!({"prompt_tokens": 500, "completion_tokens": 5, "total_tokens": 505,
            "prompt_tokens_details": {"cached_tokens": cached}})
    };
    assert_eq!(usage(&first), counted(0));
    assert_eq!(usage(&second), counted(496));
    assert_eq!(first["choices"], second["choices"]);

    let stream = ask(true).await;
    let mut events = stream
        .lines()
        .filter_map(|line| line.strip_prefix("data: {"));
    let last = events.next_back().map(|event| format!("{{{event}"));
    let last: Value = serde_json::from_str(&last.unwrap()).unwrap();
    assert_eq!(usage(&last), counted(496));

    let metrics = Client::new().get(format!("{}/metrics", server.url));
    let metrics = metrics.send().await.unwrap().text().await.unwrap();
    let line = r#"tinderbox_cached_prompt_tokens_total{model="tiny"} 992"#;
    assert!(metrics.contains(line), "{metrics}");
}

#[tokio::test]
async fn guesses_change_no_answer_and_health_tells_how_many_were_right() {
    let plain = Server::start(|_| {});
    let guessing = Server::start(|command| {
        command.args(["--speculate", "6"]);
    });
    let texts = async |server: &Server| {
        let ask = |index: u32| {
            let prompt: Vec<u32> = (0..60).map(|at| 4 + at % (6 + index)).collect();
            let temperature = f64::from(index % 2) / 2.0;
            // An answer of three words repeats itself.
            let body = json!({"prompt": prompt, "max_tokens": 60, "temperature": temperature, "seed": 7,
                "ignore_eos": true, "logit_bias": {"5": 100, "6": 100, "7": 100}});
            post(server, "/v1/completions", body)
        };
        let bodies = join_all((0..4).map(ask)).await.into_iter();
        let answers = bodies.map(|body| serde_json::from_str::<Value>(&body).unwrap());
        let texts = answers.map(|answer| answer["choices"].clone());
        texts.collect::<Vec<_>>()
    };
    assert_eq!(texts(&guessing).await, texts(&plain).await);
    let told = async |server: &Server| {
        let health = Client::new().get(format!("{}/health", server.url)).send();
        health.await.unwrap().text().await.unwrap()
    };
    assert!(told(&guessing).await.contains("guessed_tokens"));
    assert!(!told(&plain).await.contains("guessed_tokens"));
}

/// Each kernel that a GPU compiles is in the log; after the start there are no more.
#[tokio::test]
async fn no_request_waits_for_a_gpu_to_compile() {
    let gpu = tinderbox().args(["doctor", "--device", "gpu"]).output();
    let gpu = gpu.unwrap();
    if !gpu.status.success() {
        eprintln!("SKIP: {}", String::from_utf8_lossy(&gpu.stderr));
        return;
    }
    // Its second layer takes kernels of its own.
    let mut file = tiny_file::tiny(256, true, "");
    let matrices = file.tensors.iter_mut().filter(|it| it.shape.len() == 2);
    for tensor in matrices.filter(|it| it.name.starts_with("blk.1.")) {
        tensor.format = Format::BF16;
        let numbers = tensor.bytes.chunks_exact(4);
        tensor.bytes = numbers.flat_map(|number| [number[2], number[3]]).collect();
    }
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("mixed.gguf");
    std::fs::write(&path, file.to_bytes()).unwrap();
    let server = Server::start(|command| {
        command.args(["--device", "gpu"]);
        command.env("TINDERBOX_MODEL", path);
        command.env("RUST_LOG", "warn,tinderbox=info,cubecl_wgpu=trace");
    });
    let compiled = || -> Vec<String> {
        let log = server.process.log();
        let names = log.split("compiling WGSL module `").skip(1);
        names
            .map(|rest| rest.split('`').next().unwrap_or(rest).to_owned())
            .collect()
    };
    let before = compiled();
    assert!(!before.is_empty(), "{}", server.process.log());
    let more = || compiled().split_off(before.len());

    let ask = |length: u32, temperature: u32, n: u32| {
        let prompt: Vec<u32> = (0..length).map(|at| 4 + at % 60).collect();
        let body = json!({"prompt": prompt, "max_tokens": 4, "temperature": temperature, "n": n, "ignore_eos": true});
        post(&server, "/v1/completions", body)
    };
    for (length, temperature, n) in [(1, 0, 1), (100, 0, 1), (7, 1, 1), (40, 1, 6)] {
        ask(length, temperature, n).await;
        let more = more();
        assert!(
            more.is_empty(),
            "{length} tokens, {n} answers at {temperature}: {more:?}"
        );
    }
    join_all((1..12).map(|length| ask(length, 0, 1))).await;
    assert!(more().is_empty(), "eleven at once: {:?}", more());
}
