//! What the engine needs of a model.

use tinderbox_model::{Lora, Output, Step, Want};

/// A model that runs steps over a block KV cache of fixed size.
pub trait Runner {
    /// Number of token ids.
    fn vocab_size(&self) -> usize;

    /// Tokens in a KV block.
    fn block_size(&self) -> usize;

    /// KV blocks; their ids are `0 .. blocks`.
    fn blocks(&self) -> usize;

    /// Most rows of one step.
    fn max_rows(&self) -> usize;

    /// Tokens one sequence can hold, prompt and answer together.
    fn context(&self) -> usize;

    /// Whether it draws tokens itself, so that steps may have `draws`.
    fn draws(&self) -> bool {
        false
    }

    /// Begins one step: it writes the rows' keys and values to the blocks of their sequences, and
    /// answers for `step.outputs` (which is empty in the middle of a long prompt).
    ///
    /// # Errors
    /// See [`RunnerError`].
    fn begin(&mut self, step: &Step, want: Want) -> Result<(), RunnerError>;

    /// Begins the step after the one begun last, before that one's answer is known: a token for each row, in order, which is
    /// what this one's rows begin with in place of `step.tokens`. `false` where it cannot; nothing has happened then.
    ///
    /// # Errors
    /// See [`RunnerError`].
    fn follow(&mut self, _step: &Step) -> Result<bool, RunnerError> {
        Ok(false)
    }

    /// The answer of the step that was begun first of those that have not answered.
    ///
    /// # Errors
    /// See [`RunnerError`].
    fn answer(&mut self) -> impl Future<Output = Result<Output, RunnerError>>;

    /// Puts an adapter on the device, for the sequences of later steps that name its slot. Slots are
    /// counted from 0; what was in this one is gone.
    ///
    /// # Errors
    /// See [`RunnerError`]; the slot is empty then.
    fn put_adapter(&mut self, slot: u32, adapter: &Lora) -> Result<(), RunnerError>;

    /// Frees a slot.
    fn drop_adapter(&mut self, slot: u32);

    /// Starts again on another device after [`RunnerError::Lost`] with that reason: the KV cache and
    /// the adapters' slots are empty, everything else as before. A runner that cannot gives the reason back.
    ///
    /// # Errors
    /// [`RunnerError::Lost`], after which the engine ends.
    fn recover(&mut self, reason: String) -> impl Future<Output = Result<(), RunnerError>> {
        async { Err(RunnerError::Lost(reason)) }
    }
}

/// Why a step failed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RunnerError {
    /// This step failed; later ones may succeed. Its sequences are given up, the others go on.
    #[error("the step failed: {0}")]
    Step(String),
    /// The device is gone, and the KV cache with it.
    #[error("the device is lost: {0}")]
    Lost(String),
}
