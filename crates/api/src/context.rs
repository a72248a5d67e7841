//! What the router needs of the world.

use std::sync::Arc;
use std::time::Duration;

use tinderbox_protocol::{Inference, ModelCard};

use crate::{Keys, Limits, Metrics};

/// Largest request body where the place has no wish of its own: 16 MiB.
pub const DEFAULT_BODY_LIMIT: usize = 16 << 20;

/// What the router needs of the place it runs in.
#[derive(Clone)]
pub struct Context {
    /// Who answers.
    pub inference: Arc<dyn Inference>,
    /// Clock, identifiers, machine.
    pub place: Arc<dyn Place>,
    /// Who may ask.
    pub keys: Arc<Keys>,
    /// How often one client may ask for text at LocalLab's paths.
    pub limits: Arc<Limits>,
    /// LiteLLM's custom endpoint answers with the prompt in front of the text.
    pub litellm_echo: bool,
    /// Largest request body, in bytes.
    pub body_limit: usize,
    /// What is counted and timed.
    pub metrics: Arc<Metrics>,
}

/// Where the router runs: a host, an isolate, a test.
pub trait Place: Send + Sync + 'static {
    /// The time: Unix seconds.
    fn now(&self) -> u64;

    /// Time since the server started; never goes back.
    fn uptime(&self) -> Duration;

    /// A new identifier at each call: visible ASCII, at most 64 characters, never given before.
    fn new_id(&self) -> String;

    /// The machine, as far as it can be seen.
    fn machine(&self) -> Machine;
}

/// A machine and how busy it is. What cannot be seen is `None` or empty.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Machine {
    /// Operating system and architecture, as in `linux x86_64`.
    pub platform: String,
    /// Physical cores.
    pub cores: Option<usize>,
    /// Hardware threads.
    pub threads: Option<usize>,
    /// Share of all cores that is busy, percent.
    pub cpu_usage: Option<f32>,
    /// Highest clock rate, MHz.
    pub cpu_frequency: Option<u64>,
    /// Bytes of memory.
    pub memory: Option<Space>,
    /// Bytes of the disk that holds the models.
    pub disk: Option<Space>,
    /// The GPUs in use.
    pub gpus: Vec<Gpu>,
}

/// Room and how much of it is left, in bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Space {
    /// All there is.
    pub total: u64,
    /// What is left.
    pub available: u64,
}

/// A GPU.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Gpu {
    /// Its name.
    pub name: String,
    /// Bytes of memory, where known.
    pub memory: Option<u64>,
}

impl Context {
    /// The card of the model a caller named; the current one's for an empty name or an alias.
    pub(crate) fn card(&self, model: &str) -> Option<ModelCard> {
        let cards = self.inference.models();
        let named = cards.iter().find(|card| card.id == model);
        named.or(cards.first()).cloned()
    }

    /// The names of the models that are loaded only when somebody names them.
    pub(crate) fn unloaded(&self) -> impl Iterator<Item = String> {
        let loaded = self.inference.models();
        let names = self.inference.available().into_iter().map(|model| model.id);
        names.filter(move |name| loaded.iter().all(|card| card.id != *name))
    }

    /// The model's name for an answer: as the caller gave it, else the current one's.
    pub(crate) fn model_name(&self, model: &str) -> String {
        match model {
            "" => self.card("").map_or_else(String::new, |card| card.id),
            named => named.into(),
        }
    }
}
