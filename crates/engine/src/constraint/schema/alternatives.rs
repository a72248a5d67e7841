//! How many alternatives of a schema hold together: llguidance multiplies them out.

use std::collections::BTreeMap;

use serde_json::Value;
use tinderbox_protocol::Error;

use super::{children, resolve};
use crate::constraint::grammar::refused;

/// Most combinations of alternatives that must hold together.
const COMBINATIONS: usize = 2000;

/// Checks a schema whose references are known to lead somewhere.
///
/// # Errors
/// [`Error::Constraint`] with a JSON pointer.
pub(super) fn check(root: &Value) -> Result<(), Error> {
    let known = BTreeMap::new();
    Alternatives { root, known }.count(root, "").map(|_| ())
}

struct Alternatives<'a> {
    root: &'a Value,
    /// By reference; 1 while it is counted.
    known: BTreeMap<&'a str, usize>,
}

impl<'a> Alternatives<'a> {
    fn count(&mut self, schema: &'a Value, place: &str) -> Result<usize, Error> {
        let Some(map) = schema.as_object() else {
            return Ok(1);
        };
        let mut all = 1usize;
        let mut factors = 0;
        let mut multiply = |count: usize| {
            factors += usize::from(count > 1);
            all = all.saturating_mul(count.max(1));
        };
        let mut sums = BTreeMap::<&str, usize>::new();
        for (keyword, place, schema) in children(map, place) {
            let count = self.count(schema, &place)?;
            match keyword {
                "allOf" => multiply(count),
                "anyOf" | "oneOf" => *sums.entry(keyword).or_default() += count,
                _ => {}
            }
        }
        let too_many = |place: &str| {
            let reason = format!("more than {COMBINATIONS} combinations of alternatives");
            Err(refused(place, reason))
        };
        if sums.get("oneOf").is_some_and(|sum| *sum > COMBINATIONS) {
            return too_many(place);
        }
        sums.into_values().for_each(&mut multiply);
        multiply(
            map.get("enum")
                .and_then(Value::as_array)
                .map_or(1, Vec::len),
        );
        if let Some(reference) = map.get("$ref").and_then(Value::as_str) {
            let count = match self.known.get(reference) {
                Some(count) => *count,
                None => {
                    self.known.insert(reference, 1);
                    let count = match resolve(self.root, reference) {
                        Some(target) => self.count(target, reference.trim_start_matches('#'))?,
                        None => 1,
                    };
                    self.known.insert(reference, count);
                    count
                }
            };
            multiply(count);
        }
        if factors > 1 && all > COMBINATIONS {
            return too_many(place);
        }
        Ok(all)
    }
}
