//! Checks of numbers that dialects share.

use std::collections::BTreeMap;
use std::fmt::Display;
use std::ops::{Bound, RangeBounds};

use tinderbox_protocol::Error;

use crate::batch::invalid;

/// A number with a range, as f32; the default where none is given.
///
/// # Errors
/// A number outside the range. It is checked after rounding, because that is what the model gets.
pub(crate) fn number(
    field: &str,
    value: Option<f64>,
    default: f32,
    range: impl RangeBounds<f32>,
) -> Result<f32, Error> {
    let Some(value) = value else {
        return Ok(default);
    };
    let rounded = value as f32;
    match range.contains(&rounded) && rounded.is_finite() {
        true => Ok(rounded),
        false => Err(outside(field, value, range)),
    }
}

/// A count with a range; the default where none is given.
///
/// # Errors
/// A count outside the range.
pub(crate) fn count(
    field: &str,
    value: Option<i64>,
    default: usize,
    range: impl RangeBounds<i64>,
) -> Result<usize, Error> {
    let Some(value) = value else {
        return Ok(default);
    };
    match value >= 0 && range.contains(&value) {
        // Where addresses have 32 bits, more is as good as the most.
        true => Ok(usize::try_from(value).unwrap_or(usize::MAX)),
        false => Err(outside(field, value, range)),
    }
}

/// Biases by token id; the keys are decimal digits.
///
/// # Errors
/// A key that is no token id, a bias outside -100 ..= 100.
pub(crate) fn logit_bias(
    given: Option<&BTreeMap<String, f64>>,
) -> Result<BTreeMap<u32, f32>, Error> {
    let entries = given.into_iter().flatten();
    let entries = entries.map(|(key, bias)| {
        let field = format!("logit_bias.{key}");
        let Ok(id) = key.parse() else {
            let reason = "the key is not a token id in decimal digits";
            return Err(invalid(field, reason));
        };
        Ok((id, number(&field, Some(*bias), 0.0, -100.0..=100.0)?))
    });
    entries.collect()
}

fn outside<T: Display>(field: &str, value: impl Display, range: impl RangeBounds<T>) -> Error {
    let words = match (range.start_bound(), range.end_bound()) {
        (Bound::Included(low), Bound::Included(high)) => format!("in {low} ..= {high}"),
        (Bound::Excluded(low), Bound::Included(high)) => format!("above {low} and at most {high}"),
        (Bound::Excluded(low), Bound::Excluded(high)) => format!("above {low} and below {high}"),
        (Bound::Included(low), _) => format!("{low} or more"),
        (Bound::Excluded(low), _) => format!("above {low}"),
        (Bound::Unbounded, _) => "a finite number".into(),
    };
    invalid(field, format!("{value} is not {words}"))
}
