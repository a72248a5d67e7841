//! How much is taken on at once.

/// Bounds of an engine's work. Zeros count as one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Most sequences generated at once; never more than the runner's rows.
    pub max_sequences: usize,
    /// Most sequences that wait beyond those; one more is refused.
    pub max_queue: usize,
    /// Most prompt rows of one step. Small keeps the running answers flowing while a long prompt
    /// is read; large reads prompts faster.
    pub prefill_rows: usize,
    /// Most bytes of logits one step brings back for prompt tokens that are scored.
    pub logit_bytes: usize,
    /// Most tokens of one answer that are guessed ahead in a step, where prompt or answer repeat
    /// themselves; 0 guesses none. A guess takes a row that no answer and no prompt needs.
    pub speculate: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Limits {
            max_sequences: 32,
            max_queue: 256,
            prefill_rows: 512,
            logit_bytes: 32 << 20,
            speculate: 0,
        }
    }
}
