//! Adapters per request: where their files come from, and those that are in memory.
//!
//! A request's adapter is read beside the engine ([`Pool`]) and stays in memory while a sequence
//! holds it. The engine's loop puts it on the device between two steps ([`Slots`]).

mod pool;
mod resident;
mod slots;

use std::collections::BTreeMap;

use futures::future::BoxFuture;
use tinderbox_protocol::{AdapterCard, AdapterSource, Error};

pub(crate) use pool::{Lease, Pool};
pub(crate) use resident::{Resident, Words, name};
pub(crate) use slots::Slots;

/// The files of an adapter's folder that are read; of the first two there must be both.
pub const ADAPTER_FILES: [&str; 5] = [
    "adapter_config.json",
    "adapter_model.safetensors",
    "tokenizer_config.json",
    "added_tokens.json",
    "chat_template.jinja",
];

/// The bytes of [`ADAPTER_FILES`], those that are there.
pub type AdapterFiles = BTreeMap<&'static str, Vec<u8>>;

/// Where adapters are found. Each place has its own.
pub trait AdapterStore: Send + Sync + 'static {
    /// The files of an adapter, `most` bytes of them at most. The token is a secret: it is shown to
    /// the source and to nobody else.
    ///
    /// # Errors
    /// [`Error::AdapterNotFound`]; [`Error::AdapterMismatch`] where it cannot be fetched.
    fn fetch(
        &self,
        id: &str,
        source: AdapterSource,
        token: Option<&str>,
        most: u64,
    ) -> BoxFuture<'static, Result<AdapterFiles, Error>>;

    /// The adapters that are known by name, with where they come from.
    fn names(&self) -> Vec<(String, AdapterSource)>;

    /// Whether a request may wait for what another one reads. Where it may not, requests read one after
    /// the other, each for itself, until one has brought the adapter.
    fn shares(&self) -> bool {
        true
    }

    /// Does what takes a second or more of computing, where it holds up nobody else; by default
    /// here and now.
    fn compute(&self, work: Box<dyn FnOnce() + Send>) {
        work();
    }
}

/// Adapters of one model: those in memory first, then those that are only known.
pub(crate) fn cards(pool: &Pool, parent: &str) -> Vec<AdapterCard> {
    let mut cards: Vec<AdapterCard> = Vec::new();
    let loaded = pool.named().into_iter().map(|named| (named, true));
    let known = pool.store().names().into_iter().map(|named| (named, false));
    for ((id, source), loaded) in loaded.chain(known) {
        if cards.iter().all(|card| card.id != id) {
            let parent = parent.to_owned();
            cards.push(AdapterCard {
                id,
                source,
                parent,
                loaded,
            });
        }
    }
    cards
}
