//! From an adapter's files to an adapter in memory.

use futures::FutureExt;
use tinderbox_model::{
    AdapterText, Additions, Config, Error as ModelError, Lora, MemoryStorage, Tokenizer,
};
use tinderbox_protocol::{Adapter, Error, Merge};

use super::{ADAPTER_FILES, AdapterFiles, Lease};
use crate::Vocabulary;
use crate::prompts::Own;

/// An adapter in memory.
pub(crate) struct Resident {
    /// Never that of another, so that what was computed with this one is known by it.
    pub number: u64,
    pub lora: Lora,
    pub own: Own,
}

impl Resident {
    /// Reads what a request names: one adapter, or several that are merged. The template is that of
    /// the first that has one, and so are the names of tokens.
    ///
    /// # Errors
    /// [`Error::AdapterMismatch`] with the file and what is wrong in it.
    pub fn open(
        number: u64,
        adapter: &Adapter,
        files: Vec<AdapterFiles>,
        model: &Config,
        tokenizer: &Tokenizer,
    ) -> Result<Resident, Error> {
        let mut parts = Vec::new();
        for (id, files) in adapter.ids.iter().zip(files) {
            let part = read(files, model).map_err(|error| mismatch(id, error.to_string()))?;
            parts.push(part);
        }
        let template = parts.iter_mut().find_map(|(_, text)| text.template.take());
        let named = parts.iter_mut().find(|(_, text)| !text.added.is_empty());
        let added = named.map(|(_, text)| std::mem::take(&mut text.added));
        let additions = Additions::new(added.unwrap_or_default(), tokenizer);
        let additions = additions.map_err(|reason| mismatch(&name(adapter), reason))?;
        let mut loras: Vec<Lora> = parts.into_iter().map(|(lora, _)| lora).collect();
        let lora = match loras.pop() {
            Some(only) if loras.is_empty() && adapter.merge == Merge::default() => only,
            last => {
                loras.extend(last);
                let all: Vec<&Lora> = loras.iter().collect();
                let merged = Lora::merge(&all, &adapter.merge);
                merged.map_err(|error| mismatch(&name(adapter), error.to_string()))?
            }
        };
        Ok(Resident {
            number,
            lora,
            own: Own {
                template,
                additions,
            },
        })
    }
}

fn read(mut files: AdapterFiles, model: &Config) -> Result<(Lora, AdapterText), ModelError> {
    let mut take = |name: &'static str| {
        files.remove(name).ok_or_else(|| ModelError::Adapter {
            file: name.to_owned(),
            place: "file".to_owned(),
            reason: "is missing".to_owned(),
        })
    };
    let [config, tensors, ..] = ADAPTER_FILES;
    let (config, tensors) = (take(config)?, MemoryStorage::new(tensors, take(tensors)?));
    let lora = Lora::open(&config, &tensors, model).now_or_never();
    let lora = lora.expect("memory is read at once")?;
    let file = |name: &str| files.get(name).map(Vec::as_slice);
    let text = tinderbox_model::adapter_text(file, model.vocab)?;
    Ok((lora, text))
}

/// A vocabulary, with the names that an adapter gives.
pub(crate) struct Words<'a> {
    base: &'a dyn Vocabulary,
    additions: Option<&'a Additions>,
}

impl<'a> Words<'a> {
    /// The vocabulary for a sequence with this adapter, or none.
    pub fn of(base: &'a dyn Vocabulary, lease: Option<&'a Lease>) -> Words<'a> {
        let additions = lease.and_then(|lease| lease.resident.own.additions.as_ref());
        Words { base, additions }
    }
}

impl Vocabulary for Words<'_> {
    fn bytes(&self, id: u32) -> Vec<u8> {
        let named = self.additions.and_then(|additions| additions.named(id));
        named.map_or_else(|| self.base.bytes(id), |added| added.text.clone().into())
    }

    fn is_special(&self, id: u32) -> bool {
        let named = self.additions.and_then(|additions| additions.named(id));
        let special = named.and_then(|added| added.special);
        special.unwrap_or_else(|| self.base.is_special(id))
    }

    fn end_tokens(&self) -> &[u32] {
        self.base.end_tokens()
    }
}

/// An adapter's name, for people.
pub(crate) fn name(adapter: &Adapter) -> String {
    adapter.ids.join(", ")
}

pub(crate) fn mismatch(adapter: &str, reason: String) -> Error {
    Error::AdapterMismatch {
        adapter: adapter.to_owned(),
        reason,
    }
}
