//! Adapters on the device, a slot each.

use tinderbox_kernels::{LowRank, flush};

use crate::layer::Layer;
use crate::{Decoder, Error, Lora};

impl Decoder {
    /// Slots for adapters, numbered from 0.
    pub const SLOTS: u32 = 4096;

    /// Puts an adapter on the device, for the sequences that name its slot, in place of what was there. It
    /// takes [`Lora::bytes`]; the layer that is being written takes what its adapters have twice.
    ///
    /// # Errors
    /// An adapter that was opened for another model, a slot beyond [`Decoder::SLOTS`], a failed device.
    pub fn put_adapter(&mut self, slot: u32, adapter: &Lora) -> Result<(), Error> {
        if slot >= Self::SLOTS {
            return Err(Error::Step(format!(
                "adapter slot {slot} of {}",
                Self::SLOTS
            )));
        }
        if !adapter.fits(&self.config) {
            return Err(Error::Adapter {
                file: "adapter".to_owned(),
                place: format!("slot {slot}"),
                reason: "it was opened for another model".to_owned(),
            });
        }
        for (index, layer) in self.layers.iter_mut().enumerate() {
            for (product, linear) in layer.products_mut() {
                let Some(adapters) = &mut linear.adapters else {
                    continue;
                };
                match adapter.factors(index, product) {
                    Some(factors) => adapters.put(slot, factors),
                    None => adapters.clear(slot),
                }
            }
            flush(&self.device).map_err(Error::Device)?;
        }
        self.adapters.insert(slot);
        Ok(())
    }

    /// Empties a slot; its memory serves the next adapter that is put, or is freed with the last one. Where
    /// the slot is empty nothing happens.
    pub fn drop_adapter(&mut self, slot: u32) {
        if !self.adapters.remove(&slot) {
            return;
        }
        for layer in &mut self.layers {
            for (_, linear) in layer.products_mut() {
                if let Some(adapters) = &mut linear.adapters {
                    adapters.clear(slot);
                }
            }
        }
    }

    /// Bytes that adapters take on the device.
    pub fn adapter_bytes(&self) -> usize {
        let products = self.layers.iter().flat_map(Layer::products);
        let adapters = products.filter_map(|linear| linear.adapters.as_ref());
        adapters.map(LowRank::bytes).sum()
    }
}
