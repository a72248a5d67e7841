//! A model on a device, its engine on a thread of its own.

use std::path::Path;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use anyhow::Context;
use futures::executor::block_on;
use tinderbox_engine::{
    AdapterStore, DecoderRunner, Engine, Handle, Limits, RunnerError, Service, Setup,
};
use tinderbox_kernels::{Choice, Selected, select};
use tinderbox_model::{Checkpoint, Decoder, KvType};
use tinderbox_protocol::Error;

use crate::adapters::Sources;
use crate::pull::Local;
use crate::settings::{Kv, Settings};

/// Largest default context: more is asked for with `--context`.
const CONTEXT: usize = 8192;
/// Most bytes the KV cache takes beyond one full context.
const CACHE_BYTES: usize = 1 << 30;
/// Prompt rows of one step: enough to share a weight, few enough to keep activations small.
pub const PREFILL_ROWS: usize = 128;

/// A loaded decoder and what is known of it.
pub struct Loaded {
    /// The model on its device.
    pub decoder: Decoder,
    /// What else the checkpoint holds.
    pub checkpoint: Checkpoint,
    /// The device and why it was chosen.
    pub selected: Selected,
}

/// Decides the CPU twin's threads; the first call counts.
pub fn use_threads(settings: &Settings) {
    if let Some(threads) = settings.threads {
        // A second call (two engines in one process) keeps the first one's threads.
        let _ = rayon::ThreadPoolBuilder::new()
            .num_threads(threads.into())
            .build_global();
    }
}

/// Reads a model and puts it on the device the settings name. `admit` is told how many bytes it
/// will take, and may refuse them.
///
/// # Errors
/// No such device, an unreadable or unsupported checkpoint, what `admit` says.
pub async fn load(
    settings: &Settings,
    path: &Path,
    admit: impl FnOnce(u64) -> Result<(), Error>,
) -> anyhow::Result<Loaded> {
    let choice: Choice = settings.device.parse()?;
    let checkpoint = Checkpoint::open(path).await?;
    let (selected, tests) = select(choice)?
        .tested(choice, &checkpoint.formats())
        .await?;
    for wrong in tests.iter().filter(|test| !test.passed) {
        tracing::warn!(
            kernel = wrong.kernel,
            detail = wrong.detail,
            fallback = wrong.fallback,
            "a kernel is wrong"
        );
    }
    let (options, cache) = setup(settings, String::new()).plan(&checkpoint, &selected.device);
    admit(checkpoint.bytes() + cache as u64)?;
    let decoder = Decoder::load(&checkpoint, &selected.device, options).await?;
    Ok(Loaded {
        decoder,
        checkpoint,
        selected,
    })
}

/// A model that answers, and the thread that runs it.
pub struct Serving {
    /// Who answers.
    pub service: Service,
    /// The device, for a log line.
    pub device: String,
    /// Why that device.
    pub reason: String,
    thread: JoinHandle<Result<(), RunnerError>>,
}

impl Serving {
    /// Loads the model on a new thread and starts its engine there, which serves what `adapters` has.
    /// Answers with the bytes it
    /// takes, too.
    ///
    /// # Errors
    /// As [`load`].
    pub fn start(
        settings: &Settings,
        local: &Local,
        adapters: Option<Sources>,
        admit: impl FnOnce(u64) -> Result<(), Error> + Send + 'static,
    ) -> anyhow::Result<(Serving, u64)> {
        use_threads(settings);
        let (settings, local) = (settings.clone(), local.clone());
        let (sender, receiver) = std::sync::mpsc::channel();
        let thread = std::thread::Builder::new()
            .name("engine".into())
            .spawn(move || {
                let loaded = block_on(async {
                    let mut loaded = load(&settings, &local.path, admit).await?;
                    if !loaded.selected.is_cpu() {
                        loaded.decoder.warm_up().await?;
                    }
                    anyhow::Ok(loaded)
                });
                let engine = match loaded {
                    Ok(loaded) => {
                        let (engine, parts) = assemble(&settings, &local, adapters, loaded);
                        // The receiver waits for exactly this message.
                        let _ = sender.send(Ok(parts));
                        engine
                    }
                    Err(error) => {
                        let _ = sender.send(Err(error));
                        return Ok(());
                    }
                };
                block_on(engine.run())
            })?;
        let received = receiver
            .recv()
            .context("the engine's thread ended while loading")?;
        let Parts {
            service,
            selected,
            bytes,
        } = received?;
        let serving = Serving {
            service,
            device: selected.description,
            reason: selected.reason,
            thread,
        };
        Ok((serving, bytes))
    }

    /// The way to stop it.
    pub fn handle(&self) -> &Handle {
        self.service.handle()
    }

    /// Waits until everything taken in is answered; [`Handle::stop`] or [`Handle::abort`] first.
    pub fn join(self) {
        match self.thread.join() {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::error!(%error, "the engine failed"),
            Err(_) => tracing::error!("the engine's thread panicked"),
        }
    }
}

/// What the engine's thread gives to the one that waits for it.
struct Parts {
    service: Service,
    selected: Selected,
    bytes: u64,
}

fn assemble(
    settings: &Settings,
    local: &Local,
    adapters: Option<Sources>,
    loaded: Loaded,
) -> (Engine<DecoderRunner>, Parts) {
    let Loaded {
        decoder,
        checkpoint,
        selected,
    } = loaded;
    let mut setup = setup(settings, local.name.clone());
    let budget = u64::from(settings.adapter_memory) << 20;
    setup.adapters = adapters.map(|sources| (Arc::new(sources) as Arc<dyn AdapterStore>, budget));
    let bytes = (decoder.cache_bytes() + decoder.weight_bytes()) as u64;
    let (engine, service) = setup.engine(decoder, checkpoint, selected.description.clone(), None);
    (
        engine,
        Parts {
            service,
            selected,
            bytes,
        },
    )
}

/// How a host serves a model of that name.
fn setup(settings: &Settings, name: String) -> Setup {
    let start = Instant::now();
    Setup {
        name,
        context: settings.context.map_or(CONTEXT, |n| n as usize),
        kv: match settings.kv_type {
            Kv::F16 => Some(KvType::F16),
            Kv::F32 => Some(KvType::F32),
            Kv::Auto => None,
        },
        cache_bytes: CACHE_BYTES,
        limits: Limits {
            max_sequences: settings.max_sequences.into(),
            max_queue: settings.max_queue as usize,
            prefill_rows: PREFILL_ROWS,
            speculate: settings.speculate.into(),
            ..Limits::default()
        },
        adapters: None,
        clock: Arc::new(move || start.elapsed()),
        entropy: uuid::Uuid::new_v4().as_u64_pair().0,
        now: unix_seconds(),
    }
}

/// The time, in whole seconds since 1970.
pub fn unix_seconds() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |time| time.as_secs())
}
