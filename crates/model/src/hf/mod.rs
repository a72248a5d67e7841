//! Hugging Face folders: config.json, safetensors, tokenizer.json and what goes with them.
//!
//! A folder is its files, wherever they lie: on disk, or behind range requests.

mod adapter;
mod fields;
mod names;
pub(crate) mod safetensors;

use std::collections::BTreeSet;

use crate::checkpoint::{Placed, Tensors};
use crate::config::Family;
use crate::storage::{self, Storage};
use crate::{ChatTemplate, Checkpoint, Config, Error, TensorInfo, Tokenizer};
pub use adapter::{AdapterText, adapter_text};
pub(crate) use fields::Fields;
pub(crate) use names::canonical;

/// Longest JSON file. A tokenizer.json of 262,144 tokens has 33 MB.
const JSON_LIMIT: u64 = 256 << 20;
const INDEX: &str = "model.safetensors.index.json";

/// Opens a folder on disk.
#[cfg(not(target_arch = "wasm32"))]
pub(crate) async fn open(path: &std::path::Path) -> Result<Checkpoint, Error> {
    let fail = |e| storage::io_error(&path.display().to_string(), e);
    let mut files: Vec<Box<dyn Storage>> = Vec::new();
    for entry in std::fs::read_dir(path).map_err(fail)? {
        let file = entry.map_err(fail)?.path();
        let known = file.extension().is_some_and(|end| {
            ["json", "safetensors", "jinja"]
                .iter()
                .any(|known| end == *known)
        });
        if known && file.is_file() {
            files.push(Box::new(storage::FileStorage::open(&file)?));
        }
    }
    from_files(path.display().to_string(), files).await
}

/// Opens a folder whose files lie anywhere; each storage has the name of its file.
pub(crate) async fn from_files(
    name: String,
    files: Vec<Box<dyn Storage>>,
) -> Result<Checkpoint, Error> {
    let folder = Folder { name, files };
    let root = folder.required("config.json").await?;
    let nested = root.object("text_config")?;
    let text = nested.as_ref().unwrap_or(&root);
    let family = Config::hf_family(text)?;
    let tied = Config::hf_tied(&root, text, family)?;
    let shards = folder.shards().await?;
    let mut tensors = folder.tensors(&shards, family, tied).await?;
    let config = Config::from_hf(text, family, tensors.vocab(&folder.name)?)?;

    let defaults = folder
        .json("generation_config.json")
        .await?
        .unwrap_or_default();
    let settings = folder
        .json("tokenizer_config.json")
        .await?
        .unwrap_or_default();
    let specials = folder
        .json("special_tokens_map.json")
        .await?
        .unwrap_or_default();
    let jinja = folder.bytes("chat_template.jinja").await?;
    let template = template(jinja.as_deref(), &settings)?;
    let json = folder.bytes("tokenizer.json").await?;
    let json = json.ok_or_else(|| folder.missing("tokenizer.json"))?;
    let tokenizer =
        Tokenizer::from_hf(&folder.name, json, &settings, &specials, &[&defaults, text])?;

    let mut files: Vec<_> = folder.files.into_iter().map(Some).collect();
    tensors.storages = shards
        .into_iter()
        .filter_map(|index| files[index].take())
        .collect();
    Ok(Checkpoint::new(
        folder.name,
        config,
        tokenizer,
        template,
        tensors,
    ))
}

/// The template from a file of its own, else from the tokenizer's settings: a string, or a list of
/// named ones of which `default` is taken.
fn template(jinja: Option<&[u8]>, settings: &Fields) -> Result<Option<ChatTemplate>, Error> {
    let Some(jinja) = jinja else {
        return settings.template()?.map(ChatTemplate::new).transpose();
    };
    let source = std::str::from_utf8(jinja).map_err(|_| Error::Template {
        line: None,
        reason: "chat_template.jinja is no UTF-8".to_owned(),
    })?;
    ChatTemplate::new(source).map(Some)
}

/// The files of a folder.
struct Folder {
    name: String,
    files: Vec<Box<dyn Storage>>,
}

impl Folder {
    fn find(&self, name: &str) -> Option<usize> {
        self.files.iter().position(|file| file.name() == name)
    }

    fn missing(&self, file: &str) -> Error {
        let source = std::io::Error::new(std::io::ErrorKind::NotFound, "the file is missing");
        storage::io_error(&format!("{}/{file}", self.name), source)
    }

    async fn bytes(&self, name: &str) -> Result<Option<Vec<u8>>, Error> {
        let Some(index) = self.find(name) else {
            return Ok(None);
        };
        let file = &*self.files[index];
        if file.len() > JSON_LIMIT {
            let reason = format!("{} bytes, at most {JSON_LIMIT} are read", file.len());
            let (file, place) = (name.to_owned(), "length".to_owned());
            return Err(Error::Malformed {
                file,
                place,
                reason,
            });
        }
        storage::read(file, 0, file.len() as usize).await.map(Some)
    }

    async fn json(&self, name: &str) -> Result<Option<Fields>, Error> {
        match self.bytes(name).await? {
            Some(bytes) => Fields::parse(name, &bytes).map(Some),
            None => Ok(None),
        }
    }

    async fn required(&self, name: &str) -> Result<Fields, Error> {
        self.json(name).await?.ok_or_else(|| self.missing(name))
    }

    /// The tensors the decoder knows, by their shard; the storages are put in later.
    async fn tensors(
        &self,
        shards: &[usize],
        family: &Family,
        tied: bool,
    ) -> Result<Tensors, Error> {
        let mut tensors = Tensors::default();
        for (storage, index) in shards.iter().enumerate() {
            let file = &*self.files[*index];
            for entry in safetensors::read(file).await? {
                let Some(name) = names::canonical(family, &entry.name) else {
                    continue;
                };
                if tied && name == "output.weight" {
                    continue;
                }
                let format = safetensors::format(file, &entry)?;
                let mut shape = entry.shape;
                let transposed = family.transposed(&name) && shape.len() == 2;
                if transposed {
                    shape.reverse();
                }
                let info = TensorInfo { format, shape };
                let (offset, len) = (entry.offset, entry.len);
                let placed = Placed {
                    info,
                    storage,
                    offset,
                    len,
                    transposed,
                };
                if tensors.placed.insert(name, placed).is_some() {
                    let (file, place) = (file.name().to_owned(), entry.name);
                    let reason = "the tensor is there twice".to_owned();
                    return Err(Error::Malformed {
                        file,
                        place,
                        reason,
                    });
                }
            }
        }
        if !tied && !tensors.placed.contains_key("output.weight") {
            let name = "output.weight (lm_head.weight)".to_owned();
            return Err(Error::MissingTensor {
                file: self.name.clone(),
                name,
            });
        }
        Ok(tensors)
    }

    /// The safetensors files: the one, or those the index names.
    async fn shards(&self) -> Result<Vec<usize>, Error> {
        let Some(index) = self.json(INDEX).await? else {
            let one = "model.safetensors";
            return Ok(vec![self.find(one).ok_or_else(|| self.missing(one))?]);
        };
        let names: BTreeSet<String> = index.string_values("weight_map")?;
        names
            .into_iter()
            .map(|name| self.find(&name).ok_or_else(|| self.missing(&name)))
            .collect()
    }
}
