//! Which adapters are meant.

use tinderbox_protocol::{
    Adapter, AdapterSource, Error, MajoritySign, Merge, MergeStrategy as Strategy,
};

use super::wire::{MergedAdapters, Parameters};
use crate::Context;
use crate::adapters::{adapter, known, source};
use crate::batch::invalid;
use crate::ranges::number;

const STRATEGIES: [(&str, Strategy); 4] = [
    ("linear", Strategy::Linear),
    ("ties", Strategy::Ties),
    ("dare_linear", Strategy::DareLinear),
    ("dare_ties", Strategy::DareTies),
];

const SIGN_METHODS: [(&str, MajoritySign); 2] = [
    ("total", MajoritySign::Total),
    ("frequency", MajoritySign::Frequency),
];

/// The adapter to use; none where the model named `base` is meant as it is. Where no source is given,
/// it is that of the adapters known here by these names, else the hub, as in LoRAX.
///
/// # Errors
/// Fields that are wrong or exclude each other.
pub(super) fn of(
    context: &Context,
    parameters: &mut Parameters,
    base: &str,
) -> Result<Option<Adapter>, Error> {
    let from = parameters.adapter_source.as_deref();
    let from = source("parameters.adapter_source", from)?;
    let named = parameters.adapter_id.take();
    let (ids, merge) = match parameters.merged_adapters.take() {
        Some(_) if named.is_some() => {
            let reason = "stands beside `adapter_id`; give one";
            return Err(invalid("parameters.merged_adapters", reason));
        }
        Some(merged) => {
            let merge = merge(&merged)?;
            (merged.ids, merge)
        }
        None => match named.filter(|named| !named.is_empty() && named != base) {
            None => return Ok(None),
            Some(named) => (vec![named], Merge::default()),
        },
    };
    let from = from.unwrap_or_else(|| {
        let mut cards = ids.iter().map(|id| known(context, id));
        let first = cards.next().flatten().map(|card| card.source);
        let same = first.filter(|first| cards.all(|c| c.is_some_and(|c| c.source == *first)));
        same.unwrap_or(AdapterSource::Hub)
    });
    let token = parameters.api_token.take();
    Ok(Some(adapter(ids, from, token, merge)))
}

/// How adapters are mixed.
fn merge(merged: &MergedAdapters) -> Result<Merge, Error> {
    let field = |name: &str| format!("parameters.merged_adapters.{name}");
    let (ids, weights) = (merged.ids.len(), merged.weights.len());
    if ids == 0 {
        return Err(invalid(field("ids"), "is empty; give at least one"));
    }
    if weights != ids {
        let reason = format!("{weights} weights for {ids} adapters");
        return Err(invalid(field("weights"), reason));
    }
    let each = merged.weights.iter();
    let each = each.map(|weight| number(&field("weights"), Some(*weight), 1.0, ..));
    let weights = each.collect::<Result<Vec<f32>, Error>>()?;
    let strategy = one_of(field("merge_strategy"), &merged.merge_strategy, &STRATEGIES)?;
    let method = &merged.majority_sign_method;
    let majority_sign = one_of(field("majority_sign_method"), method, &SIGN_METHODS)?;
    let density = number(&field("density"), merged.density, 0.0, 0.0..=1.0)?;
    Ok(Merge {
        weights,
        strategy,
        density: (density > 0.0).then_some(density),
        majority_sign,
    })
}

/// What a word means; the default where there is none.
fn one_of<T: Copy + Default>(
    field: String,
    word: &Option<String>,
    known: &[(&str, T)],
) -> Result<T, Error> {
    let Some(word) = word else {
        return Ok(T::default());
    };
    let found = known.iter().find(|(name, _)| name == word);
    found.map(|(_, meant)| *meant).ok_or_else(|| {
        let names: Vec<&str> = known.iter().map(|(name, _)| *name).collect();
        let reason = format!("`{word}` is not one of {}", names.join(", "));
        invalid(field, reason)
    })
}
