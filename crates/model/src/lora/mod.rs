//! Low-rank adapters (LoRA, Hu et al. 2021) in the form PEFT writes: adapter_config.json and
//! adapter_model.safetensors.

use tinderbox_protocol::Merge;

use crate::storage::Storage;
use crate::{Config, Error};

/// An adapter that was read and fits a model.
#[derive(Clone, Debug, PartialEq)]
pub struct Lora {}

impl Lora {
    /// Reads an adapter for a model: the bytes of its adapter_config.json, and its safetensors file.
    ///
    /// # Errors
    /// [`Error::Malformed`] and its like where a file is broken, [`Error::Adapter`] where it does not
    /// fit the model or is of a kind that is not supported.
    pub async fn open(
        _config: &[u8],
        tensors: &dyn Storage,
        _model: &Config,
    ) -> Result<Lora, Error> {
        Err(Error::Adapter {
            file: tensors.name().to_owned(),
            place: "adapter".to_owned(),
            reason: "adapters are not supported yet".to_owned(),
        })
    }

    /// Several adapters of one model as one, with the weights and the strategy of `merge`.
    ///
    /// # Errors
    /// [`Error::Adapter`]: as many weights as adapters are needed, and adapters of the same ranks.
    pub fn merge(_adapters: &[&Lora], _merge: &Merge) -> Result<Lora, Error> {
        Err(Error::Adapter {
            file: "merged adapter".to_owned(),
            place: "strategy".to_owned(),
            reason: "adapters are not supported yet".to_owned(),
        })
    }

    /// Bytes it takes on a device.
    pub fn bytes(&self) -> usize {
        0
    }
}
