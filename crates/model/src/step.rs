//! One forward pass, as data.

use tinderbox_kernels::Draw;

/// Rows of any number of sequences: decode tokens and prefill chunks together.
///
/// Rows of one sequence stand in order of their positions. A row sees the tokens of its sequence
/// up to itself, those of earlier steps through the KV cache.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Step {
    /// Token id of each row.
    pub tokens: Vec<u32>,
    /// Position of each row in its sequence, from 0.
    pub positions: Vec<u32>,
    /// Index of each row's sequence in `tables`.
    pub sequences: Vec<u32>,
    /// KV block ids of each sequence: block `i` holds positions `i · block_size ..`.
    pub tables: Vec<Vec<u32>>,
    /// Rows whose logits are wanted.
    pub outputs: Vec<u32>,
    /// The slot of each sequence's adapter ([`Decoder::put_adapter`](crate::Decoder::put_adapter)):
    /// as many as `tables`, or empty where no sequence has one.
    pub adapters: Vec<Option<u32>>,
    /// How each output row's token is drawn, where tokens are wanted: as many as `outputs`, or empty where each is the best one.
    pub draws: Vec<Draw>,
}

/// What a step is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Want {
    /// All logits of the output rows.
    Logits,
    /// The next token of each output row: the best, of equals the lowest id, or as [`Step::draws`] says.
    Tokens,
}

/// What comes back from a step.
#[derive(Clone, Debug, PartialEq)]
pub enum Output {
    /// `[outputs, vocab]`, row-major.
    Logits(Vec<f32>),
    /// `[outputs]`; `None` where the logits are no numbers.
    Tokens(Vec<Option<u32>>),
}
