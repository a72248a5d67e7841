//! Whether a Lark grammar can be compiled with bounded stack and memory.

use std::collections::BTreeMap;

use serde_json::{Deserializer, Value};
use tinderbox_protocol::Error;

use super::grammar::refused;
use super::schema;

/// Most rules, parentheses and brackets: compiling recurses through them.
#[cfg(feature = "threads")]
const PARTS: usize = 10_000;
#[cfg(not(feature = "threads"))]
const PARTS: usize = 400;

/// Most bytes of all terminals, each with those it is made of spelled out: that is how they are
/// compiled, and a chain of forty that double would fill any memory.
const SPELLED: usize = 1 << 20;

/// Checks a grammar, ours or a caller's, and makes the schemas in it [`plain`](schema::plain).
///
/// # Errors
/// [`Error::Constraint`], for a schema within the grammar with the line it begins on.
pub(super) fn checked(grammar: &str) -> Result<String, Error> {
    let (plain, outside) = schemas(grammar)?;
    bounded(&outside)?;
    Ok(plain)
}

fn bounded(grammar: &str) -> Result<(), Error> {
    let parts = grammar.matches([':', '(', '[', '{']).count();
    if parts > PARTS {
        let reason = format!("{parts} rules and groups, at most {PARTS}");
        return Err(refused("", reason));
    }
    let definitions = definitions(grammar);
    let mut sizes = BTreeMap::new();
    let spelled = definitions.keys().fold(0usize, |sum, &name| {
        sum.saturating_add(spelled(name, &definitions, &mut sizes))
    });
    match spelled {
        0..=SPELLED => Ok(()),
        _ => Err(refused(
            "",
            format!("more than {SPELLED} bytes of terminals, spelled out"),
        )),
    }
}

/// The grammar with the schemas in it (`%json`) checked and plain, and the grammar without them.
fn schemas(grammar: &str) -> Result<(String, String), Error> {
    let mut rest = grammar;
    let (mut plain, mut outside) = (String::new(), String::new());
    while let Some(at) = rest.find("%json") {
        let (before, json) = rest.split_at(at + "%json".len());
        plain.push_str(before);
        outside.push_str(before);
        let mut values = Deserializer::from_str(json).into_iter::<Value>();
        rest = json;
        // What is no JSON is refused where it is compiled.
        if let Some(Ok(mut schema)) = values.next() {
            let options = schema
                .as_object_mut()
                .and_then(|map| map.shift_remove("x-guidance"));
            let lenient = options
                .as_ref()
                .is_some_and(|options| options["lenient"] == true);
            let before = &grammar[..grammar.len() - json.len() - "%json".len()];
            schema::check(&schema, lenient).map_err(|error| within(before, error))?;
            let read;
            (read, rest) = json.split_at(values.byte_offset());
            // Their order counts, which comparing them would not see.
            let given = schema.to_string();
            schema::plain(&mut schema);
            let said = schema.to_string();
            if said == given {
                plain += read;
                continue;
            }
            if let Some(options) = options {
                schema["x-guidance"] = options;
            }
            // What follows stays on its line.
            plain += &"\n".repeat(read.matches('\n').count());
            plain += &format!(" {schema}");
        }
    }
    plain += rest;
    outside += rest;
    Ok((plain, outside))
}

/// What is wrong with a schema that begins behind `before`.
fn within(before: &str, error: Error) -> Error {
    let line = before.matches('\n').count() + 1;
    let column = before.chars().rev().take_while(|c| *c != '\n').count() + 1;
    refused(format!("line {line}, column {column}"), error.to_string())
}

/// What stands behind each name that begins a line. Which lines go together is all that must be
/// understood of Lark here.
fn definitions(grammar: &str) -> BTreeMap<&str, Vec<&str>> {
    let mut all = BTreeMap::<&str, Vec<&str>>::new();
    let mut name = "";
    for line in grammar.lines() {
        let line = line.trim_start_matches(['!', '?']);
        let end = line.find(|c| !part_of_name(c)).unwrap_or(line.len());
        let rest = &line[end..];
        let defines = end > 0 && rest.trim_start().starts_with([':', '.', '[']);
        let body = if defines {
            name = &line[..end];
            rest
        } else {
            line
        };
        all.entry(name).or_default().push(body);
    }
    all
}

/// Bytes of a definition with the terminals in it spelled out.
fn spelled<'a>(
    name: &'a str,
    definitions: &BTreeMap<&'a str, Vec<&'a str>>,
    sizes: &mut BTreeMap<&'a str, usize>,
) -> usize {
    if let Some(size) = sizes.get(name) {
        return *size;
    }
    // One that is made of itself is refused later.
    sizes.insert(name, 0);
    let mut size = 0usize;
    for body in definitions.get(name).into_iter().flatten() {
        size = size.saturating_add(body.len());
        for word in body.split(|c| !part_of_name(c)) {
            if word.starts_with(|c: char| c.is_ascii_uppercase() || c == '_') {
                size = size.saturating_add(spelled(word, definitions, sizes));
            }
        }
    }
    sizes.insert(name, size);
    size
}

fn part_of_name(c: char) -> bool {
    c.is_ascii_alphanumeric() || c == '_' || c == '-'
}
