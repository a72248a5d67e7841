//! Models as files have them, and the decoder that runs them.
//!
//! A [`Checkpoint`] opens a GGUF file or a Hugging Face folder: its [`Config`], [`Tokenizer`] and
//! [`ChatTemplate`] at once, its tensors one at a time and in the file's own bytes. A [`Decoder`]
//! puts them on a device and runs [`Step`]s.

mod begun;
mod checkpoint;
mod config;
mod decoder;
mod error;
pub mod gguf;
mod hf;
mod json;
mod layer;
mod load;
mod lora;
mod replay;
mod rows;
mod step;
mod storage;
mod template;
mod tokenizer;
mod tools;
mod warm_up;

pub use checkpoint::{Checkpoint, RawTensor, TensorInfo};
pub use config::{Activation, Config, Layer, Norm, Rope};
pub use decoder::Decoder;
pub use error::Error;
pub use hf::{AdapterText, adapter_text};
pub use load::{KvType, LoadOptions};
pub use lora::Lora;
pub use step::{Output, Step, Want};
#[cfg(not(target_arch = "wasm32"))]
pub use storage::FileStorage;
pub use storage::{MemoryStorage, Storage};
pub use template::ChatTemplate;
pub use tinderbox_kernels::Draw;
pub use tokenizer::{Added, Additions, Tokenizer};
