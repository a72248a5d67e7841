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
            context_length: card.context_length,
            vocab_size: card.vocab_size,
        }
    }
}

/// The engines served
#[utoipa::path(get, path = "/v1/engines", tag = "textsynth", responses(
    (status = 200, description = "All of them, the current one first", body = Engines),
))]
pub(super) async fn engines(State(context): State<Context>) -> Json<Engines> {
    let cards = context.inference.models().into_iter();
    Json(Engines {
        engines: cards.map(Engine::from).collect(),
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
