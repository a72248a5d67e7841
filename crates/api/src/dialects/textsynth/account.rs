//! What there is: engines and credits.

use axum::Json;
use axum::extract::State;
use tinderbox_protocol::ModelCard;

use super::wire::{Credits, Engine, Engines};
use crate::Context;

/// Nothing is charged here: the largest number that every reader of JSON takes.
const CREDITS: u64 = (1 << 53) - 1;

impl From<ModelCard> for Engine {
    fn from(card: ModelCard) -> Engine {
        Engine {
            id: card.id,
            context_length: Some(card.context_length),
            vocab_size: Some(card.vocab_size),
        }
    }
}

impl Engine {
    fn named(id: String) -> Engine {
        Engine {
            id,
            context_length: None,
            vocab_size: None,
        }
    }
}

/// The engines served
#[utoipa::path(get, path = "/v1/engines", tag = "textsynth", responses(
    (status = 200, description = "All that a request may name", body = Engines),
))]
pub(super) async fn engines(State(context): State<Context>) -> Json<Engines> {
    let loaded = context.inference.models().into_iter().map(Engine::from);
    let engines = loaded.chain(context.unloaded().map(Engine::named));
    Json(Engines {
        engines: engines.collect(),
    })
}

/// What is left to spend
///
/// Nothing is charged here, so it never gets less.
#[utoipa::path(get, path = "/v1/credits", tag = "textsynth", responses(
    (status = 200, description = "The credits", body = Credits),
))]
pub(super) async fn credits() -> Json<Credits> {
    Json(Credits { credits: CREDITS })
}
