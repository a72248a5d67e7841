//! Adapters per request: read once, kept within a budget, put on the device between steps.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};

use futures::FutureExt;
use futures::executor::{LocalPool, block_on};
use futures::future::{BoxFuture, join, join_all};
use futures::task::LocalSpawnExt;
use tinderbox_engine::{
    AdapterFiles, AdapterStore, DecoderRunner, Engine, Limits, Options, Runner, RunnerError,
    Service,
};
use tinderbox_model::{Config, Decoder, KvType, LoadOptions, Lora, MemoryStorage};
use tinderbox_protocol::{
    Adapter, AdapterSource, Chat, Error, Inference, Merge, MergeStrategy, Message, ModelCard,
    Prompt, Request, Stop,
};

use crate::common::*;
use crate::tiny::checkpoint;
use crate::tiny_adapter::tiny_adapter;

const TEMPLATE: &str = "{% for m in messages %}{{ m.content }}{% endfor %}";

/// The adapters `a` to `d`, and what was asked of them.
#[derive(Default)]
struct Shelf {
    /// What lies with each adapter besides its weights.
    more: BTreeMap<&'static str, Vec<u8>>,
    /// Those that fail the next time.
    failing: Mutex<BTreeSet<&'static str>>,
    /// Where it is there, each answer waits for a word.
    gate: Option<async_channel::Receiver<()>>,
    /// Each request reads for itself.
    alone: bool,
    fetched: Mutex<Vec<String>>,
}

impl Shelf {
    fn fetched(&self) -> Vec<String> {
        self.fetched.lock().unwrap().clone()
    }

    fn find(&self, id: &str) -> Result<AdapterFiles, Error> {
        let adapter = id.to_owned();
        if self.failing.lock().unwrap().remove(id) {
            let reason = "the line is dead".into();
            return Err(Error::AdapterMismatch { adapter, reason });
        }
        let seed = ["a", "b", "c", "d"].iter().position(|known| *known == id);
        let seed = seed.ok_or(Error::AdapterNotFound { adapter })?;
        let mut files = tiny_adapter(1 + seed as u64);
        files.extend(self.more.clone());
        Ok(files)
    }
}

impl AdapterStore for Shelf {
    fn fetch(
        &self,
        id: &str,
        _: AdapterSource,
        _: Option<&str>,
        _: u64,
    ) -> BoxFuture<'static, Result<AdapterFiles, Error>> {
        self.fetched.lock().unwrap().push(id.into());
        let (files, gate) = (self.find(id), self.gate.clone());
        async move {
            if let Some(gate) = gate {
                gate.recv().await.unwrap();
            }
            files
        }
        .boxed()
    }

    fn names(&self) -> Vec<(String, AdapterSource)> {
        vec![
            ("a".into(), AdapterSource::Local),
            ("d".into(), AdapterSource::Local),
        ]
    }

    fn shares(&self) -> bool {
        !self.alone
    }
}

/// Bytes of one adapter in memory.
fn size(model: &Config) -> u64 {
    let files = tiny_adapter(1);
    let tensors = files["adapter_model.safetensors"].clone();
    let storage = MemoryStorage::new("adapter_model.safetensors", tensors);
    let lora = block_on(Lora::open(&files["adapter_config.json"], &storage, model));
    lora.unwrap().bytes() as u64
}

/// A service whose engine has room for `fit` adapters.
fn service<R: Runner>(
    runner: R,
    template: &str,
    shelf: &Arc<Shelf>,
    fit: u64,
) -> (Service, Engine<R>) {
    let checkpoint = checkpoint(false, template);
    let options = Options {
        limits: Limits::default(),
        clock: Arc::new(|| std::time::Duration::ZERO),
        entropy: 7,
    };
    let tokenizer = Arc::new(checkpoint.tokenizer);
    let (engine, handle) = Engine::new(runner, tokenizer.clone(), options);
    let card = ModelCard {
        id: "tiny".into(),
        created: 0,
        context_length: 0,
        vocab_size: 0,
        device: "paper".into(),
        dtype: "F32".into(),
    };
    let template = checkpoint.template;
    let memory = BTreeMap::new();
    let service = Service::new(handle, tokenizer, template, card, Vec::new(), memory);
    let budget = fit * size(&checkpoint.config) + 1;
    let service = service.with_adapters(shelf.clone(), budget, checkpoint.config);
    (service, engine)
}

fn paper() -> HashModel {
    HashModel::new(64, 4, 64)
}

fn named(ids: &[&str]) -> Option<Adapter> {
    (!ids.is_empty()).then(|| Adapter {
        ids: ids.iter().map(|id| (*id).into()).collect(),
        source: AdapterSource::Named,
        token: None,
        merge: Merge::default(),
    })
}

fn request(adapter: Option<Adapter>, max_tokens: usize) -> Request {
    Request {
        prompt: Prompt::Tokens(vec![5, 9, 7]),
        adapter,
        max_tokens: Some(max_tokens),
        sampling: greedy(),
        stop: Stop {
            ignore_eos: true,
            ..Stop::default()
        },
        ..Request::default()
    }
}

async fn ids(service: &Service, adapter: &str, max_tokens: usize) -> Vec<u32> {
    let adapter = named(if adapter.is_empty() {
        &[]
    } else {
        std::slice::from_ref(&adapter)
    });
    let answer = service.generate(request(adapter, max_tokens)).await;
    let answer = collect(answer.unwrap()).await;
    assert_eq!(answer.error, None);
    answer.ids()
}

/// Runs `work` beside an engine on paper, with room for `fit` adapters.
fn house<T>(
    fit: u64,
    shelf: &Arc<Shelf>,
    model: HashModel,
    work: impl AsyncFnOnce(&Service) -> T,
) -> T {
    let (service, engine) = service(model, TEMPLATE, shelf, fit);
    let work = async {
        let result = work(&service).await;
        service.handle().stop();
        result
    };
    let (result, end) = block_on(join(work, engine.run()));
    assert_eq!(end, Ok(()));
    result
}

/// What an adapter alone answers. On a thread of its own: executors do not nest.
fn alone(adapter: &'static str, max_tokens: usize) -> Vec<u32> {
    let answer = move || {
        house(9, &Arc::default(), paper(), async |service: &Service| {
            ids(service, adapter, max_tokens).await
        })
    };
    std::thread::spawn(answer).join().unwrap()
}

#[test]
fn requests_for_one_adapter_read_it_once_and_share_its_slot() {
    let (shelf, model) = (Arc::new(Shelf::default()), paper());
    let (puts, log) = (model.puts.clone(), model.log.clone());
    house(4, &shelf, model, async |service: &Service| {
        let all = (0..8).map(|i| ids(service, ["a", "a", "b", ""][i % 4], 20));
        let answers = join_all(all).await;
        for (i, answer) in answers.iter().enumerate() {
            assert_eq!(*answer, alone(["a", "a", "b", ""][i % 4], 20));
        }
        assert_ne!(answers[0], answers[2]);
        assert_ne!(answers[0], answers[3]);
        assert_eq!(ids(service, "a", 3).await, answers[0][..3]);
    });
    assert_eq!(shelf.fetched(), ["a", "b"]);
    assert_eq!(puts.lock().unwrap().len(), 2);
    // Rows of both and of none were computed together.
    let mixed = log.lock().unwrap().iter().any(|(step, _)| {
        let slots: BTreeSet<_> = step.adapters.iter().collect();
        slots == BTreeSet::from([&None, &Some(0), &Some(1)])
    });
    assert!(mixed);
}

#[test]
fn what_an_adapter_computed_serves_the_same_beginning_with_that_adapter_alone() {
    house(4, &Arc::default(), paper(), async |service: &Service| {
        let cached = async |adapter: &[&str]| {
            let prompt = Prompt::Tokens((4..24).collect());
            let asked = Request {
                prompt,
                ..request(named(adapter), 2)
            };
            let answer = collect(service.generate(asked).await.unwrap()).await;
            answer.cached
        };
        let mut counts = Vec::new();
        for adapter in [&["a"][..], &["b"], &[], &["a"]] {
            counts.push(cached(adapter).await);
        }
        assert_eq!(counts[..3], [0, 0, 0]);
        assert!(counts[3] > 0);
    });
}

#[test]
fn the_least_recently_used_adapter_makes_room_and_its_slot_is_freed() {
    let (shelf, model) = (Arc::new(Shelf::default()), paper());
    let puts = model.puts.clone();
    house(2, &shelf, model, async |service: &Service| {
        for id in ["a", "b", "a", "c", "a"] {
            assert_eq!(ids(service, id, 5).await, alone(id, 5));
        }
        let cards = service.adapters().into_iter();
        let cards: Vec<_> = cards
            .map(|card| (card.id, card.loaded, card.parent))
            .collect();
        let tiny = || "tiny".to_owned();
        assert_eq!(
            cards,
            [
                ("c".into(), true, tiny()),
                ("a".into(), true, tiny()),
                ("d".into(), false, tiny())
            ]
        );
        let stats = &service.stats()[0];
        assert_eq!(stats.adapters, 2);
        assert!(stats.memory["adapters"] > 0);
        assert_eq!(ids(service, "b", 5).await, alone("b", 5));
    });
    assert_eq!(shelf.fetched(), ["a", "b", "c", "b"]);
    let puts = puts.lock().unwrap();
    let slots: Vec<_> = puts
        .iter()
        .map(|(slot, salt)| (*slot, salt.is_some()))
        .collect();
    // `c` has the slot of `b`, and `b` then that of `c`.
    assert_eq!(
        slots,
        [
            (0, true),
            (1, true),
            (1, false),
            (1, true),
            (1, false),
            (1, true)
        ]
    );
}

#[test]
fn an_adapter_in_use_stays_and_who_needs_its_room_waits() {
    let shelf = Arc::new(Shelf::default());
    house(1, &shelf, paper(), async |service: &Service| {
        let long = service.generate(request(named(&["a"]), 100)).await.unwrap();
        let mut other = Box::pin(ids(service, "b", 5));
        let mut long = Box::pin(collect(long));
        let first = futures::future::select(&mut long, &mut other).await;
        assert!(matches!(first, futures::future::Either::Left((ref a, _)) if a.error.is_none()));
        assert_eq!(other.await, alone("b", 5));
    });
    assert_eq!(shelf.fetched(), ["a", "b"]);
}

#[test]
fn an_adapter_larger_than_all_room_is_refused() {
    house(0, &Arc::default(), paper(), async |service: &Service| {
        let refused = service.generate(request(named(&["a"]), 5)).await.err();
        let Some(Error::AdapterMismatch { adapter, reason }) = refused else {
            panic!("{refused:?}")
        };
        assert_eq!(adapter, "a");
        assert!(reason.contains("all adapters may take"), "{reason}");
        assert_eq!(ids(service, "", 5).await, alone("", 5));
    });
}

#[test]
fn an_adapter_that_fails_disturbs_nobody_and_is_tried_again() {
    let shelf = Arc::new(Shelf::default());
    shelf.failing.lock().unwrap().insert("b");
    house(4, &shelf, paper(), async |service: &Service| {
        let refuse = async |id: &str| service.generate(request(named(&[id]), 5)).await.err();
        let others = join(ids(service, "a", 30), ids(service, "", 30));
        let ((a, base), failed) = join(others, join(refuse("b"), refuse("x"))).await;
        assert_eq!((a, base), (alone("a", 30), alone("", 30)));
        let (mismatch, absent) = failed;
        let mismatch = mismatch.unwrap().to_string();
        assert!(
            mismatch.contains("`b` cannot be used: the line is dead"),
            "{mismatch}"
        );
        assert_eq!(
            absent,
            Some(Error::AdapterNotFound {
                adapter: "x".into()
            })
        );
        assert_eq!(ids(service, "b", 5).await, alone("b", 5));
        assert_eq!(service.handle().stats().waiting, 0);
    });
}

#[test]
fn files_that_do_not_fit_are_refused_with_the_file_and_the_place() {
    let refused = |name: &'static str, bytes: &[u8]| {
        let more = BTreeMap::from([(name, bytes.to_vec())]);
        let shelf = Arc::new(Shelf {
            more,
            ..Shelf::default()
        });
        house(4, &shelf, paper(), async |service: &Service| {
            let error = service.generate(request(named(&["a"]), 5)).await.err();
            assert!(
                matches!(error, Some(Error::AdapterMismatch { .. })),
                "{error:?}"
            );
            error.unwrap().to_string()
        })
    };
    for (name, bytes) in [
        ("adapter_config.json", &b"{"[..]),
        ("adapter_model.safetensors", b"no tensors"),
        ("added_tokens.json", br#"{"<arr>": 64}"#),
        ("chat_template.jinja", b"{% if %}"),
    ] {
        let error = refused(name, bytes);
        let place = if name.ends_with("jinja") {
            "template"
        } else {
            name
        };
        assert!(
            error.starts_with("The adapter `a`") && error.contains(place),
            "{error}"
        );
    }
}

#[test]
fn answers_go_on_while_an_adapter_is_read_and_who_leaves_meanwhile_leaves_nothing() {
    let (open, gate) = async_channel::unbounded();
    let shelf = Arc::new(Shelf {
        gate: Some(gate),
        ..Shelf::default()
    });
    house(4, &shelf, paper(), async |service: &Service| {
        let mut gone = Box::pin(ids(service, "a", 5));
        assert!((&mut gone).now_or_never().is_none());
        assert_eq!(service.handle().stats().waiting, 1, "it waits in the house");
        assert_eq!(ids(service, "", 30).await, alone("", 30));
        // Two wait for one reading; one of them goes.
        let mut stays = Box::pin(ids(service, "a", 5));
        assert!((&mut stays).now_or_never().is_none());
        drop(gone);
        assert_eq!(shelf.fetched(), ["a"]);
        open.send(()).await.unwrap();
        assert_eq!(stays.await, alone("a", 5));

        let mut gone = Box::pin(ids(service, "b", 5));
        assert!((&mut gone).now_or_never().is_none());
        drop(gone);
        assert_eq!(service.handle().stats().waiting, 0);
        open.send(()).await.unwrap();
        assert_eq!(ids(service, "b", 5).await, alone("b", 5));
        assert_eq!(shelf.fetched(), ["a", "b", "b"]);
    });
}

#[test]
fn where_nothing_is_shared_each_reads_for_itself_until_one_has_brought_it() {
    let (open, gate) = async_channel::unbounded();
    let shelf = Arc::new(Shelf {
        gate: Some(gate),
        alone: true,
        ..Shelf::default()
    });
    shelf.failing.lock().unwrap().insert("b");
    house(4, &shelf, paper(), async |service: &Service| {
        let ask = |id: &'static str| Box::pin(ids(service, id, 5));
        let [mut gone, mut second, mut third] = ["a"; 3].map(ask);
        for waiting in [&mut gone, &mut second, &mut third] {
            assert!(waiting.now_or_never().is_none());
        }
        assert_eq!(shelf.fetched(), ["a"], "one at a time");
        // What the first has read goes with it.
        drop(gone);
        assert!((&mut second).now_or_never().is_none());
        assert_eq!(shelf.fetched(), ["a", "a"]);
        open.send(()).await.unwrap();
        let answers = join(third, second).await;
        assert_eq!(answers, (alone("a", 5), alone("a", 5)));
        assert_eq!(shelf.fetched(), ["a", "a"], "the third has the second's");

        // Nor is a failure shared.
        let failing = service.generate(request(named(&["b"]), 5));
        let (failed, answer) = join(failing, async {
            open.send(()).await.unwrap();
            open.send(()).await.unwrap();
            ids(service, "b", 5).await
        })
        .await;
        assert!(failed.is_err());
        assert_eq!(answer, alone("b", 5));
        assert_eq!(service.stats()[0].adapters, 2);
    });
}

#[test]
fn after_the_loss_of_the_device_adapters_are_put_again_before_the_answers_go_on() {
    let mut model = paper();
    let puts = model.puts.clone();
    model.recovers = true;
    model.faults = vec![(6, RunnerError::Lost("unplugged".into()))];
    house(4, &Arc::default(), model, async |service: &Service| {
        let all = ["a", "", "b"].map(|id| ids(service, id, 20));
        let answers = join_all(all).await;
        assert_eq!(answers, ["a", "", "b"].map(|id| alone(id, 20)));
    });
    let puts = puts.lock().unwrap();
    assert_eq!(puts.len(), 4);
    assert_eq!(puts[..2], puts[2..]);
}

#[test]
fn an_adapters_own_template_is_used_else_that_of_the_model_else_there_is_none() {
    let chat = |content: &str| {
        let messages = vec![Message {
            role: "user".into(),
            content: Some(content.into()),
            ..Message::default()
        }];
        Prompt::Chat(Chat {
            messages,
            ..Chat::default()
        })
    };
    let prompt_tokens = |own: Option<&str>, template: &str, adapter: &[&str]| {
        let mut more = BTreeMap::new();
        if let Some(own) = own {
            let settings = serde_json::json!({ "chat_template": own });
            more.insert("tokenizer_config.json", settings.to_string().into_bytes());
        }
        let shelf = Arc::new(Shelf {
            more,
            ..Shelf::default()
        });
        let (service, engine) = service(paper(), template, &shelf, 4);
        let asked = Request {
            prompt: chat("ab"),
            ..request(named(adapter), 2)
        };
        let work = async {
            let events = service.generate(asked).await;
            service.handle().stop();
            let started = collect(events?).await.started;
            Ok::<usize, Error>(started.map_or(0, |started| started.prompt_tokens))
        };
        block_on(join(work, engine.run())).0
    };
    let own = "x y x y";
    let base = prompt_tokens(None, TEMPLATE, &[]);
    assert_eq!(prompt_tokens(None, TEMPLATE, &["a"]), base);
    assert_eq!(prompt_tokens(Some(own), TEMPLATE, &[]), base);
    let other = prompt_tokens(Some(own), TEMPLATE, &["a"]);
    assert!(other.is_ok() && other != base, "{other:?}");
    assert_eq!(prompt_tokens(Some(own), "", &["a"]), other);
    assert!(matches!(
        prompt_tokens(None, "", &["a"]),
        Err(Error::Template(_))
    ));
}

#[test]
fn an_adapters_names_for_tokens_are_read_and_written_in_its_requests_alone() {
    let decoder = br#"{"added_tokens_decoder": {"62": {"content": "<mark>", "special": true}}}"#;
    let shelf = Arc::new(Shelf {
        more: BTreeMap::from([
            ("added_tokens.json", br#"{"<ahoy>": 63}"#.to_vec()),
            ("tokenizer_config.json", decoder.to_vec()),
        ]),
        ..Shelf::default()
    });
    house(4, &shelf, paper(), async |service: &Service| {
        let ask = async |adapter: &[&str], always: u32| {
            let prompt = Prompt::Text {
                text: "ab<ahoy>c<mark>".into(),
                add_special_tokens: Some(false),
            };
            let sampling = tinderbox_protocol::Sampling {
                logit_bias: [(always, 100.0)].into(),
                ..greedy()
            };
            let asked = Request {
                prompt,
                sampling,
                logprobs: Some(0),
                ..request(named(adapter), 2)
            };
            collect(service.generate(asked).await.unwrap()).await
        };
        let prompt = |answer: &Answer| answer.started.as_ref().unwrap().prompt_tokens;
        let bytes = |answer: &Answer| answer.tokens[0].logprob.as_ref().unwrap().bytes.clone();

        let own = ask(&["a"], 63).await;
        assert_eq!(prompt(&own), ["ab", "<ahoy>", "c", "<mark>"].len());
        assert_eq!(own.text(), "<ahoy><ahoy>");
        assert_eq!(bytes(&own), b"<ahoy>");
        let mark = ask(&["a"], 62).await;
        assert!(mark.tokens[0].special && mark.text().is_empty());

        let base = ask(&[], 63).await;
        assert!(prompt(&base) > prompt(&own));
        assert_eq!(base.text(), "x yx y");
        assert_eq!(bytes(&base), b"x y");
        assert!(!ask(&[], 62).await.tokens[0].special);
    });
}

/// The real decoder on the tiny file.
fn decoder() -> DecoderRunner {
    let load = LoadOptions {
        context: CONTEXT,
        block_size: 16,
        blocks: 64,
        kv: KvType::F32,
    };
    let device = burn::tensor::Device::flex();
    let decoder = block_on(Decoder::load(&checkpoint(false, ""), &device, load)).unwrap();
    DecoderRunner::new(decoder, 64, None)
}

/// The answers of all adapters at once, `rounds` times, with room for `fit` of them.
fn together(adapters: &[Option<Adapter>], rounds: usize, fit: u64) -> Vec<Vec<u32>> {
    let (service, engine) = service(decoder(), "", &Arc::default(), fit);
    let mut pool = LocalPool::new();
    let end = pool
        .spawner()
        .spawn_local_with_handle(engine.run())
        .unwrap();
    let asked = adapters.iter().cycle().take(adapters.len() * rounds);
    let answers = asked.map(|adapter| {
        let answer = service.generate(request(adapter.clone(), 16));
        async move {
            let answer = collect(answer.await.unwrap()).await;
            assert_eq!(answer.error, None);
            answer.ids()
        }
    });
    let answers = pool.run_until(join_all(answers));
    service.handle().stop();
    assert_eq!(pool.run_until(end), Ok(()));
    answers
}

#[test]
fn four_adapters_and_none_in_a_batch_give_what_each_gives_alone() {
    let all = [&[] as &[&str], &["a"], &["b"], &["c"], &["d"]].map(named);
    let answers = together(&all, 1, 4);
    for (adapter, answer) in all.iter().zip(&answers) {
        assert_eq!(*answer, together(std::slice::from_ref(adapter), 1, 4)[0]);
    }
    let distinct: BTreeSet<_> = answers.iter().collect();
    assert_eq!(distinct.len(), 5);
}

#[test]
fn unloading_and_reloading_under_load_loses_nothing() {
    let all = [&["a"][..], &["b"], &["c"], &["d"], &[]].map(named);
    let roomy = together(&all, 1, 4);
    for (index, answer) in together(&all, 6, 1).into_iter().enumerate() {
        assert_eq!(answer, roomy[index % all.len()]);
    }
}

#[test]
fn adapters_that_are_merged_with_all_weight_on_one_are_that_one() {
    let merge = |weights: &[f32]| {
        let merge = Merge {
            weights: weights.to_vec(),
            strategy: MergeStrategy::Linear,
            ..Merge::default()
        };
        Some(Adapter {
            merge,
            ..named(&["a", "b"]).unwrap()
        })
    };
    let all = [named(&["a"]), merge(&[1.0, 0.0]), merge(&[0.5, 0.5])];
    let answers = together(&all, 1, 4);
    assert_eq!(answers[0], answers[1]);
    assert_ne!(answers[0], answers[2]);
}
