//! What the router needs of the world.

use std::sync::Arc;

use tinderbox_protocol::{Inference, ModelCard};

/// Largest request body where the place has no wish of its own: 16 MiB.
pub const DEFAULT_BODY_LIMIT: usize = 16 << 20;

/// What the router needs of the place it runs in.
#[derive(Clone)]
pub struct Context {
    /// Who answers.
    pub inference: Arc<dyn Inference>,
    /// The time: Unix seconds.
    pub now: fn() -> u64,
    /// A new identifier at each call: visible ASCII, at most 64 characters, never given before.
    pub new_id: fn() -> String,
    /// Largest request body, in bytes.
    pub body_limit: usize,
}

impl Context {
    /// The card of the model a caller named; the default one's for an empty name or an alias.
    pub(crate) fn card(&self, model: &str) -> Option<ModelCard> {
        let cards = self.inference.models();
        let named = cards.iter().find(|card| card.id == model);
        named.or(cards.first()).cloned()
    }

    /// The model's name for an answer: as the caller gave it, else the default one's.
    pub(crate) fn model_name(&self, model: &str) -> String {
        match model {
            "" => self.card("").map_or_else(String::new, |card| card.id),
            named => named.into(),
        }
    }
}
