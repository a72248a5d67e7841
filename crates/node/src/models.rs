//! Several models by name: loaded when they are asked for, unloaded where memory is short.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::Context;
use futures::FutureExt;
use futures::future::BoxFuture;
use tinderbox_engine::Service;
use tinderbox_model::gguf;
use tinderbox_protocol::{
    AdapterCard, Available, Encoded, Error, EventStream, Health, Inference, Loaded, ModelCard,
    Phase, Prompt, Request, Stats, TokenizerInfo,
};

use crate::adapters::Sources;
use crate::catalog::Catalog;
use crate::pull::Local;
use crate::runtime::Serving;
use crate::settings::Settings;

/// Names that mean the current model: clients send them when none was chosen.
const ALIASES: [&str; 2] = ["", "dummy"];

/// When a model that cannot be had now may be.
const SOON: Duration = Duration::from_secs(2);

/// The models of this server. Clones are the same.
#[derive(Clone)]
pub struct Models(Arc<Shelf>);

struct Shelf {
    settings: Settings,
    catalog: Catalog,
    /// Where adapters are found.
    adapters: Sources,
    /// What may be loaded, by name.
    candidates: Mutex<BTreeMap<String, Local>>,
    /// Bytes that all loaded models may take.
    budget: u64,
    /// One model is loaded at a time.
    loading: tokio::sync::Mutex<()>,
    state: Mutex<State>,
}

/// What is loaded. The methods that end in waiting are elsewhere: the lock is held for moments.
#[derive(Default)]
struct State {
    /// The last is the most recently used.
    residents: Vec<Resident>,
    current: Option<String>,
    /// The name of the model that is being loaded.
    loading: Option<String>,
    /// A model has been loaded since the start.
    opened: bool,
    stopping: bool,
}

struct Resident {
    name: String,
    bytes: u64,
    serving: Serving,
    /// Cloned by whoever is about to start a sequence; the engine counts it from then on.
    lease: Arc<()>,
}

impl Resident {
    fn is_idle(&self) -> bool {
        let stats = self.serving.handle().stats();
        Arc::strong_count(&self.lease) == 1 && stats.running + stats.waiting == 0
    }
}

impl State {
    /// The place of a model among the residents, for a name or an alias.
    fn find(&self, model: &str) -> Option<usize> {
        let name = match ALIASES.contains(&model) {
            true => self.current.as_deref()?,
            false => model,
        };
        self.residents.iter().position(|r| r.name == name)
    }

    /// Finds a model and notes that it was used.
    fn touch(&mut self, model: &str) -> Option<&Resident> {
        let place = self.find(model)?;
        self.residents[place..].rotate_left(1);
        self.residents.last()
    }

    fn take(&mut self, place: usize) -> Resident {
        let resident = self.residents.remove(place);
        if self.current.as_ref() == Some(&resident.name) {
            self.current = self.residents.last().map(|r| r.name.clone());
        }
        resident
    }

    /// The current model first, then by name.
    fn in_order(&self) -> Vec<&Resident> {
        let mut residents: Vec<_> = self.residents.iter().collect();
        residents.sort_by_key(|r| (self.current.as_ref() != Some(&r.name), &r.name));
        residents
    }
}

impl Models {
    /// No model is loaded yet. The models folder of the settings is read.
    ///
    /// # Errors
    /// A models folder or a catalog that cannot be read, an S3 endpoint that is none.
    pub fn new(settings: Settings, budget: u64) -> anyhow::Result<Models> {
        let catalog = Catalog::read(settings.catalog.as_deref())?;
        let candidates = match &settings.models {
            Some(folder) => folder_models(folder)?,
            None => BTreeMap::new(),
        };
        let adapters = Sources::new(&settings)?;
        Ok(Models(Arc::new(Shelf {
            settings,
            catalog,
            adapters,
            candidates: Mutex::new(candidates),
            budget,
            loading: tokio::sync::Mutex::default(),
            state: Mutex::default(),
        })))
    }

    /// A model of the models folder.
    pub fn candidate(&self, name: &str) -> Option<Local> {
        lock(&self.0.candidates).get(name).cloned()
    }

    /// Adds a model that may be loaded.
    pub fn add(&self, local: Local) {
        lock(&self.0.candidates).insert(local.name.clone(), local);
    }

    /// The device of the current model and why it was chosen.
    pub fn device(&self) -> Option<(String, String)> {
        let state = lock(&self.0.state);
        let resident = &state.residents[state.find("")?];
        let serving = &resident.serving;
        Some((serving.device.clone(), serving.reason.clone()))
    }

    /// Takes in nothing more.
    pub fn stop(&self) {
        let mut state = lock(&self.0.state);
        state.stopping = true;
        state
            .residents
            .iter()
            .for_each(|r| r.serving.handle().stop());
    }

    /// Ends what still runs.
    pub fn abort(&self) {
        let state = lock(&self.0.state);
        state
            .residents
            .iter()
            .for_each(|r| r.serving.handle().abort());
    }

    /// Sequences that run or wait.
    pub fn busy(&self) -> usize {
        let sequences = |stats: Stats| stats.running + stats.waiting;
        self.stats().into_iter().map(sequences).sum()
    }

    /// Waits until everything taken in is answered; [`Models::stop`] first.
    pub fn join(&self) {
        let residents = std::mem::take(&mut lock(&self.0.state).residents);
        residents.into_iter().for_each(|r| r.serving.join());
    }

    /// A loaded model and a lease of it.
    fn lease(&self, model: &str) -> Option<(Service, Arc<()>)> {
        let mut state = lock(&self.0.state);
        let resident = state.touch(model)?;
        Some((resident.serving.service.clone(), resident.lease.clone()))
    }

    /// Why there is no such model among the loaded ones.
    fn absent(&self, model: &str) -> Error {
        let state = lock(&self.0.state);
        let loading = state.loading.is_some() || !state.opened;
        if state.stopping || (loading && ALIASES.contains(&model)) {
            let reason = match state.stopping {
                true => "the server is stopping",
                false => "the model is still loading",
            };
            return Error::Unavailable {
                reason: reason.into(),
                retry_after: SOON,
            };
        }
        let known = lock(&self.0.candidates);
        match ALIASES.contains(&model) || known.contains_key(model) {
            true => Error::NoModel,
            false => Error::ModelNotFound {
                model: model.into(),
                known: known.keys().cloned().collect::<Vec<_>>().join(", "),
            },
        }
    }

    /// A lease of a model, which is loaded where it is not.
    async fn lease_or_load(&self, model: &str) -> Result<(Service, Arc<()>), Error> {
        if let Some(lease) = self.lease(model) {
            return Ok(lease);
        }
        if self.candidate(model).is_some() {
            self.bring(model).await?;
        }
        self.lease(model).ok_or_else(|| self.absent(model))
    }

    /// Asks the model of that name, which is loaded where it is not and stays until it answered.
    fn ask<T: 'static>(
        &self,
        model: &str,
        question: impl FnOnce(&Service) -> BoxFuture<'static, Result<T, Error>> + Send + 'static,
    ) -> BoxFuture<'static, Result<T, Error>> {
        let (models, model) = (self.clone(), model.to_owned());
        async move {
            let (service, _lease) = models.lease_or_load(&model).await?;
            question(&service).await
        }
        .boxed()
    }

    /// Loads a model where it is not loaded. The loading goes on when the caller goes away.
    async fn bring(&self, model: &str) -> Result<Loaded, Error> {
        let (models, name) = (self.clone(), model.to_owned());
        let task = tokio::spawn(async move {
            let _turn = models.0.loading.lock().await;
            if lock(&models.0.state).touch(&name).is_some() {
                return Ok(Loaded::Already);
            }
            let local = models.candidate(&name);
            let local = local.ok_or_else(|| models.absent(&name))?;
            lock(&models.0.state).loading = Some(name);
            let shelf = models.0.clone();
            let loaded = tokio::task::spawn_blocking(move || shelf.load(&local)).await;
            lock(&models.0.state).loading = None;
            match loaded {
                Ok(Ok(())) => Ok(Loaded::Now),
                Ok(Err(error)) => Err(error),
                Err(panic) => Err(Error::Internal(panic.to_string())),
            }
        });
        let panicked = |error: tokio::task::JoinError| Error::Internal(error.to_string());
        task.await.map_err(panicked)?
    }
}

impl Shelf {
    /// Loads a model beside the others, or in the place of idle ones.
    fn load(self: &Arc<Self>, local: &Local) -> Result<(), Error> {
        let shelf = self.clone();
        let adapters = Some(self.adapters.clone());
        let admit = move |bytes| shelf.make_room(bytes);
        let started = Serving::start(&self.settings, local, adapters, admit);
        let (serving, bytes) = started.map_err(|error| match error.downcast::<Error>() {
            Ok(error) => error,
            Err(error) => Error::Internal(format!("{}: {error:#}", local.name)),
        })?;
        let mut state = lock(&self.state);
        if state.stopping {
            serving.handle().stop();
        }
        state.opened = true;
        state.current.get_or_insert_with(|| local.name.clone());
        state.residents.push(Resident {
            name: local.name.clone(),
            bytes,
            serving,
            lease: Arc::default(),
        });
        Ok(())
    }

    /// Unloads idle models, the least recently used first, until `bytes` more fit.
    fn make_room(&self, bytes: u64) -> Result<(), Error> {
        loop {
            let mut state = lock(&self.state);
            let used: u64 = state.residents.iter().map(|r| r.bytes).sum();
            if used.saturating_add(bytes) <= self.budget {
                return Ok(());
            }
            let Some(place) = state.residents.iter().position(Resident::is_idle) else {
                let mib = |bytes: u64| bytes.div_ceil(1 << 20);
                return Err(Error::Unavailable {
                    reason: format!(
                        "the model needs {} MiB; of the {} MiB for models (--memory) {} are in use",
                        mib(bytes),
                        mib(self.budget),
                        mib(used),
                    ),
                    retry_after: SOON,
                });
            };
            let resident = state.take(place);
            drop(state);
            tracing::info!(model = resident.name, "unloaded to make room");
            resident.serving.handle().stop();
            resident.serving.join();
        }
    }
}

/// The models of a folder: `.gguf` files by their stem (split ones by their first part's), folders
/// with a `config.json` by their name.
fn folder_models(folder: &Path) -> anyhow::Result<BTreeMap<String, Local>> {
    let wrong = || format!("{}: cannot read the models folder", folder.display());
    let mut found = BTreeMap::new();
    for entry in std::fs::read_dir(folder).with_context(wrong)? {
        let path = entry.with_context(wrong)?.path();
        let name = match path.is_dir() {
            true if path.join("config.json").exists() => path.file_name(),
            false if path.extension().is_some_and(|e| e == "gguf") => {
                let first = gguf::parts(&path)[0] == path;
                path.file_stem().filter(|_| first)
            }
            _ => None,
        };
        if let Some(name) = name.and_then(|name| name.to_str()) {
            let name = name.to_owned();
            found.insert(name.clone(), Local { name, path });
        }
    }
    Ok(found)
}

/// The lock, whatever a thread that panicked has done: no update leaves a half-made state.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Inference for Models {
    fn models(&self) -> Vec<ModelCard> {
        let state = lock(&self.0.state);
        let services = state.in_order().into_iter().map(|r| &r.serving.service);
        services.flat_map(Service::models).collect()
    }

    fn available(&self) -> Vec<Available> {
        let state = lock(&self.0.state);
        let candidates = lock(&self.0.candidates);
        let names = candidates.keys().map(|name| Available {
            id: name.clone(),
            description: (self.0.catalog.find(name))
                .map_or_else(String::new, |entry| entry.description.clone()),
            progress: match state.find(name) {
                Some(_) => 1.0,
                None if state.loading.as_ref() == Some(name) => 0.5,
                None => 0.0,
            },
        });
        names.collect()
    }

    fn adapters(&self) -> Vec<AdapterCard> {
        let state = lock(&self.0.state);
        let services = state.in_order().into_iter().map(|r| &r.serving.service);
        services.flat_map(Service::adapters).collect()
    }

    fn load(&self, model: &str) -> BoxFuture<'static, Result<Loaded, Error>> {
        let (models, model) = (self.clone(), model.to_owned());
        async move {
            let loaded = models.bring(&model).await?;
            lock(&models.0.state).current = Some(model);
            Ok(loaded)
        }
        .boxed()
    }

    fn unload(&self, model: &str) -> BoxFuture<'static, Result<Option<String>, Error>> {
        let resident = {
            let mut state = lock(&self.0.state);
            let place = state.find(model);
            place.map(|place| state.take(place))
        };
        let known = match resident {
            Some(_) => Ok(()),
            None => match self.absent(model) {
                Error::NoModel => Ok(()),
                error => Err(error),
            },
        };
        async move {
            known?;
            let Some(resident) = resident else {
                return Ok(None);
            };
            resident.serving.handle().stop();
            let joined = tokio::task::spawn_blocking(move || {
                resident.serving.join();
                resident.name
            });
            let name = joined.await;
            name.map(Some)
                .map_err(|error| Error::Internal(error.to_string()))
        }
        .boxed()
    }

    fn stats(&self) -> Vec<Stats> {
        let state = lock(&self.0.state);
        let services = state.in_order().into_iter().map(|r| &r.serving.service);
        services.flat_map(Service::stats).collect()
    }

    fn health(&self) -> Health {
        let state = lock(&self.0.state);
        let mut healths = state
            .in_order()
            .into_iter()
            .map(|r| r.serving.service.health());
        if let Some(failed) = healths.find(|h| matches!(h.phase, Phase::Failed(_))) {
            return failed;
        }
        let phase = match (state.stopping, state.opened) {
            (true, _) => Phase::Stopping,
            (false, true) => Phase::Ready,
            (false, false) => Phase::Loading,
        };
        let current = state
            .find("")
            .map(|place| &state.residents[place].serving.service);
        let details = current.map(|service| service.health().details);
        Health {
            phase,
            details: details.unwrap_or_default(),
        }
    }

    fn generate(&self, request: Request) -> BoxFuture<'static, Result<EventStream, Error>> {
        let model = request.model.clone();
        let request = Request {
            model: String::new(),
            ..request
        };
        self.ask(&model, |service| service.generate(request))
    }

    fn encode(&self, model: &str, prompt: &Prompt) -> BoxFuture<'static, Result<Encoded, Error>> {
        let prompt = prompt.clone();
        self.ask(model, move |service| service.encode("", &prompt))
    }

    fn decode(&self, model: &str, tokens: &[u32]) -> BoxFuture<'static, Result<String, Error>> {
        let tokens = tokens.to_vec();
        self.ask(model, move |service| service.decode("", &tokens))
    }

    fn tokenizer_info(&self, model: &str) -> BoxFuture<'static, Result<TokenizerInfo, Error>> {
        self.ask(model, |service| service.tokenizer_info(""))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn before_a_model_is_there_everything_is_refused_with_a_time_to_come_back() {
        let models = Models::new(Settings::default(), 0).unwrap();
        assert_eq!(models.health().phase, Phase::Loading);
        assert!(models.models().is_empty());
        let answer = futures::executor::block_on(models.generate(Request::default()));
        assert!(matches!(
            answer.err(),
            Some(Error::Unavailable { retry_after, .. }) if retry_after > Duration::ZERO
        ));
        let text = futures::executor::block_on(models.decode("", &[1]));
        assert!(text.is_err());
    }
}
