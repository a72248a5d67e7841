//! A model in this worker: loading, requests, facts.

use std::rc::Rc;
use std::sync::Arc;

use axum::Router;
use js_sys::{Function, Promise};
use serde_json::{Value, json};
use tinderbox_api::{Context, DEFAULT_BODY_LIMIT, Keys, Limits, Metrics, router};
use tinderbox_engine::{Limits as EngineLimits, Service, Setup};
use tinderbox_kernels::{Adapter, Choice, Selected, SelfTest, select_webgpu};
use tinderbox_model::{Checkpoint, Decoder, Storage};
use wasm_bindgen::prelude::*;
use wasm_bindgen_futures::future_to_promise;

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
    facts: Value,
    ended: Promise,
    _turns: Turns,
}

/// Reads a model onto the device and starts its engine. `on_progress` takes the bytes read and the
/// bytes there are.
///
/// # Errors
/// No such device, a wrong kernel on a device that was asked for by name, an unreadable or
/// unsupported checkpoint.
#[wasm_bindgen]
pub async fn load(
    files: Vec<ModelFile>,
    options: WasmOptions,
    on_progress: Function,
) -> Result<WasmEngine, JsError> {
    console_error_panic_hook::set_once();
    let (end, ends) = futures::channel::mpsc::unbounded::<String>();
    let lost = {
        let end = end.clone();
        move |reason| {
            // Nobody listens any more once the engine is freed.
            let _ = end.unbounded_send(reason);
        }
    };
    let choice: Choice = options.device().parse()?;
    let checkpoint = open(files, on_progress).await?;
    let (selected, adapter) = select_webgpu(choice, lost).await?;
    let (selected, tests) = selected.tested(choice, &checkpoint.formats()).await?;

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
        clock: Arc::new(uptime),
        entropy: uuid::Uuid::new_v4().as_u64_pair().0,
        now: now(),
    };
    let (plan, _) = setup.plan(&checkpoint, &selected.device);
    let decoder = Decoder::load(&checkpoint, &selected.device, plan).await?;
    let facts = facts(&selected, adapter.as_ref(), &tests);
    let gpu = (!selected.is_cpu()).then(|| selected.description.clone());
    let (engine, service) = setup.engine(decoder, checkpoint, selected.description);

    let turns = Turns::start(async move {
        let reason = match engine.run().await {
            Ok(()) => "the engine has ended".to_owned(),
            Err(error) => error.to_string(),
        };
        let _ = end.unbounded_send(reason);
    });
    let turns = turns.map_err(|thrown| JsError::new(&crate::files::message(&thrown)))?;
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
        facts,
        ended: first(ends),
        _turns: turns,
    })
}

#[wasm_bindgen]
impl WasmEngine {
    /// One request to the router; `headers` are name, value, name, value.
    ///
    /// # Errors
    /// A method, path or header that is none.
    pub fn fetch(
        &self,
        method: String,
        path: String,
        headers: Vec<String>,
        body: Vec<u8>,
    ) -> Promise {
        let router = self.router.clone();
        future_to_promise(async move {
            let answer = fetch::fetch(router, &method, &path, &headers, body).await?;
            Ok(Answer::into(answer))
        })
    }

    /// JSON of `Report` in `js/types.ts`, less what only the worker knows.
    pub fn report(&self) -> String {
        let mut facts = self.facts.clone();
        let (card, stats) = (self.service.card(), self.service.memory());
        facts["model"] = json!(card.id);
        facts["contextLength"] = json!(card.context_length);
        facts["memory"] = json!(stats);
        facts["memory"]["heap"] = json!(core::arch::wasm32::memory_size(0) << 16);
        facts.to_string()
    }

    /// Resolves with the reason once the device is lost or the loop has ended.
    pub fn ended(&self) -> Promise {
        self.ended.clone()
    }
}

async fn open(files: Vec<ModelFile>, on_progress: Function) -> Result<Checkpoint, JsError> {
    let meter = Meter::new(&files, on_progress);
    let files = files.into_iter();
    let mut files: Vec<Box<dyn Storage>> = files
        .map(|file| Box::new(WorkerFile::new(file, Rc::clone(&meter))) as Box<dyn Storage>)
        .collect();
    let gguf = files.len() == 1;
    match files.pop() {
        Some(file) if gguf => Ok(Checkpoint::from_gguf(file).await?),
        Some(file) => {
            files.push(file);
            Ok(Checkpoint::from_files("model", files).await?)
        }
        None => Err(JsError::new("no file was given")),
    }
}

fn first(mut ends: futures::channel::mpsc::UnboundedReceiver<String>) -> Promise {
    use futures::StreamExt;
    future_to_promise(async move {
        let reason = ends.next().await;
        Ok(reason.unwrap_or_default().into())
    })
}

fn facts(selected: &Selected, adapter: Option<&Adapter>, tests: &[SelfTest]) -> Value {
    let tests: Vec<Value> = tests
        .iter()
        .map(|test| {
            json!({
                "kernel": test.kernel, "format": test.format.map(|f| f.to_string()),
                "passed": test.passed, "error": test.error, "detail": test.detail,
            })
        })
        .collect();
    json!({
        "device": if selected.is_cpu() { "cpu" } else { "webgpu" },
        "reason": selected.reason,
        "description": selected.description,
        "adapter": adapter.map(|a| json!({
            "description": a.name,
            "software": a.kind == tinderbox_kernels::Kind::Cpu,
            "features": a.features,
            "limits": {
                "bindingBytes": a.binding_bytes, "bindings": a.bindings,
                "workgroupBytes": a.workgroup_bytes, "workgroupUnits": a.workgroup_units,
            },
        })),
        "selfTest": tests,
    })
}
