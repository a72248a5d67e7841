//! Splits a GGUF file into parts of bounded size, for places that take no larger file: parts as
//! llama.cpp's `gguf-split` makes them, the tensors in the order in which a decoder reads them, so
//! that each part is read once from front to back.

use std::cmp::Reverse;

use tinderbox_kernels::{Format, reference};

use super::write::{Tensor, Writer};
use super::{Gguf, Value};
use crate::storage::{self, Storage};
use crate::{Error, TensorInfo};

/// The token embedding, which is the vocabulary's head too where there is no other.
const EMBEDDING: &str = "token_embd.weight";

/// Tensors of a layer in the order in which they are loaded; others come after them.
const LAYER: [&str; 13] = [
    "attn_norm",
    "attn_qkv",
    "attn_q",
    "attn_k",
    "attn_v",
    "attn_output",
    "attn_q_norm",
    "attn_k_norm",
    "ffn_norm",
    "ffn_gate",
    "ffn_up",
    "ffn_down",
    "post_attention_norm",
];

/// How a file is to be packed.
#[derive(Clone, Copy, Debug)]
pub struct Packing {
    /// Most bytes of a part.
    pub part_bytes: usize,
    /// What the embedding becomes; `None` leaves it.
    pub embedding: Option<Format>,
}

/// Packs the file in `source`; `write` takes the parts in order. Returns how far the embedding's
/// numbers are from what they were, where its format changes: the root mean square of the
/// differences as a share of that of the numbers.
///
/// # Errors
/// Those of the file and of `write`; a tensor that is larger than a part; an embedding that cannot
/// have the format.
pub async fn pack(
    source: &dyn Storage,
    packing: Packing,
    mut write: impl FnMut(usize, usize, &Writer) -> std::io::Result<()>,
) -> Result<Option<f32>, Error> {
    let Gguf { metadata, tensors } = Gguf::read(source).await?;
    let starts = tensors.values().map(|entry| entry.offset).min();
    let mut order: Vec<&String> = tensors.keys().collect();
    order.sort_by_key(|name| rank(name));

    // The first part has the metadata; every header has a few bytes a tensor and its own two keys.
    let header =
        |names: &[&String]| 1024 + names.iter().map(|name| name.len() + 128).sum::<usize>();
    let len = |name: &String| {
        let info = &tensors[name].info;
        let format = target(name, info, packing);
        info.shape.iter().product::<usize>() / format.block() * format.block_bytes()
    };
    let mut parts: Vec<Vec<&String>> = vec![Vec::new()];
    let mut used = starts.unwrap_or(0) as usize + header(&[]);
    for name in order {
        let size = len(name) + header(&[name]);
        if used + size > packing.part_bytes && used > header(&[]) {
            parts.push(Vec::new());
            used = header(&[]);
        }
        if used + size > packing.part_bytes {
            return Err(Error::Malformed {
                file: source.name().to_owned(),
                place: name.clone(),
                reason: format!(
                    "the tensor has {} bytes, a part at most {}; make the parts larger or the \
                     embedding smaller",
                    len(name),
                    packing.part_bytes
                ),
            });
        }
        used += size;
        parts.last_mut().expect("there is one").push(name);
    }

    let mut error = None;
    let count = parts.len();
    for (index, names) in parts.into_iter().enumerate() {
        let mut part = Writer::default();
        if index == 0 {
            let own = |key: &str| key.starts_with("split.") || key == "general.alignment";
            let kept = metadata.iter().filter(|(key, _)| !own(key));
            part.metadata = kept
                .map(|(key, value)| (key.clone(), value.clone()))
                .collect();
        }
        part.set("split.no", Value::U16(index as u16));
        part.set("split.count", Value::U16(count as u16));
        part.set("split.tensors.count", Value::I32(tensors.len() as i32));
        for name in names {
            let entry = &tensors[name];
            let mut bytes = storage::read(source, entry.offset, entry.len).await?;
            let format = target(name, &entry.info, packing);
            if format != entry.info.format {
                let values = reference::dequantize(entry.info.format, &bytes);
                bytes = reference::quantize(format, &values).ok_or_else(|| Error::TensorType {
                    file: source.name().to_owned(),
                    name: name.clone(),
                    found: format.to_string(),
                    supported: "Q4_0, Q4_1, Q8_0".to_owned(),
                })?;
                error = Some(distance(&values, &reference::dequantize(format, &bytes)));
            }
            part.tensors.push(Tensor {
                name: name.clone(),
                format,
                shape: entry.info.shape.clone(),
                bytes,
            });
        }
        write(index, count, &part).map_err(|error| storage::io_error(source.name(), error))?;
    }
    Ok(error)
}

/// Root mean square of the differences as a share of that of `values`.
fn distance(values: &[f32], others: &[f32]) -> f32 {
    let differences = values.iter().zip(others).map(|(a, b)| a - b);
    let squares = |square: f64, v: f32| square + f64::from(v) * f64::from(v);
    let (apart, whole) = (
        differences.fold(0.0, squares),
        values.iter().copied().fold(0.0, squares),
    );
    (apart / whole.max(f64::MIN_POSITIVE)).sqrt() as f32
}

/// The format a tensor will have.
fn target(name: &str, info: &TensorInfo, packing: Packing) -> Format {
    match packing.embedding {
        Some(format) if name == EMBEDDING => format,
        _ => info.format,
    }
}

/// Where a tensor stands: the embedding, the layers, what comes after them.
fn rank(name: &str) -> (usize, usize, usize, Reverse<bool>, String) {
    let layer = name.strip_prefix("blk.").and_then(|rest| {
        let (index, rest) = rest.split_once('.')?;
        Some((index.parse().ok()?, rest))
    });
    let stem = |rest: &str| {
        rest.rsplit_once('.')
            .map_or(rest.to_owned(), |(stem, _)| stem.into())
    };
    match layer {
        Some((index, rest)) => {
            let stem: String = stem(rest);
            let place = LAYER.iter().position(|known| *known == stem);
            let weight = Reverse(rest.ends_with(".weight"));
            (1, index, place.unwrap_or(LAYER.len()), weight, stem)
        }
        None if name.starts_with("token_embd") => (0, 0, 0, Reverse(true), String::new()),
        None if name.starts_with("position_embd") => (0, 0, 1, Reverse(true), String::new()),
        None => (2, 0, 0, Reverse(name.ends_with(".weight")), stem(name)),
    }
}
