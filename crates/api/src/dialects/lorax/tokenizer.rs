//! `POST /tokenize`: the tokens of a text and where they stand.

use tinderbox_protocol::{Encoded, Error, Prompt};

use super::reply::name;
use super::wire::{SimpleToken, Tokenize};
use crate::Context;
use crate::batch::invalid;
use crate::tokens::Offset;

/// The tokens of a text.
///
/// # Errors
/// No text, no model.
pub(super) async fn tokenize(context: &Context, wire: Tokenize) -> Result<Vec<SimpleToken>, Error> {
    let inputs = wire.inputs;
    let inputs = inputs.ok_or_else(|| invalid("inputs", "is required"))?;
    let special = wire.add_special_tokens.unwrap_or(true);
    let encode = async |text: &str| {
        let prompt = Prompt::Text {
            text: text.into(),
            add_special_tokens: Some(special),
        };
        context.inference.encode("", &prompt).await
    };
    // What is added to no text is added to any, before it or behind it.
    let added = encode("").await?.tokens;
    let Encoded { tokens, pieces } = encode(&inputs).await?;
    let before = tokens
        .iter()
        .zip(&added)
        .take_while(|(a, b)| a == b)
        .count();
    let behind = tokens.len().saturating_sub(added.len() - before);

    let starts = inputs.char_indices().map(|(start, _)| start);
    let starts: Vec<usize> = starts.chain([inputs.len()]).collect();
    let byte = |character: usize| starts.get(character).copied().unwrap_or(inputs.len());
    let mut offset = Offset::before(&inputs, pieces.get(before).map(Vec::as_slice));
    let places = tokens.into_iter().zip(pieces).enumerate();
    let places = places.map(|(index, (id, piece))| {
        if !(before..behind).contains(&index) {
            let place = offset.here();
            return SimpleToken {
                id,
                text: name(&piece),
                start: place,
                stop: place,
            };
        }
        let place = offset.step(&piece);
        SimpleToken {
            id,
            text: inputs[byte(place.start)..byte(place.end)].into(),
            start: place.start,
            stop: place.end,
        }
    });
    Ok(places.collect())
}
