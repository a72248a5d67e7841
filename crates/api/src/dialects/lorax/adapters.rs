//! Which adapters are meant. There are none yet.

use tinderbox_protocol::Error;

use super::wire::{MergedAdapters, Parameters};
use crate::batch::invalid;
use crate::ranges::number;

const STRATEGIES: [&str; 4] = ["linear", "ties", "dare_linear", "dare_ties"];
const SIGN_METHODS: [&str; 2] = ["total", "frequency"];

/// Checks that the model named `base` is meant as it is.
///
/// # Errors
/// Fields that are wrong or exclude each other; [`Error::AdapterNotFound`] for any adapter.
pub(super) fn check(parameters: &Parameters, base: &str) -> Result<(), Error> {
    let named = parameters.adapter_id.as_deref().unwrap_or_default();
    let adapter = match &parameters.merged_adapters {
        Some(_) if parameters.adapter_id.is_some() => {
            let reason = "stands beside `adapter_id`; give one";
            return Err(invalid("parameters.merged_adapters", reason));
        }
        Some(merged) => first(merged)?,
        None if named.is_empty() || named == base => return Ok(()),
        None => named,
    };
    Err(Error::AdapterNotFound {
        adapter: adapter.into(),
    })
}

/// The first of the adapters to mix, when all fields are right.
fn first(merged: &MergedAdapters) -> Result<&str, Error> {
    let field = |name: &str| format!("parameters.merged_adapters.{name}");
    let (ids, weights) = (merged.ids.len(), merged.weights.len());
    let Some(first) = merged.ids.first() else {
        return Err(invalid(field("ids"), "is empty; give at least one"));
    };
    if weights != ids {
        let reason = format!("{weights} weights for {ids} adapters");
        return Err(invalid(field("weights"), reason));
    }
    one_of(field("merge_strategy"), &merged.merge_strategy, &STRATEGIES)?;
    let method = &merged.majority_sign_method;
    one_of(field("majority_sign_method"), method, &SIGN_METHODS)?;
    number(&field("density"), merged.density, 0.0, 0.0..=1.0)?;
    Ok(first)
}

fn one_of(field: String, value: &Option<String>, known: &[&str]) -> Result<(), Error> {
    match value {
        Some(word) if !known.contains(&word.as_str()) => {
            let reason = format!("`{word}` is not one of {}", known.join(", "));
            Err(invalid(field, reason))
        }
        _ => Ok(()),
    }
}
