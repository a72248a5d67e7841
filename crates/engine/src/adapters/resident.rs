//! From an adapter's files to an adapter in memory.

use futures::FutureExt;
use tinderbox_model::{ChatTemplate, Config, Error as ModelError, Lora, MemoryStorage};
use tinderbox_protocol::{Adapter, Error, Merge};

use super::{ADAPTER_FILES, AdapterFiles};

/// An adapter in memory.
pub(crate) struct Resident {
    /// Never that of another, so that what was computed with this one is known by it.
    pub number: u64,
    pub lora: Lora,
    /// Its own, where it has one.
    pub template: Option<ChatTemplate>,
}

impl Resident {
    /// Reads what a request names: one adapter, or several that are merged. The template is that of
    /// the first that has one.
    ///
    /// # Errors
    /// [`Error::AdapterMismatch`] with the file and what is wrong in it.
    pub fn open(
        number: u64,
        adapter: &Adapter,
        files: Vec<AdapterFiles>,
        model: &Config,
    ) -> Result<Resident, Error> {
        let mut parts = Vec::new();
        for (id, files) in adapter.ids.iter().zip(files) {
            let part = read(files, model).map_err(|error| mismatch(id, error.to_string()))?;
            parts.push(part);
        }
        let template = parts.iter_mut().find_map(|(_, template)| template.take());
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
            template,
        })
    }
}

fn read(
    mut files: AdapterFiles,
    model: &Config,
) -> Result<(Lora, Option<ChatTemplate>), ModelError> {
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
    let template = tinderbox_model::adapter_template(file, model.vocab)?;
    Ok((lora, template))
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
