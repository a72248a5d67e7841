//! The decoder as the engine runs it.

use futures::future::LocalBoxFuture;
use tinderbox_model::{Decoder, Error, Lora, Output, Step, Want};

use crate::{Runner, RunnerError};

/// A [`Decoder`] with a bound on the rows of a step, which bounds the memory of its activations.
pub struct DecoderRunner {
    decoder: Decoder,
    max_rows: usize,
    reload: Option<Reload>,
}

/// Loads the same decoder once more, on a device that works; or says why it cannot.
pub type Reload = Box<dyn FnMut() -> LocalBoxFuture<'static, Result<Decoder, String>>>;

impl DecoderRunner {
    /// Runs `decoder` in steps of at most `max_rows` rows. With `reload` it survives the loss of
    /// its device.
    pub fn new(decoder: Decoder, max_rows: usize, reload: Option<Reload>) -> DecoderRunner {
        DecoderRunner {
            decoder,
            max_rows,
            reload,
        }
    }
}

impl Runner for DecoderRunner {
    fn vocab_size(&self) -> usize {
        self.decoder.config().vocab
    }

    fn block_size(&self) -> usize {
        self.decoder.block_size()
    }

    fn blocks(&self) -> usize {
        self.decoder.blocks()
    }

    fn max_rows(&self) -> usize {
        self.max_rows
    }

    fn context(&self) -> usize {
        self.decoder.context()
    }

    fn draws(&self) -> bool {
        self.decoder.draws()
    }

    fn begin(&mut self, step: &Step, want: Want) -> Result<(), RunnerError> {
        self.decoder.begin(step, want).map_err(failure)
    }

    fn follow(&mut self, step: &Step) -> Result<bool, RunnerError> {
        self.decoder.follow(step).map_err(failure)
    }

    async fn answer(&mut self) -> Result<Output, RunnerError> {
        self.decoder.answer().await.map_err(failure)
    }

    fn put_adapter(&mut self, slot: u32, adapter: &Lora) -> Result<(), RunnerError> {
        self.decoder.put_adapter(slot, adapter).map_err(failure)
    }

    fn drop_adapter(&mut self, slot: u32) {
        self.decoder.drop_adapter(slot);
    }

    async fn recover(&mut self, reason: String) -> Result<(), RunnerError> {
        let Some(reload) = &mut self.reload else {
            return Err(RunnerError::Lost(reason));
        };
        let again = reload().await;
        self.decoder = again.map_err(|why| {
            RunnerError::Lost(format!("{reason}; loading the model again failed: {why}"))
        })?;
        Ok(())
    }
}

fn failure(error: Error) -> RunnerError {
    match error {
        Error::Device(reason) => RunnerError::Lost(reason),
        other => RunnerError::Step(other.to_string()),
    }
}
