//! GBNF, the grammar form of llama.cpp and TextSynth.
//!
//! A grammar is read into rules, checked, and written as a Lark grammar: what does not recurse
//! becomes one regular expression, so that only real nesting costs a parser.

mod lark;
mod parse;

use tinderbox_protocol::Error;

use super::grammar::refused;

/// A rule: its name, the line it begins on, what it matches.
struct Rule {
    name: String,
    line: usize,
    body: Node,
}

/// What a rule matches.
enum Node {
    Literal(String),
    /// One character of the ranges, or of none of them.
    Class {
        negated: bool,
        ranges: Vec<(char, char)>,
    },
    /// Any one character.
    Any,
    /// A rule, by its number.
    Rule(usize),
    Sequence(Vec<Node>),
    Choice(Vec<Node>),
    /// At least and at most so often; `None` is without end.
    Repeat(Box<Node>, u32, Option<u32>),
}

/// The grammar as a Lark grammar.
///
/// # Errors
/// [`Error::Constraint`] with line and column, or the line of the rule.
pub(super) fn to_lark(grammar: &str) -> Result<String, Error> {
    let rules = parse::parse(grammar)?;
    lark::check(&rules)?;
    Ok(lark::write(&rules))
}

/// What is wrong with a rule.
fn wrong(rule: &Rule, what: &str) -> Error {
    refused(
        format!("line {}", rule.line),
        format!("the rule `{}` {what}", rule.name),
    )
}
