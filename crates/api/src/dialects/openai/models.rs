//! `GET /v1/models` and `GET /v1/models/{id}`.

use serde::Serialize;
use tinderbox_protocol::{Error, ModelCard};
use utoipa::ToSchema;

use crate::Context;

/// The models served.
#[derive(Serialize, ToSchema)]
#[schema(as = ModelList)]
pub(super) struct List {
    object: &'static str,
    /// The current one first.
    data: Vec<Model>,
}

/// A model.
#[derive(Serialize, ToSchema)]
pub(super) struct Model {
    id: String,
    object: &'static str,
    /// When it was loaded: Unix time, seconds.
    created: u64,
    owned_by: &'static str,
    /// Tokens one sequence can hold; vLLM's name for the context length.
    max_model_len: usize,
}

impl From<ModelCard> for Model {
    fn from(card: ModelCard) -> Self {
        Model {
            id: card.id,
            object: "model",
            created: card.created,
            owned_by: "tinderbox",
            max_model_len: card.context_length,
        }
    }
}

pub(super) fn list(context: &Context) -> List {
    let cards = context.inference.models();
    List {
        object: "list",
        data: cards.into_iter().map(Model::from).collect(),
    }
}

/// # Errors
/// No such model.
pub(super) fn show(context: &Context, id: &str) -> Result<Model, Error> {
    let cards = context.inference.models();
    if let Some(card) = cards.iter().find(|card| card.id == id) {
        return Ok(card.clone().into());
    }
    let known: Vec<String> = cards.into_iter().map(|card| card.id).collect();
    Err(Error::ModelNotFound {
        model: id.into(),
        known: known.join(", "),
    })
}
