//! A model in this worker: loading, requests, facts.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;

use axum::Router;
use js_sys::{Function, Promise};
use serde_json::{Value, json};
use tinderbox_api::{Context, DEFAULT_BODY_LIMIT, Keys, Limits, Metrics, router};
use tinderbox_engine::{Limits as EngineLimits, Reload, Service, Setup};
use tinderbox_kernels::{Adapter, Choice, Selected, SelfTest};
use tinderbox_model::{Checkpoint, Decoder, Error, Storage};
use wasm_bindgen::prelude::*;
use wasm_bindgen_futures::future_to_promise;

use crate::adapters::Shelf;
use crate::device::select;
use crate::failure::{Failure, throw_panics};
use crate::fetch::{self, Answer};
use crate::files::{Meter, ModelFile, WorkerFile};
use crate::place::{Tab, now, uptime};
use crate::turns::Turns;

/// Default context: more is asked for, and costs memory from the start.
const CONTEXT: usize = 4096;
/// Sequences generated at once; they share the cache of one full context.
const SEQUENCES: usize = 8;
/// Requests that wait beyond those.
const QUEUE: usize = 64;
/// Most bytes of adapters in memory.
const ADAPTER_BYTES: u64 = 128 << 20;
/// Prompt rows of one step: a step must be short enough for others to have their turn.
const PREFILL_ROWS: usize = 64;

#[wasm_bindgen]
extern "C" {
    /// `WasmOptions` of `js/wasm.ts`.
    pub type WasmOptions;

    #[wasm_bindgen(method, getter)]
    fn name(this: &WasmOptions) -> String;

    #[wasm_bindgen(method, getter)]
    fn device(this: &WasmOptions) -> String;

    #[wasm_bindgen(method, getter, js_name = contextLength)]
    fn context_length(this: &WasmOptions) -> u32;
}

/// A loaded model and its loop: `WasmEngine` of `js/wasm.ts`.
#[wasm_bindgen]
pub struct WasmEngine {
    router: Router,
    service: Service,
    adapters: Arc<Shelf>,
    facts: Rc<RefCell<Value>>,
    ended: Promise,
    _turns: Turns,
}

/// Reads a model onto the device and starts its engine. `on_progress` takes the bytes read and the
/// bytes there are; it is called again where the loss of the device made a second reading needed.
///
/// # Errors
/// With a `code`: no such device, a wrong kernel on a device that was asked for by name, an
/// unreadable or unsupported checkpoint.
#[wasm_bindgen]
pub async fn load(
    files: Vec<ModelFile>,
    options: WasmOptions,
    on_progress: Function,
) -> Result<WasmEngine, JsValue> {
    throw_panics();
    let adapters = Arc::new(Shelf::new());
    let setup = Setup {
        name: options.name(),
        context: match options.context_length() {
            0 => CONTEXT,
            tokens => tokens as usize,
        },
        kv: None,
        cache_bytes: 0,
        limits: EngineLimits {
            max_sequences: SEQUENCES,
            max_queue: QUEUE,
            prefill_rows: PREFILL_ROWS,
            ..EngineLimits::default()
        },
        adapters: Some((adapters.clone(), ADAPTER_BYTES)),
        clock: Arc::new(uptime),
        entropy: uuid::Uuid::new_v4().as_u64_pair().0,
        now: now(),
    };
    let source = Source {
        files,
        choice: options.device().parse().map_err(Failure::from)?,
        setup: setup.clone(),
        on_progress,
    };
    let loaded = source.load().await?;
    let facts = Rc::new(RefCell::new(loaded.facts));
    let device = loaded.description;
    let gpu = (loaded.on_gpu).then(|| device.clone());
    let reload = source.reload(facts.clone());
    let (engine, service) = setup.engine(loaded.decoder, loaded.checkpoint, device, Some(reload));

    let (end, ended) = futures::channel::oneshot::channel();
    let turns = Turns::start(async move {
        let reason = match engine.run().await {
            Ok(()) => "the engine has ended".to_owned(),
            Err(error) => error.to_string(),
        };
        // Nobody listens any more once the engine is freed.
        let _ = end.send(reason);
    })?;
    Ok(WasmEngine {
        router: router(Context {
            inference: Arc::new(service.clone()),
            place: Arc::new(Tab { gpu }),
            keys: Arc::new(Keys::default()),
            limits: Arc::new(Limits::none()),
            litellm_echo: false,
            body_limit: DEFAULT_BODY_LIMIT,
            metrics: Arc::new(Metrics::default()),
        }),
        service,
        adapters,
        facts,
        ended: future_to_promise(async { Ok(ended.await.unwrap_or_default().into()) }),
        _turns: turns,
    })
}

#[wasm_bindgen]
impl WasmEngine {
    /// One request to the router; `headers` are name, value, name, value. It is dropped when `gone`
    /// resolves before the answer began.
    ///
    /// # Errors
    /// A method, path or header that is none; `gone`.
    pub fn fetch(
        &self,
        method: String,
        path: String,
        headers: Vec<String>,
        body: Vec<u8>,
        gone: Promise,
    ) -> Promise {
        let router = self.router.clone();
        future_to_promise(async move {
            let answer = fetch::fetch(router, &method, &path, &headers, body, gone).await?;
            Ok(Answer::into(answer))
        })
    }

    /// Keeps an adapter's files under a name that requests may give.
    ///
    /// # Errors
    /// A name that is taken.
    #[wasm_bindgen(js_name = addAdapter)]
    pub fn add_adapter(&self, name: String, files: Vec<ModelFile>) -> Result<(), JsError> {
        let taken = format!("name: an adapter is called \"{name}\" already; give another");
        match self.adapters.put(name, files) {
            true => Ok(()),
            false => Err(JsError::new(&taken)),
        }
    }

    /// JSON of `Report` in `js/types.ts`, less what only the worker knows.
    pub fn report(&self) -> String {
        let mut facts = self.facts.borrow().clone();
        let card = self.service.card();
        facts["model"] = json!(card.id);
        facts["contextLength"] = json!(card.context_length);
        facts["memory"] = json!(self.service.memory());
        facts["memory"]["heap"] = json!(core::arch::wasm32::memory_size(0) << 16);
        facts["recoveries"] = json!(self.service.handle().stats().recoveries);
        facts.to_string()
    }

    /// Resolves with the reason once the loop has ended: the device was lost once too often.
    pub fn ended(&self) -> Promise {
        self.ended.clone()
    }
}

/// Where the model comes from and where it goes, as often as it takes.
struct Source {
    files: Vec<ModelFile>,
    choice: Choice,
    setup: Setup,
    on_progress: Function,
}

/// A decoder on a tested device.
struct Loaded {
    decoder: Decoder,
    checkpoint: Checkpoint,
    description: String,
    on_gpu: bool,
    facts: Value,
}

impl Source {
    async fn load(&self) -> Result<Loaded, Failure> {
        let checkpoint = open(self.files.clone(), self.on_progress.clone()).await?;
        let (selected, adapter) = select(self.choice).await?;
        let (selected, tests) = selected.tested(self.choice, &checkpoint.formats()).await?;
        let (plan, _) = self.setup.plan(&checkpoint, &selected.device);
        Ok(Loaded {
            decoder: Decoder::load(&checkpoint, &selected.device, plan).await?,
            checkpoint,
            facts: facts(&selected, adapter.as_ref(), &tests),
            on_gpu: !selected.is_cpu(),
            description: selected.description,
        })
    }

    /// What the engine does when the device is lost.
    fn reload(self, facts: Rc<RefCell<Value>>) -> Reload {
        let source = Rc::new(self);
        Box::new(move || {
            let (source, facts) = (source.clone(), facts.clone());
            Box::pin(async move {
                let loaded = source.load().await.map_err(|failure| failure.message)?;
                facts.replace(loaded.facts);
                Ok(loaded.decoder)
            })
        })
    }
}

async fn open(files: Vec<ModelFile>, on_progress: Function) -> Result<Checkpoint, Error> {
    let meter = Meter::new(&files, on_progress);
    let files = files.into_iter();
    let files: Vec<Box<dyn Storage>> = files
        .map(|file| Box::new(WorkerFile::new(file, Rc::clone(&meter))) as Box<dyn Storage>)
        .collect();
    // One file is a GGUF whatever it is called; of several, a folder's configuration decides.
    match files.iter().any(|file| file.name() == "config.json") {
        true => Checkpoint::from_files("model", files).await,
        false => Checkpoint::from_gguf(files).await,
    }
}

fn facts(selected: &Selected, adapter: Option<&Adapter>, tests: &[SelfTest]) -> Value {
    let tests: Vec<Value> = tests
        .iter()
        .map(|test| {
            json!({
                "kernel": test.kernel, "format": test.format.map(|f| f.to_string()),
                "passed": test.passed, "error": test.error, "detail": test.detail,
                "fallback": test.fallback,
            })
        })
        .collect();
    json!({
        "device": if selected.is_cpu() { "cpu" } else { "webgpu" },
        "reason": selected.reason,
        "description": selected.description,
        "adapter": adapter.map(|a| json!({
            "description": a.name,
            "fallback": a.kind == tinderbox_kernels::Kind::Cpu,
            "features": a.features,
            "limits": {
                "bindingBytes": a.binding_bytes, "bindings": a.bindings,
                "workgroupBytes": a.workgroup_bytes, "workgroupUnits": a.workgroup_units,
            },
        })),
        "selfTest": tests,
    })
}
