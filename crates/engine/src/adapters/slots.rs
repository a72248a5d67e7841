//! Which adapters are on the device.

use std::sync::{Arc, Weak};

use super::Resident;

/// The adapter of each slot. A slot whose adapter has left memory is free.
#[derive(Default)]
pub(crate) struct Slots(Vec<Option<Weak<Resident>>>);

impl Slots {
    /// The slot of an adapter that is on the device.
    pub fn of(&self, adapter: &Arc<Resident>) -> Option<u32> {
        let here = |slot: &Option<Weak<Resident>>| {
            let held = slot.as_ref().map(Weak::as_ptr);
            held == Some(Arc::as_ptr(adapter))
        };
        self.0.iter().position(here).map(|slot| slot as u32)
    }

    /// A slot that nobody has.
    pub fn free(&self) -> u32 {
        let free = self.0.iter().position(Option::is_none);
        free.unwrap_or(self.0.len()) as u32
    }

    /// Notes that an adapter is in a slot.
    pub fn note(&mut self, slot: u32, adapter: &Arc<Resident>) {
        let slot = slot as usize;
        if slot == self.0.len() {
            self.0.push(None);
        }
        self.0[slot] = Some(Arc::downgrade(adapter));
    }

    /// Takes out the slots whose adapters have left memory.
    pub fn abandoned(&mut self) -> Vec<u32> {
        let mut abandoned = Vec::new();
        for (index, slot) in self.0.iter_mut().enumerate() {
            if slot.as_ref().is_some_and(|held| held.strong_count() == 0) {
                *slot = None;
                abandoned.push(index as u32);
            }
        }
        abandoned
    }

    /// What is on the device.
    pub fn held(&self) -> Vec<(u32, Arc<Resident>)> {
        let held = self.0.iter().enumerate();
        held.filter_map(|(slot, held)| Some((slot as u32, held.as_ref()?.upgrade()?)))
            .collect()
    }
}
