//! Which adapter a request means, in the words that LoRAX has natively and on `/v1`.

use tinderbox_protocol::{Adapter, AdapterCard, AdapterSource, Error, Merge};

use crate::Context;
use crate::batch::invalid;

/// LoRAX's words for where adapters come from.
const SOURCES: [(&str, AdapterSource); 3] = [
    ("local", AdapterSource::Local),
    ("hub", AdapterSource::Hub),
    ("s3", AdapterSource::S3),
];

/// The source of that word, where one is given.
///
/// # Errors
/// A word that is none.
pub(crate) fn source(field: &str, word: Option<&str>) -> Result<Option<AdapterSource>, Error> {
    let Some(word) = word.filter(|word| !word.is_empty()) else {
        return Ok(None);
    };
    let known = SOURCES.iter().find(|(name, _)| *name == word);
    let known = known.map(|(_, source)| Some(*source));
    known.ok_or_else(|| {
        let names = SOURCES.map(|(name, _)| name).join(", ");
        invalid(field, format!("`{word}` is not one of {names}"))
    })
}

/// The word of a source.
pub(crate) fn word(source: AdapterSource) -> &'static str {
    let known = SOURCES.iter().find(|(_, known)| *known == source);
    known.map_or("named", |(name, _)| name)
}

/// An adapter, or several as one. Only the hub takes a token, so nobody else is given one.
pub(crate) fn adapter(
    ids: Vec<String>,
    source: AdapterSource,
    token: Option<String>,
    merge: Merge,
) -> Adapter {
    let token = token.filter(|token| source == AdapterSource::Hub && !token.is_empty());
    Adapter {
        ids,
        source,
        token,
        merge,
    }
}

/// The adapter that may be named without saying where it comes from.
pub(crate) fn known(context: &Context, id: &str) -> Option<AdapterCard> {
    let cards = context.inference.adapters();
    cards.into_iter().find(|card| card.id == id)
}

/// The model and the adapter that a `model` of `/v1` means. What is neither is left to the engine to
/// refuse: a wrong name is told to no hub unless `adapter_source` says so.
///
/// # Errors
/// A source that is none.
pub(crate) fn named(
    context: &Context,
    name: String,
    from: Option<&str>,
    token: Option<String>,
) -> Result<(String, Option<Adapter>), Error> {
    let from = source("adapter_source", from)?;
    let models = context.inference.models().into_iter().map(|card| card.id);
    let mut models = models.chain(context.unloaded());
    if name.is_empty() || models.any(|model| model == name) {
        return Ok((name, None));
    }
    let (model, source) = match (from, known(context, &name)) {
        (Some(source), _) => (String::new(), source),
        (None, Some(card)) => (card.parent, card.source),
        (None, None) => return Ok((name, None)),
    };
    let adapter = adapter(vec![name], source, token, Merge::default());
    Ok((model, Some(adapter)))
}
