//! Several models on one server: loaded by request, unloaded where memory is short, never in use.

use std::time::Duration;

use futures::StreamExt;
use tempfile::TempDir;
use tinderbox::models::Models;
use tinderbox::settings::{Kv, Settings};
use tinderbox_protocol::{
    Error, Event, EventStream, Inference, Loaded, Phase, Prompt, Request, Stop,
};

const CONTEXT: u32 = 4096;

/// A server of the models `a`, `b` and `c`, with memory for some of them. The folder goes with it.
fn server(fit: u64) -> (Models, TempDir) {
    let folder = tempfile::tempdir().unwrap();
    let bytes = crate::common::tiny_file::tiny(CONTEXT, true, "").to_bytes();
    for name in ["a", "b", "c"] {
        std::fs::write(folder.path().join(name).with_extension("gguf"), &bytes).unwrap();
    }
    std::fs::write(folder.path().join("notes.txt"), "no model").unwrap();
    let settings = Settings {
        device: "cpu".into(),
        kv_type: Kv::F32,
        max_sequences: 1,
        models: Some(folder.path().into()),
        ..Settings::default()
    };
    // Two layers of two heads of 8 numbers, keys and values, in single precision.
    let cache = u64::from(CONTEXT) * 2 * 2 * 16 * 4;
    let budget = fit * (bytes.len() as u64 + cache) + 1000;
    (Models::new(settings, budget).unwrap(), folder)
}

fn names(models: &Models) -> Vec<String> {
    models.models().into_iter().map(|card| card.id).collect()
}

async fn ask(models: &Models, model: &str, max_tokens: usize) -> Result<EventStream, Error> {
    let request = Request {
        model: model.into(),
        prompt: Prompt::Tokens(vec![1, 5, 9]),
        max_tokens: Some(max_tokens),
        stop: Stop {
            ignore_eos: true,
            ..Stop::default()
        },
        ..Request::default()
    };
    models.generate(request).await
}

/// The number of tokens of a whole answer.
async fn count(mut events: EventStream) -> usize {
    while let Some(event) = events.next().await {
        if let Event::Finished(finish) = event.unwrap() {
            return finish.completion_tokens;
        }
    }
    panic!("the answer has no end")
}

#[tokio::test]
async fn the_model_a_request_names_is_loaded_and_the_least_recently_used_one_leaves() {
    let (models, _folder) = server(2);
    assert_eq!(models.load("a").await, Ok(Loaded::Now));
    assert_eq!(models.health().phase, Phase::Ready);
    for model in ["b", "a", ""] {
        assert_eq!(count(ask(&models, model, 3).await.unwrap()).await, 3);
    }
    assert_eq!(names(&models), ["a", "b"]);
    assert_eq!(count(ask(&models, "c", 3).await.unwrap()).await, 3);
    // The current model comes first; what a request names does not become the current one.
    assert_eq!(names(&models), ["a", "c"]);
    assert_eq!(models.load("c").await, Ok(Loaded::Already));
    assert_eq!(names(&models), ["c", "a"]);
    let available = models.available().into_iter();
    let available: Vec<_> = available.map(|one| (one.id, one.progress)).collect();
    assert_eq!(
        available,
        [("a".into(), 1.0), ("b".into(), 0.0), ("c".into(), 1.0)]
    );
}

#[tokio::test]
async fn a_model_in_use_is_never_unloaded_to_make_room() {
    let (models, _folder) = server(1);
    let long = ask(&models, "a", 4000).await.unwrap();
    let refused = models.load("b").await;
    let Err(Error::Unavailable { reason, .. }) = refused else {
        panic!("{refused:?}")
    };
    assert!(reason.contains("--memory"), "{reason}");
    assert_eq!(count(long).await, 4000);
    // The engine tells of the end a moment before it counts it.
    for _ in 0..200 {
        if models.busy() == 0 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert_eq!(models.load("b").await, Ok(Loaded::Now));
    assert_eq!(names(&models), ["b"]);
}

#[tokio::test]
async fn unloading_waits_for_what_runs_and_loading_brings_the_model_back() {
    let (models, _folder) = server(1);
    models.load("a").await.unwrap();
    let running = ask(&models, "a", 2000).await.unwrap();
    assert_eq!(models.unload("").await, Ok(Some("a".into())));
    assert_eq!(count(running).await, 2000);
    assert_eq!(models.unload("").await, Ok(None));
    assert_eq!(models.unload("a").await, Ok(None));
    assert_eq!(ask(&models, "", 1).await.err(), Some(Error::NoModel));
    assert_eq!(
        models.encode("", &Prompt::default()).await,
        Err(Error::NoModel)
    );
    assert_eq!(models.load("a").await, Ok(Loaded::Now));
    assert_eq!(count(ask(&models, "dummy", 1).await.unwrap()).await, 1);
}

#[tokio::test]
async fn a_name_that_is_none_is_refused_with_those_that_are() {
    let (models, _folder) = server(1);
    models.load("a").await.unwrap();
    for refused in [
        models.load("x").await.err(),
        models.unload("notes").await.err(),
        ask(&models, "x", 1).await.err(),
    ] {
        let Some(Error::ModelNotFound { known, .. }) = refused else {
            panic!("{refused:?}")
        };
        assert_eq!(known, "a, b, c");
    }
}

#[tokio::test]
async fn a_file_that_is_no_model_fails_its_request_and_no_other() {
    let (models, folder) = server(2);
    models.load("a").await.unwrap();
    std::fs::write(folder.path().join("b.gguf"), b"GGUF no more").unwrap();
    let failed = ask(&models, "b", 1).await.err();
    assert!(
        matches!(&failed, Some(Error::Internal(reason)) if reason.contains("b.gguf")),
        "{failed:?}"
    );
    assert_eq!(names(&models), ["a"]);
    assert_eq!(count(ask(&models, "a", 2).await.unwrap()).await, 2);
}

#[tokio::test]
async fn requests_that_name_the_same_model_load_it_once() {
    let (models, _folder) = server(3);
    let asks = (0..8).map(|_| ask(&models, "b", 2));
    for answer in futures::future::join_all(asks).await {
        assert_eq!(count(answer.unwrap()).await, 2);
    }
    assert_eq!(names(&models), ["b"]);
}

#[tokio::test]
async fn a_question_about_its_tokens_loads_a_model_too() {
    let (models, _folder) = server(1);
    let prompt = Prompt::Text {
        text: "ab".into(),
        add_special_tokens: Some(false),
    };
    let tokens = models.encode("b", &prompt).await.unwrap().tokens;
    assert_eq!(names(&models), ["b"]);
    assert_eq!(models.decode("a", &tokens).await.unwrap(), "ab");
    assert_eq!(names(&models), ["a"]);
    assert!(models.tokenizer_info("c").await.is_ok());
    assert!(matches!(
        models.encode("d", &prompt).await,
        Err(Error::ModelNotFound { .. })
    ));
}
