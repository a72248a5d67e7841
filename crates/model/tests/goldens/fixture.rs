//! A golden file as a checkpoint: a Hugging Face folder, or a GGUF file as llama.cpp's converter writes it.

use std::collections::BTreeMap;

use half::{bf16, f16};
use serde::Deserialize;
use tinderbox_kernels::{Format, reference};
use tinderbox_model::gguf::write::{Tensor, Writer};
use tinderbox_model::gguf::{Array, Value};
use tinderbox_model::{Checkpoint, Error};

use crate::common::{self, open, plain_folder, sharded_folder, strings, text};
use crate::weights;

/// tests/golden/architectures/*.json
#[derive(Deserialize)]
pub struct Golden {
    pub name: String,
    pub seed: u64,
    pub config: serde_json::Value,
    /// Hugging Face name, shape, offset, scale.
    pub tensors: Vec<(String, Vec<usize>, f32, f32)>,
    /// What a test adds to a tensor, by its Hugging Face name.
    #[serde(skip)]
    pub deltas: BTreeMap<String, Vec<f32>>,
    gguf: Option<Gguf>,
    pub prompt: Vec<u32>,
    /// All logits after the prompt.
    pub logits: Vec<f32>,
    /// The best tokens and their logits after each token of the prompt.
    pub top: Vec<Vec<(usize, f32)>>,
    /// The greedy continuation.
    pub continuation: Vec<u32>,
    pub logprobs: Vec<f32>,
    /// Least distance of a greedy token from the next best.
    pub least_lead: f32,
}

/// How a GGUF file holds the checkpoint.
#[derive(Deserialize)]
struct Gguf {
    metadata: serde_json::Map<String, serde_json::Value>,
    /// GGUF name, Hugging Face name, what the converter changes.
    tensors: Vec<(String, String, String)>,
    /// Name and values.
    constants: Vec<(String, Vec<f32>)>,
    /// Name, shape and format of matrices that GGUF alone can hold.
    #[serde(default)]
    blocks: Vec<(String, Vec<usize>, String)>,
}

impl Golden {
    /// Whether some matrices are in formats that only GGUF has.
    pub fn is_quantized(&self) -> bool {
        self.gguf
            .as_ref()
            .is_some_and(|gguf| !gguf.blocks.is_empty())
    }

    /// The Hugging Face folder, where that form holds every tensor.
    pub fn folder(&self) -> Option<Result<Checkpoint, Error>> {
        let tensors = self.floats()?;
        Some(plain_folder(&self.config, &tensors))
    }

    /// The same with its tensors in two files.
    pub fn sharded(&self) -> Option<Result<Checkpoint, Error>> {
        let tensors = self.floats()?;
        Some(sharded_folder(&self.config, &tensors))
    }

    /// The folder with its numbers in half precision, and with the same numbers in single.
    pub fn halves(&self, format: Format) -> Option<[Result<Checkpoint, Error>; 2]> {
        let (mut halves, mut singles) = (self.floats()?, self.floats()?);
        for (half, single) in halves.iter_mut().zip(&mut singles) {
            let numbers = half.3.as_chunks().0.iter().copied().map(f32::from_le_bytes);
            (half.1, half.3) = match format {
                Format::F16 => {
                    let bytes = numbers.flat_map(|x| f16::from_f32(x).to_le_bytes());
                    (safetensors::Dtype::F16, bytes.collect())
                }
                _ => {
                    let bytes = numbers.flat_map(|x| bf16::from_f32(x).to_le_bytes());
                    (safetensors::Dtype::BF16, bytes.collect())
                }
            };
            let rounded = reference::dequantize(format, &half.3);
            single.3 = rounded.iter().flat_map(|x| x.to_le_bytes()).collect();
        }
        Some([halves, singles].map(|tensors| plain_folder(&self.config, &tensors)))
    }

    fn floats(&self) -> Option<Vec<common::Tensor>> {
        if self.is_quantized() {
            return None;
        }
        let tensors = self.tensors.iter().map(|(name, shape, offset, scale)| {
            let values = self.values(name, shape, *offset, *scale);
            let bytes = values.iter().flat_map(|x| x.to_le_bytes()).collect();
            (name.clone(), safetensors::Dtype::F32, shape.clone(), bytes)
        });
        Some(tensors.collect())
    }

    /// The numbers of a tensor.
    fn values(&self, name: &str, shape: &[usize], offset: f32, scale: f32) -> Vec<f32> {
        let mut values = weights::floats(self.seed, name, shape, offset, scale);
        let deltas = self.deltas.get(name).into_iter().flatten();
        values
            .iter_mut()
            .zip(deltas)
            .for_each(|(value, delta)| *value += delta);
        values
    }

    /// The GGUF file, where llama.cpp knows the family.
    pub fn gguf(&self) -> Option<Result<Checkpoint, Error>> {
        Some(open(self.file()?.to_bytes()))
    }

    /// The same, to be written.
    pub fn file(&self) -> Option<Writer> {
        let form = self.gguf.as_ref()?;
        let mut file = Writer::default();
        for (key, value) in &form.metadata {
            file.set(key, metadata(value));
        }
        tokenizer(&mut file, self.logits.len());
        for (name, origin, change) in &form.tensors {
            let (_, shape, offset, scale) = self
                .tensors
                .iter()
                .find(|t| t.0 == *origin)
                .expect("named in the golden");
            let values = self.values(origin, shape, *offset, *scale);
            let (shape, values) = converted(change, shape, values);
            file.f32(name, &shape, &values);
        }
        for (name, values) in &form.constants {
            file.f32(name, &[values.len()], values);
        }
        for (name, shape, format) in &form.blocks {
            let format = named(format);
            let bytes = weights::stored(self.seed, name, format, shape);
            file.tensors.push(Tensor {
                name: name.clone(),
                format,
                shape: shape.clone(),
                bytes,
            });
        }
        Some(file)
    }
}

/// The format of this name.
pub fn named(name: &str) -> Format {
    Format::ALL
        .into_iter()
        .find(|format| format.to_string() == name)
        .expect("a known format")
}

fn metadata(value: &serde_json::Value) -> Value {
    match value {
        serde_json::Value::String(value) => text(value),
        value => match value.as_u64() {
            Some(n) => Value::U32(n as u32),
            None => Value::F32(value.as_f64().expect("text or a number") as f32),
        },
    }
}

/// A tokenizer of as many tokens as the model has; the test speaks in ids.
fn tokenizer(file: &mut Writer, tokens: usize) {
    file.set("tokenizer.ggml.model", text("llama"));
    file.set(
        "tokenizer.ggml.tokens",
        strings((0..tokens).map(|id| format!("<{id}>"))),
    );
    file.set(
        "tokenizer.ggml.scores",
        Value::Array(Array::F32(vec![0.0; tokens])),
    );
    file.set(
        "tokenizer.ggml.token_type",
        Value::Array(Array::I32(vec![1; tokens])),
    );
}

/// What llama.cpp's converter does to a tensor.
fn converted(change: &str, shape: &[usize], values: Vec<f32>) -> (Vec<usize>, Vec<f32>) {
    let same = shape.to_vec();
    match change.split_once(' ') {
        None if change == "none" => (same, values),
        None if change == "transpose" => {
            let (rows, columns) = (shape[0], shape[1]);
            let at = |i: usize| values[i % rows * columns + i / rows];
            (vec![columns, rows], (0..values.len()).map(at).collect())
        }
        Some(("plus", "one")) => (same, values.into_iter().map(|x| x + 1.0).collect()),
        Some(("interleave", heads)) => {
            let (columns, dim) = (
                shape[1],
                shape[0] / heads.parse::<usize>().expect("a number"),
            );
            // Row 2i of a head is its row i, row 2i + 1 its row i + dim / 2.
            let origin = |row: usize| row / dim * dim + row % dim / 2 + row % 2 * (dim / 2);
            let rows = (0..shape[0]).flat_map(|row| &values[origin(row) * columns..][..columns]);
            (same, rows.copied().collect())
        }
        _ => panic!("unknown change {change}"),
    }
}
