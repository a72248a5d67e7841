//! JSON as Python's `json.dumps` writes it, which chat templates were trained with.

use std::io;

use minijinja::value::Kwargs;
use minijinja::{Error, ErrorKind, Value};
use serde::Serialize;
use serde_json::ser::{Formatter, PrettyFormatter, Serializer};

/// The filter `tojson(indent=None, ensure_ascii=False)`. Nothing is escaped for HTML.
pub(crate) fn tojson(value: &Value, options: Kwargs) -> Result<Value, Error> {
    let indent: Option<usize> = options.get("indent")?;
    let ascii: Option<bool> = options.get("ensure_ascii")?;
    let text = match indent {
        Some(indent) => {
            let indent = " ".repeat(indent.min(16));
            written(value, PrettyFormatter::with_indent(indent.as_bytes()))?
        }
        None => written(value, Spaced)?,
    };
    let text = if ascii == Some(true) {
        escaped(&text)
    } else {
        text
    };
    Ok(Value::from_safe_string(text))
}

/// A value on one line.
pub(crate) fn line(value: &serde_json::Value) -> String {
    // A value of JSON is written without fail.
    written(value, Spaced).unwrap_or_default()
}

fn written(value: &impl Serialize, formatter: impl Formatter) -> Result<String, Error> {
    let mut out = Vec::new();
    let fail = |e: String| Error::new(ErrorKind::BadSerialization, e);
    let mut serializer = Serializer::with_formatter(&mut out, formatter);
    value
        .serialize(&mut serializer)
        .map_err(|e| fail(e.to_string()))?;
    String::from_utf8(out).map_err(|e| fail(e.to_string()))
}

/// Characters outside ASCII as `\uXXXX`; they only occur inside strings.
fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for character in text.chars() {
        if character.is_ascii() {
            out.push(character);
        } else {
            let units = character.encode_utf16(&mut [0; 2]).to_vec();
            out.extend(units.iter().map(|unit| format!("\\u{unit:04x}")));
        }
    }
    out
}

/// One line, a space behind every comma and colon.
struct Spaced;

impl Formatter for Spaced {
    fn begin_array_value<W: ?Sized + io::Write>(
        &mut self,
        out: &mut W,
        first: bool,
    ) -> io::Result<()> {
        if first { Ok(()) } else { out.write_all(b", ") }
    }

    fn begin_object_key<W: ?Sized + io::Write>(
        &mut self,
        out: &mut W,
        first: bool,
    ) -> io::Result<()> {
        if first { Ok(()) } else { out.write_all(b", ") }
    }

    fn begin_object_value<W: ?Sized + io::Write>(&mut self, out: &mut W) -> io::Result<()> {
        out.write_all(b": ")
    }
}
