//! `GET /v1/models` and `GET /v1/models/{id}`.

use serde::Serialize;
use tinderbox_protocol::{AdapterCard, Error, ModelCard};
use utoipa::ToSchema;

use crate::Context;

/// The models a request may name.
#[derive(Serialize, ToSchema)]
#[schema(as = ModelList)]
pub(super) struct List {
    object: &'static str,
    /// The current one first, then the loaded ones, then those that are loaded when they are named,
    /// then adapters.
    data: Vec<Model>,
}

/// A model.
#[derive(Serialize, ToSchema)]
pub(super) struct Model {
    id: String,
    object: &'static str,
    /// When it was loaded: Unix time, seconds; 0 where it is not.
    created: u64,
    owned_by: &'static str,
    /// Tokens one sequence can hold, vLLM's name for the context length; null where not known yet.
    max_model_len: Option<usize>,
    /// Whether it is in memory now.
    loaded: bool,
    /// Of an adapter: the model it changes.
    #[serde(skip_serializing_if = "Option::is_none")]
    parent: Option<String>,
}

impl From<ModelCard> for Model {
    fn from(card: ModelCard) -> Self {
        Model {
            created: card.created,
            max_model_len: Some(card.context_length),
            loaded: true,
            ..Model::named(card.id)
        }
    }
}

impl From<AdapterCard> for Model {
    fn from(card: AdapterCard) -> Self {
        Model {
            loaded: card.loaded,
            parent: Some(card.parent),
            ..Model::named(card.id)
        }
    }
}

impl Model {
    fn named(id: String) -> Model {
        Model {
            id,
            object: "model",
            created: 0,
            owned_by: "tinderbox",
            max_model_len: None,
            loaded: false,
            parent: None,
        }
    }
}

fn all(context: &Context) -> Vec<Model> {
    let loaded = context.inference.models().into_iter().map(Model::from);
    let models = loaded.chain(context.unloaded().map(Model::named));
    let adapters = context.inference.adapters().into_iter().map(Model::from);
    models.chain(adapters).collect()
}

pub(super) fn list(context: &Context) -> List {
    List {
        object: "list",
        data: all(context),
    }
}

/// # Errors
/// No such model.
pub(super) fn show(context: &Context, id: &str) -> Result<Model, Error> {
    let mut models = all(context);
    if let Some(place) = models.iter().position(|model| model.id == id) {
        return Ok(models.swap_remove(place));
    }
    let known: Vec<String> = models.into_iter().map(|model| model.id).collect();
    Err(Error::ModelNotFound {
        model: id.into(),
        known: known.join(", "),
    })
}
