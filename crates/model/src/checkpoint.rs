//! A checkpoint wherever it lies: facts at once, tensors on request.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

use burn::tensor::Bytes;
use tinderbox_kernels::{Format, reference};

use crate::gguf::{Gguf, Metadata};
use crate::storage::{self, Storage};
use crate::{ChatTemplate, Config, Error, Tokenizer};

/// A model's configuration, tokenizer and template, and its tensors one at a time.
pub struct Checkpoint {
    /// What the decoder is.
    pub config: Config,
    /// Its tokenizer.
    pub tokenizer: Tokenizer,
    /// Its chat template, where it has one.
    pub template: Option<ChatTemplate>,
    name: String,
    tensors: Tensors,
}

/// Storage and shape of a tensor.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TensorInfo {
    /// How the numbers are stored.
    pub format: Format,
    /// Row-major, outermost first: `[rows, columns]` of a matrix.
    pub shape: Vec<usize>,
}

/// A tensor in the bytes of its file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RawTensor {
    /// Canonical name.
    pub name: String,
    /// How the numbers are stored.
    pub format: Format,
    /// Row-major, outermost first.
    pub shape: Vec<usize>,
    /// The numbers.
    pub bytes: Vec<u8>,
}

/// Where the tensors of a checkpoint lie, by canonical name.
#[derive(Default)]
pub(crate) struct Tensors {
    pub storages: Vec<Box<dyn Storage>>,
    pub placed: BTreeMap<String, Placed>,
}

/// Where one tensor lies.
pub(crate) struct Placed {
    pub info: TensorInfo,
    /// Index into [`Tensors::storages`].
    pub storage: usize,
    pub offset: u64,
    pub len: usize,
    /// Stored as `[in, out]`; `info` has the shape after transposing.
    pub transposed: bool,
}

impl Placed {
    /// Rows of a matrix.
    fn rows(&self) -> usize {
        self.info.shape.first().copied().unwrap_or(0)
    }
}

impl Checkpoint {
    /// Opens a GGUF file (the first of its parts where it was split), or a folder in Hugging Face
    /// form.
    ///
    /// # Errors
    /// Whatever is wrong with the file or folder, by name.
    #[cfg(not(target_arch = "wasm32"))]
    pub async fn open(path: &std::path::Path) -> Result<Self, Error> {
        if path.is_dir() {
            return crate::hf::open(path).await;
        }
        let mut files: Vec<Box<dyn Storage>> = Vec::new();
        for part in crate::gguf::parts(path) {
            files.push(Box::new(storage::FileStorage::open(&part)?));
        }
        Self::from_gguf(files).await
    }

    /// Opens a GGUF file that lies anywhere: one storage, or all parts of a split file in any order.
    ///
    /// # Errors
    /// Whatever is wrong with the file, by key or tensor; a part that is not there.
    pub async fn from_gguf(storages: Vec<Box<dyn Storage>>) -> Result<Self, Error> {
        let (mut metadata, tensors) = join(storages).await?;
        let name = metadata.file().to_owned();

        let factors = Config::factor_tensor(&metadata, |name| tensors.placed.contains_key(name))?;
        let factors = match factors {
            Some(factors) => Some(tensors.floats(&name, factors).await?),
            None => None,
        };
        let config = Config::from_gguf(&metadata, tensors.vocab(&name)?, factors)?;
        let template = metadata
            .str("tokenizer.chat_template")?
            .map(ChatTemplate::new)
            .transpose()?;
        let tokenizer = Tokenizer::from_gguf(&mut metadata)?;
        Ok(Self::new(name, config, tokenizer, template, tensors))
    }

    /// Opens a folder in Hugging Face form whose files lie anywhere; each storage has the name of
    /// its file, and `name` is the folder's.
    ///
    /// # Errors
    /// Whatever is wrong with the files, by field or tensor.
    pub async fn from_files(
        name: impl Into<String>,
        files: Vec<Box<dyn Storage>>,
    ) -> Result<Self, Error> {
        crate::hf::from_files(name.into(), files).await
    }

    pub(crate) fn new(
        name: String,
        config: Config,
        tokenizer: Tokenizer,
        template: Option<ChatTemplate>,
        tensors: Tensors,
    ) -> Self {
        Checkpoint {
            config,
            tokenizer,
            template,
            name,
            tensors,
        }
    }

    /// File or folder name, for messages.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Storage and shape of a tensor.
    pub fn info(&self, name: &str) -> Option<TensorInfo> {
        self.tensors
            .placed
            .get(name)
            .map(|placed| placed.info.clone())
    }

    /// Storage and shape of a tensor that has to be there.
    ///
    /// # Errors
    /// A missing tensor.
    pub fn require(&self, name: &str) -> Result<TensorInfo, Error> {
        Ok(self.tensors.get(&self.name, name)?.info.clone())
    }

    /// Canonical names of all tensors.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.tensors.placed.keys().map(String::as_str)
    }

    /// The formats of its matrices, each once.
    pub fn formats(&self) -> Vec<Format> {
        let infos = self.tensors.placed.values().map(|placed| &placed.info);
        let matrices = infos.filter(|info| info.shape.len() > 1);
        let formats: BTreeSet<Format> = matrices.map(|info| info.format).collect();
        formats.into_iter().collect()
    }

    /// Bytes of all tensors.
    pub fn bytes(&self) -> u64 {
        let placed = self.tensors.placed.values();
        placed.map(|placed| placed.len as u64).sum()
    }

    /// The bytes of tensors that lie side by side, without a copy of them; where that is possible.
    pub fn map<'a>(&self, names: impl IntoIterator<Item = &'a str>) -> Option<Bytes> {
        let mut all: Option<(usize, u64, usize)> = None;
        for name in names {
            let placed = self.tensors.placed.get(name).filter(|it| !it.transposed)?;
            let (storage, offset, len) = all.unwrap_or((placed.storage, placed.offset, 0));
            if (storage, offset + len as u64) != (placed.storage, placed.offset) {
                return None;
            }
            all = Some((storage, offset, len + placed.len));
        }
        let (storage, offset, len) = all?;
        self.tensors.storages[storage].map(offset, len)
    }

    /// Reads one tensor.
    ///
    /// # Errors
    /// A missing tensor, a failed read.
    pub async fn read(&self, name: &str) -> Result<RawTensor, Error> {
        self.tensors.read(&self.name, name).await
    }

    /// A matrix's rows in pieces of about so many bytes, in order; all at once where the file has them as columns. None
    /// where there is no such matrix.
    pub fn pieces(&self, name: &str, bytes: usize) -> impl Iterator<Item = Range<usize>> + use<> {
        let placed = self.tensors.placed.get(name);
        let rows = placed.map_or(0, Placed::rows);
        let step = match placed {
            Some(placed) if !placed.transposed => bytes / (placed.len / rows.max(1)).max(1),
            _ => rows,
        };
        let step = step.max(1);
        (0..rows)
            .step_by(step)
            .map(move |first| first..rows.min(first.saturating_add(step)))
    }

    /// The bytes of some rows of a matrix, as [`Checkpoint::pieces`] names them.
    ///
    /// # Errors
    /// A missing tensor, a failed read.
    pub async fn read_rows(&self, name: &str, rows: Range<usize>) -> Result<Vec<u8>, Error> {
        let placed = self.tensors.get(&self.name, name)?;
        if placed.transposed || rows == (0..placed.rows()) {
            return Ok(self.read(name).await?.bytes);
        }
        let row = placed.len / placed.rows().max(1);
        let (offset, len) = (placed.offset + (rows.start * row) as u64, rows.len() * row);
        storage::read(&*self.tensors.storages[placed.storage], offset, len).await
    }
}

/// The metadata of the first part, and the tensors of all.
async fn join(storages: Vec<Box<dyn Storage>>) -> Result<(Metadata, Tensors), Error> {
    let found = storages.len();
    let mut parts = Vec::with_capacity(found);
    for storage in storages {
        let Gguf { metadata, tensors } = Gguf::read(&*storage).await?;
        let number = metadata.usize("split.no")?.unwrap_or(0);
        parts.push((number, storage, metadata, tensors));
    }
    parts.sort_by_key(|(number, ..)| *number);

    let mut first = None;
    let mut all = Tensors::default();
    for (index, (number, storage, metadata, tensors)) in parts.into_iter().enumerate() {
        let count = metadata.usize("split.count")?.unwrap_or(1).max(1);
        if number != index || count != found {
            let reason = format!(
                "this is part {} of {count}, found among {found} files; exactly all parts are needed",
                number + 1
            );
            return Err(Error::Malformed {
                file: storage.name().to_owned(),
                place: "split.no".to_owned(),
                reason,
            });
        }
        all.storages.push(storage);
        let placed = tensors.into_iter().map(|(name, entry)| {
            let (info, offset, len) = (entry.info, entry.offset, entry.len);
            let placed = Placed {
                info,
                storage: index,
                offset,
                len,
                transposed: false,
            };
            (name, placed)
        });
        all.placed.extend(placed);
        first.get_or_insert(metadata);
    }
    let missing = || Error::Io {
        file: "model".to_owned(),
        source: std::io::ErrorKind::NotFound.into(),
    };
    Ok((first.ok_or_else(missing)?, all))
}

impl Tensors {
    /// Token ids of the model: rows of the embedding.
    pub fn vocab(&self, file: &str) -> Result<usize, Error> {
        Ok(self.get(file, "token_embd.weight")?.info.shape[0])
    }

    fn get(&self, file: &str, name: &str) -> Result<&Placed, Error> {
        let missing = || Error::MissingTensor {
            file: file.to_owned(),
            name: name.to_owned(),
        };
        self.placed.get(name).ok_or_else(missing)
    }

    async fn floats(&self, file: &str, name: &str) -> Result<Vec<f32>, Error> {
        let raw = self.read(file, name).await?;
        Ok(reference::dequantize(raw.format, &raw.bytes))
    }

    async fn read(&self, file: &str, name: &str) -> Result<RawTensor, Error> {
        let placed = self.get(file, name)?;
        let storage = &*self.storages[placed.storage];
        let mut bytes = storage::read(storage, placed.offset, placed.len).await?;
        let TensorInfo { format, shape } = placed.info.clone();
        if placed.transposed {
            bytes = transpose(&bytes, shape[0], format.block_bytes());
        }
        Ok(RawTensor {
            name: name.to_owned(),
            format,
            shape,
            bytes,
        })
    }
}

/// `[in, out]` to `[out, in]`, for elements of `size` bytes.
fn transpose(bytes: &[u8], rows: usize, size: usize) -> Vec<u8> {
    let mut out = Vec::with_capacity(bytes.len());
    for row in 0..rows {
        let column = bytes.chunks_exact(size).skip(row).step_by(rows);
        column.for_each(|element| out.extend(element));
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_transposed_matrix_has_its_columns_as_rows() {
        // [in 2, out 3] of two-byte elements, to three rows.
        let bytes = [0, 0, 0, 1, 0, 2, 1, 0, 1, 1, 1, 2];
        assert_eq!(
            transpose(&bytes, 3, 2),
            [0, 0, 1, 0, 0, 1, 1, 1, 0, 2, 1, 2]
        );
    }
}
