//! Whether a JSON schema can be followed to the letter, and where not.
//!
//! llguidance compiles schemas; this is what it would overlook, would refuse without a place, or
//! would take unbounded time or stack for.

mod alternatives;
mod plain;

use std::collections::BTreeSet;

use regex_syntax::hir::{Hir, HirKind};
use serde_json::{Map, Value};
use tinderbox_protocol::Error;

use super::grammar::refused;
pub(super) use plain::plain;

/// Keywords of the standard's drafts that masks cannot keep.
const UNSUPPORTED: [&str; 19] = [
    "$dynamicAnchor",
    "$dynamicRef",
    "$recursiveAnchor",
    "$recursiveRef",
    "contains",
    "dependencies",
    "dependentRequired",
    "dependentSchemas",
    "else",
    "if",
    "maxContains",
    "minContains",
    "not",
    "propertyNames",
    "then",
    "unevaluatedItems",
    "unevaluatedProperties",
    "uniqueItems",
    "x-guidance",
];

/// Formats of strings that can be kept.
const FORMATS: [&str; 10] = [
    "date",
    "date-time",
    "duration",
    "email",
    "hostname",
    "ipv4",
    "ipv6",
    "time",
    "uri",
    "uuid",
];

/// Keywords whose value is a schema, or a list of them.
const SCHEMAS: [&str; 7] = [
    "additionalItems",
    "additionalProperties",
    "allOf",
    "anyOf",
    "items",
    "oneOf",
    "prefixItems",
];

/// Most levels of schemas within schemas, those of all references together: compiling recurses.
#[cfg(feature = "threads")]
const LEVELS: usize = 1000;
#[cfg(not(feature = "threads"))]
const LEVELS: usize = 100;

/// Most patterns for the names of properties: each is compared with each.
const NAME_PATTERNS: usize = 8;

/// Most patterns of strings: each is tested for whether anything matches.
const PATTERNS: usize = 500;

/// Most remainders that all `multipleOf` together tell apart: each is a state, and a million of them
/// take ten seconds.
const REMAINDERS: u64 = 100_000;

/// Beyond this, not every integer is a float.
const EXACT: f64 = 9_007_199_254_740_992.0;

/// Checks a schema. A `lenient` one may say what masks cannot keep, and is followed without it.
///
/// # Errors
/// [`Error::Constraint`] with a JSON pointer.
pub(super) fn check(root: &Value, lenient: bool) -> Result<(), Error> {
    let mut check = Check {
        root,
        lenient,
        pending: vec![(root, String::new())],
        known: BTreeSet::from(["#"]),
        name_patterns: 0,
        patterns: 0,
        multiples: BTreeSet::new(),
    };
    let mut levels = 0;
    while let Some((schema, place)) = check.pending.pop() {
        levels += check.schema(schema, &place, levels)?;
    }
    alternatives::check(root)
}

struct Check<'a> {
    root: &'a Value,
    lenient: bool,
    /// Schemas to look at, with their places.
    pending: Vec<(&'a Value, String)>,
    /// References that were looked at or are pending.
    known: BTreeSet<&'a str>,
    name_patterns: usize,
    patterns: usize,
    /// The digits of what `multipleOf` says.
    multiples: BTreeSet<u64>,
}

impl<'a> Check<'a> {
    /// Checks a schema at `place`, `levels` levels down. Answers how many levels it has.
    fn schema(&mut self, schema: &'a Value, place: &str, levels: usize) -> Result<usize, Error> {
        if levels > LEVELS {
            return Err(refused(
                place,
                format!("more than {LEVELS} levels of schemas"),
            ));
        }
        let Value::Object(map) = schema else {
            return match schema {
                Value::Bool(_) => Ok(1),
                _ => Err(refused(place, "a schema is an object, `true` or `false`")),
            };
        };
        for (keyword, value) in map {
            self.keyword(map, keyword, value, place)?;
        }
        let mut deepest = 0;
        for (_, place, schema) in children(map, place) {
            deepest = deepest.max(self.schema(schema, &place, levels + 1)?);
        }
        Ok(1 + deepest)
    }

    fn keyword(
        &mut self,
        map: &'a Map<String, Value>,
        keyword: &str,
        value: &'a Value,
        place: &str,
    ) -> Result<(), Error> {
        let here = || join(place, keyword);
        if UNSUPPORTED.contains(&keyword) && !self.lenient {
            return Err(refused(here(), "this keyword is not supported"));
        }
        match keyword {
            "$ref" => self.reference(value, here())?,
            "$id" if !place.is_empty() && !self.lenient => {
                return Err(refused(here(), "only the whole schema can have a name"));
            }
            "format" if !self.lenient => format(map, value, here())?,
            "pattern" => {
                self.patterns += 1;
                pattern(value.as_str().unwrap_or_default(), here())?;
            }
            "patternProperties" => {
                for (name, _) in value.as_object().into_iter().flatten() {
                    self.name_patterns += 1;
                    pattern(name, join(&here(), name))?;
                }
            }
            "multipleOf" => self.multiple(value, here())?,
            "enum" | "const" => exact(value, &here())?,
            "minProperties" if !self.lenient => enough(map, value, here())?,
            _ => {}
        }
        if self.name_patterns > NAME_PATTERNS || self.patterns > PATTERNS {
            let reason = format!("more than {PATTERNS} patterns, or {NAME_PATTERNS} for names");
            return Err(refused(here(), reason));
        }
        Ok(())
    }

    fn multiple(&mut self, value: &Value, place: String) -> Result<(), Error> {
        let text = value.to_string();
        let mantissa = text.split('e').next().unwrap_or_default();
        let digits: String = mantissa.chars().filter(char::is_ascii_digit).collect();
        self.multiples
            .insert(digits.parse::<u64>().unwrap_or(u64::MAX).max(1));
        let all = self
            .multiples
            .iter()
            .fold(1u64, |all, multiple| all.saturating_mul(*multiple));
        match all {
            0..=REMAINDERS => Ok(()),
            _ => Err(refused(
                place,
                format!("more than {REMAINDERS} remainders to tell apart"),
            )),
        }
    }

    fn reference(&mut self, value: &'a Value, place: String) -> Result<(), Error> {
        let reference = value.as_str().unwrap_or_default();
        let target = resolve(self.root, reference).ok_or_else(|| {
            refused(
                place,
                "a reference is `#` or `#/` and a path within this schema, unescaped",
            )
        })?;
        if self.known.insert(reference) {
            let place = reference.trim_start_matches('#').to_owned();
            self.pending.push((target, place));
        }
        Ok(())
    }
}

/// The schemas right below, with their keywords and places.
fn children<'a>(map: &'a Map<String, Value>, place: &str) -> Vec<(&'a str, String, &'a Value)> {
    let mut all = Vec::new();
    for (keyword, value) in map {
        let (keyword, here) = (keyword.as_str(), join(place, keyword));
        match value {
            Value::Array(list) if SCHEMAS.contains(&keyword) => {
                for (index, schema) in list.iter().enumerate() {
                    all.push((keyword, format!("{here}/{index}"), schema));
                }
            }
            value if SCHEMAS.contains(&keyword) => all.push((keyword, here, value)),
            Value::Object(map) if ["properties", "patternProperties"].contains(&keyword) => {
                for (name, schema) in map {
                    all.push((keyword, join(&here, name), schema));
                }
            }
            _ => {}
        }
    }
    all
}

fn resolve<'a>(root: &'a Value, reference: &str) -> Option<&'a Value> {
    let path = reference.strip_prefix('#')?;
    // llguidance takes the path as it stands.
    let plain = !path.contains(['~', '%']) && !path.ends_with('/');
    root.pointer(path).filter(|_| plain)
}

fn format(map: &Map<String, Value>, value: &Value, place: String) -> Result<(), Error> {
    let strings = match map.get("type") {
        Some(Value::String(kind)) => kind == "string",
        Some(Value::Array(kinds)) => kinds.iter().any(|kind| kind == "string"),
        _ => true,
    };
    match value.as_str() {
        Some(format) if strings && !FORMATS.contains(&format) => Err(refused(
            place,
            format!("supported formats are {}", FORMATS.join(", ")),
        )),
        _ => Ok(()),
    }
}

/// Numbers are compared as floats, and strings are written without `\u`.
fn exact(value: &Value, place: &str) -> Result<(), Error> {
    match value {
        Value::String(text) if text.bytes().any(unwritten) => Err(refused(
            place,
            format!("{value} has a control character that is not written"),
        )),
        Value::Number(number) if number.as_f64().is_none_or(|n| n.abs() > EXACT) => Err(refused(
            place,
            format!("{number} is beyond 2⁵³, where it is not exact"),
        )),
        Value::Array(list) => list.iter().try_for_each(|value| exact(value, place)),
        Value::Object(map) => map.values().try_for_each(|value| exact(value, place)),
        _ => Ok(()),
    }
}

/// A control character that no escape but `\u` stands for.
fn unwritten(byte: u8) -> bool {
    byte.is_ascii_control() && !b"\n\r\t\x08\x0c".contains(&byte)
}

/// llguidance leaves out what it cannot write within a stretch of plain text.
fn pattern(pattern: &str, place: String) -> Result<(), Error> {
    fn plain(hir: &Hir) -> bool {
        match hir.kind() {
            HirKind::Literal(text) => !text.0.iter().copied().any(unwritten),
            kind => kind.subs().iter().all(plain),
        }
    }
    match regex_syntax::parse(pattern) {
        Ok(hir) if !plain(&hir) => Err(refused(
            place,
            "it asks for a control character that is not written",
        )),
        // What is no expression is refused where it is compiled.
        _ => Ok(()),
    }
}

/// A mask cannot tell whether two names of free choice differ.
fn enough(map: &Map<String, Value>, value: &Value, place: String) -> Result<(), Error> {
    let required = map.get("required").and_then(Value::as_array);
    let required = required.into_iter().flatten().filter_map(Value::as_str);
    let required = required.collect::<BTreeSet<_>>().len();
    match value.as_f64() {
        Some(count) if count > required as f64 + 1.0 => Err(refused(
            place,
            "at most one more than `required` has is supported",
        )),
        _ => Ok(()),
    }
}

/// One step further in a JSON pointer.
fn join(place: &str, name: &str) -> String {
    format!("{place}/{}", name.replace('~', "~0").replace('/', "~1"))
}
