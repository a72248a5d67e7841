//! The same schema, said such that llguidance takes it at its word.

use serde_json::{Map, Value};

/// Keywords whose value is a length or a number of things.
const COUNTS: [&str; 6] = [
    "maxItems",
    "maxLength",
    "maxProperties",
    "minItems",
    "minLength",
    "minProperties",
];

/// Keywords that llguidance combines with what it read before them.
const COMBINING: [&str; 6] = ["$ref", "allOf", "anyOf", "const", "enum", "oneOf"];

/// Rewrites a schema and those within it.
pub(in crate::constraint) fn plain(schema: &mut Value) {
    match schema {
        Value::Array(list) => list.iter_mut().for_each(plain),
        Value::Object(map) => {
            for (keyword, value) in map.iter_mut() {
                match (keyword.as_str(), value) {
                    ("const" | "enum", _) => {}
                    (
                        "properties" | "patternProperties" | "$defs" | "definitions",
                        Value::Object(named),
                    ) => named.values_mut().for_each(plain),
                    (keyword, value) if COUNTS.contains(&keyword) => whole(value),
                    (_, value) => plain(value),
                }
            }
            calendar(map);
            order(map);
        }
        _ => {}
    }
}

/// `2.0` is a count too.
fn whole(value: &mut Value) {
    if let Some(count) = value.as_f64()
        && count.fract() == 0.0
        && (0.0..1e9).contains(&count)
    {
        *value = (count as u64).into();
    }
}

/// llguidance knows the shape of dates and times. What is added here: 29 February is in leap years
/// only, and no minute has a leap second, since which have one takes adding up hours and offsets.
fn calendar(map: &mut Map<String, Value>) {
    const DATE: &str = "(?:.{4}-(?:0[13-9].{3}|1.{4}|02-(?:[01].|2[0-8]))\
        |(?:..(?:0[48]|[2468][048]|[13579][26])|(?:[02468][048]|[13579][26])00)-02-29)";
    let pattern = match map.get("format").and_then(Value::as_str) {
        Some("date") => format!("^{DATE}$"),
        Some("time") => "^.{6}[0-5]".to_owned(),
        Some("date-time") => format!("^{DATE}.{{7}}[0-5]"),
        _ => return,
    };
    if !map.contains_key("pattern") {
        map.insert("pattern".into(), pattern.into());
    } else if let Value::Array(all) = map.entry("allOf").or_insert_with(|| Value::Array(vec![])) {
        all.push(serde_json::json!({"pattern": pattern}));
    }
}

/// Brings keywords that are read together, such as `items` and `additionalItems`, to where the first
/// of them stands: llguidance reads those before and behind a combining one apart.
fn order(map: &mut Map<String, Value>) {
    let combining = |keyword: &str| COMBINING.contains(&keyword);
    let first = map
        .keys()
        .take_while(|keyword| combining(keyword) || *keyword == "type");
    let first = first.count();
    let all = std::mem::take(map).into_iter();
    let (mut before, mut together, mut behind) = (Map::new(), Map::new(), Map::new());
    for (index, (keyword, value)) in all.enumerate() {
        let place = match (index < first, combining(&keyword)) {
            (true, _) => &mut before,
            (false, false) => &mut together,
            (false, true) => &mut behind,
        };
        place.insert(keyword, value);
    }
    map.extend(before.into_iter().chain(together).chain(behind));
}
