//! The adapters in memory: each read once, the least recently used one gone where another needs
//! its room, none that a sequence holds.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_channel::{Receiver, Sender};
use futures::FutureExt;
use futures::channel::oneshot;
use futures::future::{BoxFuture, Shared, WeakShared};
use tinderbox_model::{Config, Tokenizer};
use tinderbox_protocol::{Adapter, AdapterSource, Error};

use super::resident::{Resident, mismatch, name};
use super::{AdapterFiles, AdapterStore};

/// Adapters that are read at once: a slow source holds up few others, and what is read and has no
/// room yet is bounded.
const READING: usize = 4;

/// The adapters of one model. Clones are the same.
#[derive(Clone)]
pub(crate) struct Pool(Arc<Inside>);

struct Inside {
    store: Arc<dyn AdapterStore>,
    /// What adapters are read for.
    model: Config,
    /// Knows its tokens already.
    tokenizer: Arc<Tokenizer>,
    /// Most bytes of adapters in memory.
    budget: u64,
    /// Of [`Resident::number`].
    numbers: AtomicU64,
    /// Full while as many are read as may be.
    reading: (Sender<()>, Receiver<()>),
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// The last is the most recently used.
    entries: Vec<Entry>,
    /// What is being read, as long as somebody waits for it.
    loading: Vec<(Adapter, WeakShared<Loading>)>,
    /// Those who wait for room.
    waiting: Vec<oneshot::Sender<()>>,
}

type Loading = BoxFuture<'static, Result<Lease, Error>>;

/// An adapter in memory. The key has the token it was fetched with: who lacks it does not get it.
struct Entry {
    key: Adapter,
    bytes: u64,
    resident: Arc<Resident>,
}

impl Entry {
    fn is_idle(&self) -> bool {
        Arc::strong_count(&self.resident) == 1
    }
}

/// An adapter that stays in memory until all its leases are gone.
#[derive(Clone)]
pub(crate) struct Lease {
    // Goes before the bell tells that it is gone.
    pub resident: Arc<Resident>,
    _bell: Bell,
}

/// Wakes those who wait for room.
#[derive(Clone)]
struct Bell(Pool);

impl Drop for Bell {
    fn drop(&mut self) {
        let waiting = std::mem::take(&mut self.0.state().waiting);
        for one in waiting {
            // Some wait no longer.
            let _ = one.send(());
        }
    }
}

impl Pool {
    /// A pool of `budget` bytes for the adapters of a model.
    pub fn new(
        store: Arc<dyn AdapterStore>,
        budget: u64,
        model: Config,
        tokenizer: Arc<Tokenizer>,
    ) -> Pool {
        // Where readings are not shared, turns keep two from bringing the same.
        let reading = if store.shares() { READING } else { 1 };
        Pool(Arc::new(Inside {
            store,
            model,
            tokenizer,
            budget,
            numbers: AtomicU64::new(0),
            reading: async_channel::bounded(reading),
            state: Mutex::default(),
        }))
    }

    /// Where adapters are found.
    pub fn store(&self) -> &dyn AdapterStore {
        &*self.0.store
    }

    /// How many are in memory, and their bytes.
    pub fn size(&self) -> (usize, u64) {
        let state = self.state();
        (state.entries.len(), state.bytes())
    }

    /// Those in memory that anybody may name.
    pub fn named(&self) -> Vec<(String, AdapterSource)> {
        let state = self.state();
        let open = state
            .entries
            .iter()
            .filter(|entry| entry.key.token.is_none());
        let single = open.filter_map(|entry| match &entry.key.ids[..] {
            [id] => Some((id.clone(), entry.key.source)),
            _ => None,
        });
        single.collect()
    }

    /// An adapter, read where it is not in memory; requests for the same one read it once, if the
    /// store lets them share. Who drops the future waits no longer, and what nobody waits for is read
    /// no further.
    ///
    /// # Errors
    /// [`Error::AdapterNotFound`], [`Error::AdapterMismatch`]. The next request tries again.
    pub async fn lease(&self, adapter: &Adapter) -> Result<Lease, Error> {
        if adapter.ids.is_empty() {
            return Err(Error::Invalid {
                field: "adapter".into(),
                reason: "has no identifier; give at least one".into(),
            });
        }
        let loading = {
            let mut state = self.state();
            if let Some(resident) = state.touch(adapter) {
                return Ok(self.leased(resident));
            }
            let shares = self.0.store.shares();
            shares.then(|| self.loading(adapter, &mut state))
        };
        match loading {
            Some(loading) => loading.await,
            None => self.read(adapter).await,
        }
    }

    /// The reading of an adapter that is under way, or a new one; nothing happens before somebody
    /// waits for it.
    fn loading(&self, adapter: &Adapter, state: &mut State) -> Shared<Loading> {
        let mut loading = state.loading.iter();
        let found = loading.find(|(key, _)| key == adapter);
        if let Some(loading) = found.and_then(|(_, loading)| loading.upgrade()) {
            return loading;
        }
        let (pool, key) = (self.clone(), adapter.clone());
        let loading = async move {
            let read = pool.read(&key).await;
            pool.state().forget(&key);
            read
        };
        let loading = loading.boxed().shared();
        state.forget(adapter);
        let weak = loading.downgrade().expect("it has not ended");
        state.loading.push((adapter.clone(), weak));
        loading
    }

    async fn read(&self, adapter: &Adapter) -> Result<Lease, Error> {
        let _turn = Turn::take(&self.0.reading).await;
        // Whoever had the turn before may have brought it.
        if let Some(resident) = self.state().touch(adapter) {
            return Ok(self.leased(resident));
        }
        let mut files = Vec::new();
        for id in &adapter.ids {
            let token = adapter.token.as_deref();
            let fetched = self.0.store.fetch(id, adapter.source, token, self.0.budget);
            files.push(fetched.await?);
        }
        let resident = self.open(adapter, files).await?;
        let bytes = resident.lora.bytes() as u64;
        if bytes > self.0.budget {
            let mib = |bytes: u64| bytes.div_ceil(1 << 20);
            let (needed, budget) = (mib(bytes), mib(self.0.budget));
            let reason = format!("it takes {needed} MiB, and all adapters may take {budget}");
            return Err(mismatch(&name(adapter), reason));
        }
        loop {
            let room = match self.state().admit(adapter, &resident, self.0.budget, bytes) {
                Ok(()) => break,
                Err(room) => room,
            };
            // Whoever would ring is gone only where the pool is.
            let _ = room.await;
        }
        tracing::info!(adapter = name(adapter), bytes, "adapter loaded");
        Ok(self.leased(resident))
    }

    async fn open(
        &self,
        adapter: &Adapter,
        files: Vec<AdapterFiles>,
    ) -> Result<Arc<Resident>, Error> {
        let number = self.0.numbers.fetch_add(1, Ordering::Relaxed);
        let (inside, adapter) = (self.0.clone(), adapter.clone());
        let (sender, opened) = oneshot::channel();
        self.0.store.compute(Box::new(move || {
            // Nobody waits any more where the request is gone.
            let (model, tokenizer) = (&inside.model, &inside.tokenizer);
            let _ = sender.send(Resident::open(number, &adapter, files, model, tokenizer));
        }));
        let opened = opened.await;
        let opened = opened.map_err(|_| Error::Internal("an adapter was not read".into()))?;
        opened.map(Arc::new)
    }

    fn leased(&self, resident: Arc<Resident>) -> Lease {
        Lease {
            resident,
            _bell: Bell(self.clone()),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        let state = self.0.state.lock();
        state.unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn bytes(&self) -> u64 {
        self.entries.iter().map(|entry| entry.bytes).sum()
    }

    /// Finds an adapter and notes that it was used.
    fn touch(&mut self, key: &Adapter) -> Option<Arc<Resident>> {
        let place = self.entries.iter().position(|entry| entry.key == *key)?;
        self.entries[place..].rotate_left(1);
        let entry = self.entries.last()?;
        Some(entry.resident.clone())
    }

    fn forget(&mut self, key: &Adapter) {
        self.loading.retain(|(loading, _)| loading != key);
    }

    /// Takes an adapter in, in place of idle ones where that is needed; else tells when it is worth
    /// trying again.
    fn admit(
        &mut self,
        key: &Adapter,
        resident: &Arc<Resident>,
        budget: u64,
        bytes: u64,
    ) -> Result<(), oneshot::Receiver<()>> {
        let idle = self.entries.iter().filter(|entry| entry.is_idle());
        let idle: u64 = idle.map(|entry| entry.bytes).sum();
        if self.bytes() - idle + bytes > budget {
            let (bell, room) = oneshot::channel();
            self.waiting.push(bell);
            return Err(room);
        }
        while self.bytes() + bytes > budget
            && let Some(place) = self.entries.iter().position(Entry::is_idle)
        {
            let left = self.entries.remove(place);
            tracing::info!(adapter = name(&left.key), "adapter left to make room");
        }
        self.entries.push(Entry {
            key: key.clone(),
            bytes,
            resident: resident.clone(),
        });
        Ok(())
    }
}

/// One of those who read.
struct Turn(Receiver<()>);

impl Turn {
    async fn take((taken, given): &(Sender<()>, Receiver<()>)) -> Turn {
        // Both ends live as long as the pool.
        let _ = taken.send(()).await;
        Turn(given.clone())
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        let _ = self.0.try_recv();
    }
}
