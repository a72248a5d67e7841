//! Text and messages in, text out.

use std::sync::Arc;

use futures::executor::block_on;
use tinderbox_engine::{Engine, Handle, Limits, Service};
use tinderbox_protocol::{
    Chat, Constraint, Error, FinishReason, Inference, Message, ModelCard, Phase, Prompt, Request,
    Sampling,
};

use crate::common::*;
use crate::tiny::checkpoint;

const TEMPLATE: &str = "{% for m in messages %}{{ m.content }}{% endfor %}\
                        {% if add_generation_prompt %} b{% endif %}";
const WITH_BOS: &str = "{{ bos_token }}{% for m in messages %}{{ m.content }}{% endfor %}";

fn service(add_bos: bool, template: &str) -> (Service, Engine<HashModel>, Handle) {
    let (engine, handle) = engine(HashModel::new(64, 4, 64), Limits::default());
    let checkpoint = checkpoint(add_bos, template);
    let card = ModelCard {
        id: "tiny".into(),
        created: 0,
        context_length: 0,
        vocab_size: 0,
        device: "paper".into(),
        dtype: "F32".into(),
    };
    let aliases = vec!["other/tiny".into()];
    let tokenizer = Arc::new(checkpoint.tokenizer);
    (
        Service::new(
            handle.clone(),
            tokenizer,
            checkpoint.template,
            card,
            aliases,
            [("weights", 7)].into(),
        ),
        engine,
        handle,
    )
}

fn text(text: &str, add_special_tokens: Option<bool>) -> Prompt {
    Prompt::Text {
        text: text.into(),
        add_special_tokens,
    }
}

fn chat(content: &str) -> Prompt {
    let message = Message {
        role: "user".into(),
        content: Some(content.into()),
        ..Message::default()
    };
    Prompt::Chat(Chat {
        messages: vec![message],
        tools: vec![],
        add_generation_prompt: true,
        ..Chat::default()
    })
}

fn request(prompt: Prompt) -> Request {
    let sampling = Sampling {
        temperature: 0.0,
        ..Sampling::default()
    };
    Request {
        prompt,
        sampling,
        max_tokens: Some(5),
        ..Request::default()
    }
}

/// The answer to a request, by a service made for it.
fn ask(
    (service, engine, handle): (Service, Engine<HashModel>, Handle),
    request: Request,
) -> Answer {
    let work = async {
        let answer = collect(service.generate(request).await.unwrap()).await;
        handle.stop();
        answer
    };
    block_on(futures::future::join(work, engine.run())).0
}

fn refusal(request: Request) -> Error {
    let (service, _engine, _handle) = service(true, TEMPLATE);
    block_on(service.generate(request)).err().unwrap()
}

#[test]
fn a_text_is_continued_from_its_tokens() {
    let (service, engine, handle) = service(false, "");
    let tokens = block_on(service.encode("tiny", &text("hello abc", None))).unwrap();
    assert!(!tokens.tokens.is_empty());
    assert_eq!(tokens.pieces.concat(), b"hello abc");
    assert_eq!(
        block_on(service.decode("", &tokens.tokens)).unwrap(),
        "hello abc"
    );
    let mut open = request(text("hello abc", None));
    open.stop.ignore_eos = true;
    let answer = ask((service, engine, handle), open);
    assert_eq!(answer.ids(), continuation(&tokens.tokens, 5));
}

#[test]
fn the_bos_follows_the_checkpoint_the_caller_and_the_template() {
    let first = |add_bos, template, prompt: &Prompt| {
        let encoded = block_on(service(add_bos, template).0.encode("", prompt));
        let tokens = encoded.unwrap().tokens;
        tokens.iter().take_while(|id| **id == 1).count()
    };
    assert_eq!(first(true, "", &text("ab", None)), 1);
    assert_eq!(first(true, "", &text("ab", Some(false))), 0);
    assert_eq!(first(false, "", &text("ab", None)), 0);
    assert_eq!(first(true, TEMPLATE, &chat("ab")), 1);
    assert_eq!(first(true, WITH_BOS, &chat("ab")), 1);
    assert_eq!(first(false, WITH_BOS, &chat("ab")), 1);
}

#[test]
fn an_added_bos_has_no_prompt_logprob_and_a_written_one_has() {
    let scored = |prompt| {
        let request = Request {
            prompt_logprobs: Some(1),
            ..request(prompt)
        };
        let started = ask(service(true, ""), request).started.unwrap();
        (
            started.prompt_tokens,
            started
                .prompt
                .iter()
                .map(|entry| entry.id)
                .collect::<Vec<_>>(),
        )
    };
    let (a, b) = (4, 5);
    assert_eq!(scored(text("a", None)), (2, vec![a]));
    assert_eq!(scored(text("a", Some(false))), (1, vec![a]));
    assert_eq!(scored(Prompt::Tokens(vec![1, a, b])), (3, vec![1, a, b]));
}

#[test]
fn models_are_found_by_id_alias_and_default() {
    let (service, ..) = service(false, "");
    for name in ["", "tiny", "other/tiny"] {
        assert!(block_on(service.tokenizer_info(name)).is_ok());
    }
    let missing = Error::ModelNotFound {
        model: "gpt".into(),
        known: "tiny".into(),
    };
    assert_eq!(block_on(service.decode("gpt", &[1])), Err(missing.clone()));
    assert_eq!(
        refusal(Request {
            model: "gpt".into(),
            ..request(text("a", None))
        }),
        missing
    );
    let card = &service.models()[0];
    assert_eq!((card.context_length, card.vocab_size), (CONTEXT, VOCAB));
}

#[test]
fn wrong_requests_are_refused_before_the_first_token() {
    let overflow = refusal(request(text(&"a ".repeat(200), None)));
    assert!(
        matches!(
            overflow,
            Error::ContextOverflow {
                context: CONTEXT,
                ..
            }
        ),
        "{overflow}"
    );
    let mut bad = request(text("a", None));
    bad.sampling.temperature = f32::NAN;
    assert!(matches!(refusal(bad), Error::Invalid { field, .. } if field == "temperature"));
    let outside = block_on(service(false, "").0.decode("", &[3, 64]));
    assert!(matches!(outside, Err(Error::Invalid { field, .. }) if field == "tokens[1]"));
    let none = block_on(service(false, "").0.encode("", &chat("a")));
    assert!(matches!(none, Err(Error::Template(_))));
    let raising = service(false, "\n{{ raise_exception('no') }}").0;
    let raised = block_on(raising.encode("", &chat("a")));
    assert_eq!(raised, Err(Error::Template("no (line 2)".into())));
}

#[test]
fn ten_megabytes_are_refused_or_cut_without_being_tokenized() {
    let huge = "abc ".repeat(2_500_000);
    let refused = refusal(request(text(&huge, None)));
    assert!(
        matches!(refused, Error::ContextOverflow { .. }),
        "{refused}"
    );
    let cut = Request {
        truncate_prompt: true,
        ..request(text(&huge, None))
    };
    let started = ask(service(true, ""), cut).started.unwrap();
    assert_eq!(
        (started.prompt_tokens, started.truncated),
        (CONTEXT - 5, true)
    );
}

#[test]
fn the_tokenizer_tells_about_itself_and_health_about_the_engine() {
    let (service, _engine, handle) = service(true, TEMPLATE);
    let info = block_on(service.tokenizer_info("")).unwrap();
    assert_eq!(info.bos_token.as_deref(), Some("<s>"));
    assert_eq!(info.eos_token.as_deref(), Some("</s>"));
    assert_eq!(info.chat_template.as_deref(), Some(TEMPLATE));
    assert!(info.add_bos);
    assert_eq!(service.health().phase, Phase::Ready);
    assert_eq!(service.health().details["device"], "paper");
    handle.stop();
    assert_eq!(service.health().phase, Phase::Stopping);
}

#[test]
fn a_request_is_held_to_its_constraint() {
    let held = |constraint| Request {
        constraint: Some(constraint),
        max_tokens: Some(30),
        ..request(text("hello", None))
    };
    let bare = || service(false, "");
    for constraint in [
        Constraint::Regex("(ab|c){3}( x)?hello".into()),
        Constraint::Gbnf("root ::= (\"ab\" | \"c\"){3} \" x\"? \"hello\"".into()),
        Constraint::Lark("start: (\"ab\" | \"c\")~3 \" x\"? \"hello\"".into()),
    ] {
        let answer = ask(bare(), held(constraint.clone()));
        // The engine of these tests shows other texts than the tokenizer has.
        let text = block_on(bare().0.decode("", &answer.ids())).unwrap();
        let held = text.trim_end_matches("hello").trim_end_matches(" x");
        assert_eq!(held.replace("ab", "c"), "ccc", "{text}");
        assert_eq!(answer.finish().reason, FinishReason::Complete);
    }
    let wrong = Constraint::JsonSchema(serde_json::json!({"items": {"not": {}}}));
    let Error::Constraint { place, .. } = refusal(held(wrong)) else {
        panic!("another error")
    };
    assert_eq!(place, "/items/not");
}
