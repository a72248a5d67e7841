//! What can be wrong with a checkpoint, a text, a template or a step.

/// Why a model cannot be read or run.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The storage failed.
    #[error("{file}: {source}")]
    Io {
        /// File or other storage.
        file: String,
        /// What the storage said.
        source: std::io::Error,
    },
    /// The file breaks the rules of its format.
    #[error("{file}: {place}: {reason}")]
    Malformed {
        /// File or other storage.
        file: String,
        /// Key, tensor or part of the file, with the byte offset where it helps.
        place: String,
        /// What was found and what is allowed.
        reason: String,
    },
    /// A key the model needs is not there.
    #[error("{file}: {key} is missing")]
    MissingKey {
        /// File or other storage.
        file: String,
        /// Name of the key.
        key: String,
    },
    /// A key holds a value of another kind than it should.
    #[error("{file}: {key} is {found}, expected {expected}")]
    WrongType {
        /// File or other storage.
        file: String,
        /// Name of the key.
        key: String,
        /// What the file has.
        found: String,
        /// What the key should hold.
        expected: &'static str,
    },
    /// A tensor the model needs is not there.
    #[error("{file}: tensor {name} is missing")]
    MissingTensor {
        /// File or folder.
        file: String,
        /// Canonical (GGUF) name of the tensor.
        name: String,
    },
    /// A tensor is stored in a way no kernel reads.
    #[error("{file}: {name}: type {found} is not supported (supported: {supported})")]
    TensorType {
        /// File or other storage.
        file: String,
        /// Name of the tensor in that file.
        name: String,
        /// Its type there.
        found: String,
        /// What could be read.
        supported: String,
    },
    /// The family, or a variant of it, is unknown here.
    #[error("architecture `{architecture}` is not supported: {reason}")]
    Unsupported {
        /// Family name.
        architecture: String,
        /// What is not supported, and what is.
        reason: String,
    },
    /// An adapter does not fit the model, or is of a kind that is not supported.
    #[error("{file}: {place}: {reason}")]
    Adapter {
        /// File of the adapter.
        file: String,
        /// Key or tensor.
        place: String,
        /// What was found and what is allowed.
        reason: String,
    },
    /// The tokenizer cannot be built or refused a text.
    #[error("{file}: tokenizer: {reason}")]
    Tokenizer {
        /// File or folder.
        file: String,
        /// What is wrong.
        reason: String,
    },
    /// The chat template cannot be parsed, or refused the messages.
    #[error("chat template{}: {reason}", line.map(|n| format!(", line {n}")).unwrap_or_default())]
    Template {
        /// Line of the template, from 1.
        line: Option<usize>,
        /// What is wrong.
        reason: String,
    },
    /// The parts of a step do not fit together.
    #[error("step: {0}")]
    Step(String),
    /// The device failed.
    #[error("device: {0}")]
    Device(String),
}

impl Error {
    /// A failure the device reported.
    pub(crate) fn device(error: impl std::fmt::Debug) -> Self {
        Error::Device(format!("{error:?}"))
    }
}
