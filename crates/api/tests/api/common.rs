//! A model that follows a script: its answer, its probabilities and its failures are known.
#![allow(dead_code, missing_docs, unused_imports)]

use std::collections::BTreeMap;
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context as Task, Poll};
use std::time::Duration;

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::http::{HeaderMap, Request as HttpRequest, StatusCode};
use futures::future::BoxFuture;
use futures::{FutureExt, Stream, StreamExt, stream};
use serde_json::{Value, json};
use tinderbox_api::{Context, DEFAULT_BODY_LIMIT, Gpu, Limits, Machine, Place, Space, router};
use tinderbox_protocol::*;
use tower::ServiceExt;

/// What runs a test: tokio here, Node in WebAssembly.
#[cfg(not(target_arch = "wasm32"))]
pub use tokio::test as async_test;
#[cfg(target_arch = "wasm32")]
pub use wasm_bindgen_test::wasm_bindgen_test as async_test;

/// Ids 0 ..= 255 are bytes; then the marks, a word, and a word that is written like a byte.
pub const BOS: u32 = 256;
pub const EOS: u32 = 257;
pub const HELLO: u32 = 258;
pub const OTHER_X: u32 = 259;
pub const VOCAB: usize = 260;

/// Tokens one sequence can hold.
pub const CONTEXT: usize = 1000;

/// What the model always says: `Hello 🦀!` in six tokens, the crab in two, then the end.
pub fn script() -> Vec<(u32, Vec<u8>)> {
    let crab = "🦀".as_bytes();
    vec![
        (HELLO, b"Hello".to_vec()),
        (b' '.into(), b" ".to_vec()),
        (crab[0].into(), crab[..2].to_vec()),
        (crab[2].into(), crab[2..].to_vec()),
        (b'!'.into(), b"!".to_vec()),
        (EOS, b"</s>".to_vec()),
    ]
}

#[derive(Default)]
pub struct Fake {
    /// The likeliest token everywhere, in place of [`OTHER_X`].
    pub likes: Option<u32>,
    /// Refuse every request with this.
    pub refuse: Option<Error>,
    /// Fail after this many tokens.
    pub fail_after: Option<(usize, Error)>,
    /// Say these pieces, each as one token without an id of its own, in place of the script.
    pub says: Option<Vec<Vec<u8>>>,
    /// How the model writes calls.
    pub tool_format: ToolFormat,
    /// Pieces of `says` that are special tokens.
    pub special: BTreeMap<String, u32>,
    /// Never answer after this many tokens.
    pub hang_after: Option<usize>,
    /// Break off without an end after this many tokens.
    pub cut_after: Option<usize>,
    pub phase: Option<Phase>,
    /// No model is loaded (any more).
    pub unloaded: Mutex<bool>,
    /// Every request that was taken.
    pub seen: Mutex<Vec<Request>>,
    /// Streams that have not been dropped.
    pub alive: Arc<AtomicUsize>,
}

pub fn bytes_of(id: u32) -> Vec<u8> {
    match id {
        BOS => b"<s>".to_vec(),
        EOS => b"</s>".to_vec(),
        HELLO => b"Hello".to_vec(),
        OTHER_X => b"x".to_vec(),
        byte => vec![byte as u8],
    }
}

/// A value that depends on the token and its place only, and has no short decimal.
fn logprob_of(id: u32, place: usize) -> f32 {
    -0.1 - (id % 13) as f32 / 7.0 - place as f32 / 100.0
}

impl Fake {
    fn scored(&self, id: u32, bytes: Vec<u8>, place: usize, top: usize) -> TokenLogprob {
        let likes = self.likes.unwrap_or(OTHER_X);
        let best = [likes, u32::from(b'x'), 0xC3, 65, 66].into_iter();
        TokenLogprob {
            id,
            bytes,
            logprob: Some(logprob_of(id, place)),
            top: best
                .take(top)
                .map(|id| Logprob {
                    id,
                    bytes: bytes_of(id),
                    logprob: logprob_of(id, place),
                })
                .collect(),
        }
    }

    fn check(&self, model: &str) -> Result<(), Error> {
        if *self.unloaded.lock().unwrap() {
            return Err(Error::NoModel);
        }
        self.known(model)
    }

    fn known(&self, model: &str) -> Result<(), Error> {
        match ["", "dummy", "tiny", "org/large"].contains(&model) {
            true => Ok(()),
            false => Err(Error::ModelNotFound {
                model: model.into(),
                known: "tiny, org/large".into(),
            }),
        }
    }

    /// Ids, and whether a BOS was added.
    fn ids(&self, prompt: &Prompt) -> (Vec<u32>, bool) {
        let text = |text: &str, special: bool| {
            let bos = special.then_some(BOS).into_iter();
            let (marks, text) = match text.strip_prefix("</s>") {
                Some(rest) => (vec![EOS], rest),
                None => (vec![], text),
            };
            (
                bos.chain(marks)
                    .chain(text.bytes().map(u32::from))
                    .collect(),
                special,
            )
        };
        match prompt {
            Prompt::Tokens(ids) => (ids.clone(), false),
            Prompt::Text {
                text: t,
                add_special_tokens,
            } => text(t, add_special_tokens.unwrap_or(true)),
            Prompt::Chat(chat) => {
                let mut rendered = String::new();
                for turn in &chat.messages {
                    let content = turn.content.as_deref().unwrap_or("(call)");
                    rendered += &format!("[{}]{content}", turn.role);
                }
                if chat.add_generation_prompt {
                    rendered += "[assistant]";
                }
                text(&rendered, false)
            }
        }
    }

    /// `pirate` lies here and `org/pirate` on the hub; what is called `misfit` does not fit.
    fn check_adapter(&self, adapter: &Adapter) -> Result<(), Error> {
        for id in &adapter.ids {
            match (id.as_str(), adapter.source) {
                ("pirate", AdapterSource::Local) | ("org/pirate", AdapterSource::Hub) => {}
                ("misfit", _) => {
                    return Err(Error::AdapterMismatch {
                        adapter: id.clone(),
                        reason: "adapter_model.safetensors: lora_A: has 3 columns, not 2".into(),
                    });
                }
                _ => {
                    let adapter = id.clone();
                    return Err(Error::AdapterNotFound { adapter });
                }
            }
        }
        Ok(())
    }

    fn events(&self, request: &Request) -> Result<Vec<Result<Event, Error>>, Error> {
        self.check(&request.model)?;
        if let Some(adapter) = &request.adapter {
            self.check_adapter(adapter)?;
        }
        if let Some(error) = &self.refuse {
            return Err(error.clone());
        }
        let (mut ids, added_bos) = self.ids(&request.prompt);
        let completion = request.max_tokens.unwrap_or(1);
        let room = CONTEXT.saturating_sub(completion.max(1));
        let bos = usize::from(added_bos);
        let truncated = request.truncate_prompt && ids.len() > room && room > bos;
        if truncated {
            ids.drain(bos..bos + ids.len() - room);
        }
        if ids.len() + completion > CONTEXT {
            return Err(Error::ContextOverflow {
                context: CONTEXT,
                prompt: ids.len(),
                completion,
            });
        }
        let mut prompt = Vec::new();
        if let Some(top) = request.prompt_logprobs {
            for (place, id) in ids.iter().enumerate().skip(usize::from(added_bos)) {
                prompt.push(match place {
                    0 => TokenLogprob {
                        id: *id,
                        bytes: bytes_of(*id),
                        logprob: None,
                        top: vec![],
                    },
                    place => self.scored(*id, bytes_of(*id), place, top),
                });
            }
        }
        let mut events = vec![Ok(Event::Started(Started {
            prompt_tokens: ids.len(),
            cached_tokens: 1,
            truncated,
            queued: Duration::from_millis(250),
            prompt,
        }))];
        // A different seed makes a less likely answer.
        let luck = request.sampling.seed.unwrap_or(0) as usize;
        let (mut text, mut pending, mut count, mut reason) =
            (String::new(), vec![], 0, FinishReason::Length);
        let script = match &self.says {
            Some(pieces) => {
                let id = |piece: &[u8]| {
                    let text = std::str::from_utf8(piece).unwrap_or_default();
                    self.special.get(text).copied().unwrap_or(0)
                };
                let pieces = pieces.iter().map(|piece| (id(piece), piece.clone()));
                pieces.collect()
            }
            // A caller's bias can put the end first.
            None if request.sampling.logit_bias.contains_key(&EOS) => {
                vec![(EOS, b"</s>".to_vec())]
            }
            None if request.adapter.is_some() => {
                let arr = (u32::from(b'A'), b"Arr! ".to_vec());
                [arr].into_iter().chain(script()).collect()
            }
            None => script(),
        };
        for (id, bytes) in script.into_iter().take(request.max_tokens.unwrap_or(100)) {
            count += 1;
            let logprob = request.logprobs.map(|top| {
                self.scored(id, bytes.clone(), luck.wrapping_add(ids.len() + count), top)
            });
            let special = [BOS, EOS].contains(&id) || self.special.values().any(|s| *s == id);
            if !special {
                pending.extend(bytes);
            }
            let mut piece = match String::from_utf8(pending.clone()) {
                Ok(piece) => {
                    pending.clear();
                    piece
                }
                Err(_) => String::new(),
            };
            text += &piece;
            let stop = request.stop.strings.iter().find(|s| text.ends_with(*s));
            if stop.is_some() && !request.stop.include_in_text {
                piece.clear();
            }
            events.push(Ok(Event::Token(Token {
                id,
                special,
                text: piece,
                logprob,
            })));
            if let Some(stop) = stop {
                reason = FinishReason::StopString(stop.clone());
                break;
            }
            if id == EOS {
                reason = FinishReason::EndToken(EOS);
            }
        }
        events.push(Ok(Event::Finished(Finish {
            reason,
            text: String::from_utf8_lossy(&pending).into_owned(),
            completion_tokens: count,
            seed: request.sampling.seed.unwrap_or(0),
        })));
        if let Some((after, error)) = &self.fail_after {
            events.truncate(1 + after);
            events.push(Err(error.clone()));
        }
        if let Some(after) = self.cut_after.or(self.hang_after) {
            events.truncate(1 + after);
        }
        Ok(events)
    }
}

/// Counts a stream while it lives.
struct Counted<S> {
    inner: S,
    alive: Arc<AtomicUsize>,
}

impl<S: Stream + Unpin> Stream for Counted<S> {
    type Item = S::Item;

    fn poll_next(mut self: Pin<&mut Self>, task: &mut Task<'_>) -> Poll<Option<S::Item>> {
        self.inner.poll_next_unpin(task)
    }
}

impl<S> Drop for Counted<S> {
    fn drop(&mut self) {
        self.alive.fetch_sub(1, Ordering::SeqCst);
    }
}

impl Inference for Fake {
    fn models(&self) -> Vec<ModelCard> {
        let card = |id: &str| ModelCard {
            id: id.into(),
            created: 1_700_000_000,
            context_length: CONTEXT,
            vocab_size: VOCAB,
            device: "script".into(),
            dtype: "F32".into(),
        };
        match *self.unloaded.lock().unwrap() {
            true => vec![],
            false => vec![card("tiny"), card("org/large")],
        }
    }

    fn adapters(&self) -> Vec<AdapterCard> {
        vec![AdapterCard {
            id: "pirate".into(),
            source: AdapterSource::Local,
            parent: "tiny".into(),
            loaded: true,
        }]
    }

    fn available(&self) -> Vec<Available> {
        let loaded = self.models();
        let progress = |id| f32::from(loaded.iter().any(|card| card.id == id));
        ["tiny", "org/large", "spare"]
            .map(|id| Available {
                id: id.into(),
                description: format!("The {id} model."),
                progress: progress(id),
            })
            .into()
    }

    fn load(&self, model: &str) -> BoxFuture<'static, Result<Loaded, Error>> {
        let mut unloaded = self.unloaded.lock().unwrap();
        let answer = match model {
            "spare" => Ok(Loaded::Now),
            "tiny" | "org/large" if *unloaded => Ok(Loaded::Now),
            model => self.known(model).map(|()| Loaded::Already),
        };
        *unloaded &= answer.is_err();
        async { answer }.boxed()
    }

    fn unload(&self, model: &str) -> BoxFuture<'static, Result<Option<String>, Error>> {
        let name = self.known(model).map(|()| {
            let mut unloaded = self.unloaded.lock().unwrap();
            (!std::mem::replace(&mut *unloaded, true)).then(|| "tiny".into())
        });
        async { name }.boxed()
    }

    fn stats(&self) -> Vec<Stats> {
        vec![Stats {
            model: "tiny".into(),
            running: self.alive.load(Ordering::SeqCst),
            waiting: 2,
            capacity: 100,
            adapters: 2,
            used_blocks: 3,
            blocks: 10,
            memory: BTreeMap::from([("kv_cache", 4096), ("weights", 65536)]),
        }]
    }

    fn health(&self) -> Health {
        Health {
            phase: self.phase.clone().unwrap_or(Phase::Ready),
            details: BTreeMap::from([("device".into(), "script".into())]),
        }
    }

    fn generate(&self, request: Request) -> BoxFuture<'static, Result<EventStream, Error>> {
        let events = self.events(&request);
        self.seen.lock().unwrap().push(request);
        let (alive, hangs) = (self.alive.clone(), self.hang_after.is_some());
        async move {
            let events = stream::iter(events?);
            let inner = match hangs {
                true => events.chain(stream::pending()).boxed(),
                false => events.boxed(),
            };
            alive.fetch_add(1, Ordering::SeqCst);
            Ok(Counted { inner, alive }.boxed())
        }
        .boxed()
    }

    fn encode(&self, model: &str, prompt: &Prompt) -> BoxFuture<'static, Result<Encoded, Error>> {
        let encoded = self.check(model).map(|()| {
            let tokens = self.ids(prompt).0;
            Encoded {
                pieces: tokens.iter().map(|id| bytes_of(*id)).collect(),
                tokens,
            }
        });
        async { encoded }.boxed()
    }

    fn decode(&self, model: &str, tokens: &[u32]) -> BoxFuture<'static, Result<String, Error>> {
        let text = self.check(model).and_then(|()| text_of(tokens));
        async { text }.boxed()
    }

    fn tokenizer_info(&self, model: &str) -> BoxFuture<'static, Result<TokenizerInfo, Error>> {
        let info = self.check(model).map(|()| TokenizerInfo {
            class: "bytes".into(),
            bos_token: Some("<s>".into()),
            eos_token: Some("</s>".into()),
            pad_token: None,
            chat_template: Some("{{ messages }}".into()),
            add_bos: true,
            special_tokens: self.special.clone(),
            tool_format: self.tool_format,
        });
        async { info }.boxed()
    }
}

fn text_of(tokens: &[u32]) -> Result<String, Error> {
    if let Some(at) = tokens.iter().position(|id| *id as usize >= VOCAB) {
        return Err(Error::Invalid {
            field: format!("tokens[{at}]"),
            reason: format!("the token ids end at {}", VOCAB - 1),
        });
    }
    let bytes: Vec<u8> = tokens.iter().flat_map(|id| bytes_of(*id)).collect();
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// What a router of the fake needs; a test changes what it is about.
pub fn context(fake: &Arc<Fake>) -> Context {
    Context {
        inference: fake.clone(),
        place: Arc::new(Nowhere),
        keys: Arc::default(),
        limits: Arc::new(Limits::none()),
        litellm_echo: false,
        body_limit: DEFAULT_BODY_LIMIT,
        metrics: Arc::default(),
    }
}

pub fn app(fake: &Arc<Fake>) -> Router {
    router(context(fake))
}

/// A place where time stands still.
pub struct Nowhere;

impl Place for Nowhere {
    fn now(&self) -> u64 {
        1_800_000_000
    }

    fn uptime(&self) -> Duration {
        Duration::from_secs(7)
    }

    fn new_id(&self) -> String {
        "id0".into()
    }

    fn machine(&self) -> Machine {
        Machine::default()
    }
}

/// A place with a machine, and a clock that moves on by a step whenever it is read.
#[derive(Default)]
pub struct Somewhere {
    pub now: Mutex<Duration>,
    pub step: Duration,
}

impl Place for Somewhere {
    fn now(&self) -> u64 {
        1_800_000_000
    }

    fn uptime(&self) -> Duration {
        let mut now = self.now.lock().unwrap();
        *now += self.step;
        *now
    }

    fn new_id(&self) -> String {
        "id0".into()
    }

    fn machine(&self) -> Machine {
        let space = |total, available| Some(Space { total, available });
        Machine {
            platform: "linux x86_64".into(),
            cores: Some(2),
            threads: Some(4),
            cpu_usage: Some(12.5),
            cpu_frequency: Some(3000),
            memory: space(8 << 30, 6 << 30),
            disk: space(1000, 100),
            gpus: vec![Gpu {
                name: "A".into(),
                memory: Some(2 << 30),
            }],
        }
    }
}

/// A whole answer.
pub struct Got {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub body: String,
}

impl Got {
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.body).unwrap_or_else(|e| panic!("{e}: {}", self.body))
    }

    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).and_then(|value| value.to_str().ok())
    }
}

pub async fn send(fake: &Arc<Fake>, request: HttpRequest<Body>) -> Got {
    send_to(&app(fake), request).await
}

/// To a router that lives on, with what it remembers.
pub async fn send_to(app: &Router, request: HttpRequest<Body>) -> Got {
    let response = app.clone().oneshot(request).await.unwrap();
    let (parts, body) = response.into_parts();
    let body = to_bytes(body, usize::MAX).await.unwrap();
    Got {
        status: parts.status,
        headers: parts.headers,
        body: String::from_utf8(body.to_vec()).unwrap(),
    }
}

pub async fn post(fake: &Arc<Fake>, path: &str, body: impl Into<Body>) -> Got {
    send(fake, HttpRequest::post(path).body(body.into()).unwrap()).await
}

pub async fn get(fake: &Arc<Fake>, path: &str) -> Got {
    send(fake, HttpRequest::get(path).body(Body::empty()).unwrap()).await
}

/// A path of the API's description with the served model in place of its parameters.
pub fn concrete(path: &str) -> String {
    let segments = path.split('/');
    let segments = segments.map(|segment| match segment.starts_with('{') {
        true => "tiny",
        false => segment,
    });
    segments.collect::<Vec<_>>().join("/")
}

pub fn fake() -> Arc<Fake> {
    Arc::new(Fake::default())
}

pub async fn complete(fake: &Arc<Fake>, body: Value) -> Got {
    post(fake, "/v1/completions", body.to_string()).await
}

pub async fn chat(fake: &Arc<Fake>, body: Value) -> Got {
    post(fake, "/v1/chat/completions", body.to_string()).await
}

pub fn hi() -> Value {
    json!([{"role": "user", "content": "Hi"}])
}
