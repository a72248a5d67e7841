//! GGUF files, versions 2 and 3, little endian: metadata, then a tensor table, then the tensors.

mod metadata;
pub mod pack;
mod reader;
mod value;
pub mod write;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use tinderbox_kernels::Format;

use crate::storage::Storage;
use crate::{Error, TensorInfo};

pub use metadata::Metadata;
use reader::Reader;
pub use value::{Array, Strings, Value};

/// Alignment of the tensors where `general.alignment` is not given.
const ALIGNMENT: u64 = 32;
/// Most dimensions of a tensor.
const DIMENSIONS: u32 = 4;

/// Files of a GGUF that was split as `NAME-00001-of-00003.gguf`, in order, where `path` is one of
/// them; else the path alone.
pub fn parts(path: &Path) -> Vec<PathBuf> {
    let number = |text: &str| match text.len() {
        5 => text.parse::<u32>().ok(),
        _ => None,
    };
    let split = path.file_stem().and_then(|stem| {
        let (rest, count) = stem.to_str()?.rsplit_once("-of-")?;
        let (name, own) = rest.rsplit_once('-')?;
        let count = number(count)?;
        (1..=count).contains(&number(own)?).then_some((name, count))
    });
    let Some((name, count)) = split else {
        return vec![path.to_owned()];
    };
    (1..=count)
        .map(|part| path.with_file_name(format!("{name}-{part:05}-of-{count:05}.gguf")))
        .collect()
}

/// The header of a GGUF file.
#[derive(Debug)]
pub struct Gguf {
    /// Its metadata.
    pub metadata: Metadata,
    /// Every tensor, by name.
    pub tensors: BTreeMap<String, Entry>,
}

/// One tensor of the file.
#[derive(Clone, Debug, PartialEq)]
pub struct Entry {
    /// Storage and shape.
    pub info: TensorInfo,
    /// Offset in the file.
    pub offset: u64,
    /// Length in bytes.
    pub len: usize,
}

impl Gguf {
    /// Reads the header and checks that every tensor lies inside the file.
    ///
    /// # Errors
    /// Whatever breaks the format's rules, with the file, the key or tensor, and the offset.
    pub async fn read(storage: &dyn Storage) -> Result<Gguf, Error> {
        let mut reader = Reader::new(storage);
        let magic = reader.u32("magic").await?;
        if magic != u32::from_le_bytes(*b"GGUF") {
            let found = magic.to_le_bytes().escape_ascii().to_string();
            return Err(reader.malformed(
                "magic",
                format!("`{found}`, a GGUF file begins with `GGUF`"),
            ));
        }
        let version = reader.u32("version").await?;
        if !(2..=3).contains(&version) {
            let reason =
                format!("version {version} is not supported (supported: 2 and 3, little endian)");
            return Err(reader.malformed("version", reason));
        }
        // The shortest entries: an empty name, a type and one byte; an empty name, one
        // dimension, a type and an offset.
        let tensors = reader.count("tensor count", 24).await?;
        let keys = reader.count("metadata count", 13).await?;

        let mut values = BTreeMap::new();
        for index in 0..keys {
            let key = reader.name(&format!("metadata key {index}")).await?;
            let kind = reader.u32(&key).await?;
            let value = reader.value(kind, &key).await?;
            if values.contains_key(&key) {
                return Err(reader.malformed(&key, "the key is there twice"));
            }
            values.insert(key, value);
        }
        let metadata = Metadata::new(storage.name(), values);
        let alignment = metadata.u64("general.alignment")?.unwrap_or(ALIGNMENT);
        if !alignment.is_power_of_two() || alignment > 1 << 20 {
            let reason = format!("{alignment} is no power of two up to 1 MiB");
            return Err(reader.malformed("general.alignment", reason));
        }
        let tensors = table(&mut reader, tensors, alignment, storage.len()).await?;
        Ok(Gguf { metadata, tensors })
    }
}

async fn table(
    reader: &mut Reader<'_>,
    count: usize,
    alignment: u64,
    file: u64,
) -> Result<BTreeMap<String, Entry>, Error> {
    let mut tensors = BTreeMap::new();
    for index in 0..count {
        let name = reader.name(&format!("tensor {index}")).await?;
        let entry = entry(reader, &name).await?;
        if tensors.contains_key(&name) {
            return Err(reader.malformed(&name, "the tensor is there twice"));
        }
        tensors.insert(name, entry);
    }
    let data = reader.offset().next_multiple_of(alignment);
    for (name, entry) in &mut tensors {
        let end = data
            .checked_add(entry.offset)
            .and_then(|at| at.checked_add(entry.len as u64));
        if entry.offset % alignment != 0 {
            let reason = format!(
                "offset {} is no multiple of the alignment {alignment}",
                entry.offset
            );
            return Err(reader.malformed(name, reason));
        }
        if end.is_none_or(|end| end > file) {
            let reason = format!(
                "{} bytes at offset {} of the tensor data end beyond the file of {file} bytes; \
                 the file is cut short",
                entry.len, entry.offset
            );
            return Err(reader.malformed(name, reason));
        }
        entry.offset += data;
    }
    Ok(tensors)
}

/// A row of the tensor table; the offset is still relative to the tensor data.
async fn entry(reader: &mut Reader<'_>, name: &str) -> Result<Entry, Error> {
    let dimensions = reader.u32(name).await?;
    if !(1..=DIMENSIONS).contains(&dimensions) {
        let reason = format!("{dimensions} dimensions, expected 1 to {DIMENSIONS}");
        return Err(reader.malformed(name, reason));
    }
    let mut shape = Vec::with_capacity(dimensions as usize);
    for _ in 0..dimensions {
        let size = reader.u64(name).await?;
        let size = usize::try_from(size).ok().filter(|size| *size > 0);
        shape.push(size.ok_or_else(|| reader.malformed(name, "a dimension is 0 or too large"))?);
    }
    shape.reverse(); // GGUF has the innermost first.

    let kind = reader.u32(name).await?;
    let Some(format) = Format::from_ggml(kind) else {
        let found = type_name(kind).map_or_else(|| format!("number {kind}"), str::to_owned);
        return Err(reader.unsupported(name, found));
    };
    let columns = shape.last().copied().unwrap_or(1);
    if !columns.is_multiple_of(format.block()) {
        let reason = format!(
            "rows of {columns} are no multiple of {format}'s block of {}",
            format.block()
        );
        return Err(reader.malformed(name, reason));
    }
    let rows = shape
        .iter()
        .rev()
        .skip(1)
        .try_fold(1_usize, |n, size| n.checked_mul(*size));
    let row = format.row_bytes(columns);
    let Some(len) = rows.zip(row).and_then(|(rows, row)| rows.checked_mul(row)) else {
        return Err(reader.malformed(name, format!("shape {shape:?} has too many elements")));
    };
    let offset = reader.u64(name).await?;
    Ok(Entry {
        info: TensorInfo { format, shape },
        offset,
        len,
    })
}

/// Names of the types no kernel here reads, for messages.
fn type_name(kind: u32) -> Option<&'static str> {
    Some(match kind {
        9 => "Q8_1",
        10 => "Q2_K",
        11 => "Q3_K",
        15 => "Q8_K",
        16 => "IQ2_XXS",
        17 => "IQ2_XS",
        18 => "IQ3_XXS",
        19 => "IQ1_S",
        20 => "IQ4_NL",
        21 => "IQ3_S",
        22 => "IQ2_S",
        23 => "IQ4_XS",
        24 => "I8",
        25 => "I16",
        26 => "I32",
        27 => "I64",
        28 => "F64",
        29 => "IQ1_M",
        34 => "TQ1_0",
        35 => "TQ2_0",
        39 => "MXFP4",
        _ => return None,
    })
}

/// The formats a GGUF tensor may have, for messages.
fn supported() -> String {
    Format::ALL.map(|format| format.to_string()).join(", ")
}

impl Reader<'_> {
    fn unsupported(&self, name: &str, found: String) -> Error {
        let (file, name) = (self.file().to_owned(), name.to_owned());
        Error::TensorType {
            file,
            name,
            found,
            supported: supported(),
        }
    }
}
