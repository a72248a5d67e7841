//! What makes a model call, and call rightly: a grammar of whole answers.

use serde_json::{Value, json};
use tinderbox_protocol::{Constraint, ToolFormat};

use super::offer::{Choice, Offer, Tool};
use super::syntax::Syntax;
use crate::constraint::Asked;

/// What an answer must look like, `answer` where it is no call. Where nothing is forced and no tool
/// is strict a model is free to call or not, and may call wrongly.
pub(crate) fn constraint(offer: &Offer, syntax: &Syntax, answer: Option<Asked>) -> Option<Asked> {
    let forced = offer.choice != Choice::Auto;
    if !forced && answer.is_none() && !offer.tools.iter().any(|tool| tool.strict) {
        return None;
    }
    let mut grammar = Grammar {
        syntax,
        // The first line is the start's.
        lines: vec![(String::new(), "tools".into())],
    };
    let start = match answer {
        _ if forced => "calls".into(),
        Some(asked) => {
            grammar.answer(asked);
            "calls | answer".into()
        }
        None => grammar.text(),
    };
    grammar.lines[0].0 = format!("start: {start}");
    grammar.calls(offer);
    let (lines, fields): (Vec<_>, Vec<_>) = grammar.lines.into_iter().unzip();
    Some(Asked {
        constraint: Constraint::Lark(lines.join("\n")),
        field: "tools".into(),
        lines: fields,
    })
}

/// A Lark grammar in llguidance's dialect, and for each line the field that it comes from.
struct Grammar<'a> {
    syntax: &'a Syntax,
    lines: Vec<(String, String)>,
}

impl Grammar<'_> {
    fn rule(&mut self, rule: impl Into<String>) {
        self.lines.push((rule.into(), "tools".into()));
    }

    /// One call or several, one of which must follow its tool's schema.
    fn calls(&mut self, offer: &Offer) {
        let more = |call: String| match offer.parallel {
            true => format!(" ({call})*"),
            false => String::new(),
        };
        let (open, close) = (self.mark(self.syntax.open), self.mark(self.syntax.close));
        self.rule(match self.syntax.format {
            // One: Llama's template refuses an answer of several.
            ToolFormat::Llama => "calls: object".into(),
            _ => format!("calls: {open} rest"),
        });
        match self.syntax.format {
            ToolFormat::Hermes => {
                let more = more(format!("\"\\n\" {open} call"));
                self.rule(format!("rest: call{more}"));
                self.rule(format!("call: \"\\n\" object \"\\n\" {close}"));
            }
            ToolFormat::Mistral => {
                let more = more("\", \" object".into());
                self.rule(format!("rest: \" \"? \"[\" object{more} {close}"));
            }
            ToolFormat::Llama => {}
        }
        let tools: Vec<(usize, &Tool)> = match offer.choice {
            Choice::Named(index) => vec![(index, &offer.tools[index])],
            _ => offer.tools.iter().enumerate().collect(),
        };
        let objects = tools.iter().map(|(index, tool)| {
            let head = quoted(&self.syntax.head(&tool.name));
            format!("{head} arguments_{index} \"}}\"")
        });
        let objects = objects.collect::<Vec<_>>().join(" | ");
        self.rule(format!("object: {objects}"));
        for (index, tool) in tools {
            let none = || json!({"additionalProperties": false});
            let mut schema = tool.parameters.clone().unwrap_or_else(none);
            if let Value::Object(keys) = &mut schema {
                keys.entry("type").or_insert("object".into());
            }
            self.lines.push((
                format!("arguments_{index}: %json {}", compact(schema, !tool.strict)),
                format!("tools[{index}].function.parameters"),
            ));
        }
    }

    /// An answer that is no call and has a form of its own.
    fn answer(&mut self, asked: Asked) {
        let schema = match asked.constraint {
            Constraint::JsonSchema(schema) => schema,
            _ => json!({"type": "object"}),
        };
        let rule = format!("answer: %json {}", compact(schema, false));
        self.lines.push((rule, asked.field));
    }

    /// Any text, and calls behind it. The start's right side.
    fn text(&mut self) -> String {
        let Syntax { open, bare, .. } = *self.syntax;
        if bare {
            self.rule(r"TEXT: /\s*[^\s{](.|\n)*/");
            return "TEXT? | calls".into();
        }
        if self.syntax.special(open).is_some() {
            self.rule(r"TEXT: /(.|\n)+/");
            return "TEXT? calls?".into();
        }
        let mark = open.replace('[', "\\[").replace(']', "\\]");
        self.rule(format!(r"TEXT: /(.|\n)+/ & ~/(.|\n)*{mark}(.|\n)*/"));
        self.rule(format!(r"before[lazy]: /(.|\n)*{mark}/"));
        "TEXT? | before rest".into()
    }

    /// A mark, as text or as the token that it is.
    fn mark(&self, mark: &str) -> String {
        match self.syntax.special(mark) {
            Some(id) => format!("<[{id}]>"),
            None => quoted(mark),
        }
    }
}

/// A literal.
fn quoted(text: &str) -> String {
    Value::from(text).to_string()
}

/// A schema whose JSON is written as models know it, on one line. What a lenient one cannot follow is
/// not asked.
fn compact(mut schema: Value, lenient: bool) -> Value {
    if let Value::Object(keys) = &mut schema {
        let options = json!({"whitespace_flexible": false, "item_separator": ", ",
            "key_separator": ": ", "lenient": lenient});
        keys.insert("x-guidance".into(), options);
    }
    schema
}
