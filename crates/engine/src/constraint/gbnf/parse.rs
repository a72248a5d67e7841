//! Reading GBNF.

use std::collections::BTreeMap;

use tinderbox_protocol::Error;

use super::{Node, Rule};
use crate::constraint::grammar::refused;

/// Most parentheses within each other. Lark takes 29, and each of these becomes two.
const NESTING: usize = 12;

/// Most rules: compiling recurses from rule to rule.
#[cfg(feature = "threads")]
const RULES: usize = 1000;
#[cfg(not(feature = "threads"))]
const RULES: usize = 100;

/// Most repetitions that are counted.
const REPETITIONS: u32 = 2000;

/// The rules of a grammar, `root` first.
///
/// # Errors
/// Whatever is not GBNF, with line and column; a name without a rule, by name.
pub(super) fn parse(text: &str) -> Result<Vec<Rule>, Error> {
    let mut parser = Parser {
        chars: text.chars().collect(),
        at: 0,
        nesting: 0,
        names: Vec::new(),
        numbers: BTreeMap::new(),
    };
    parser.number("root", 0)?;
    let mut bodies = BTreeMap::new();
    parser.space(true);
    while parser.at < parser.chars.len() {
        let start = parser.at;
        let name = parser.name()?;
        let number = parser.number(&name, start)?;
        parser.space(false);
        parser.expect("::=")?;
        parser.space(true);
        let body = parser.choice()?;
        if bodies.insert(number, (start, body)).is_some() {
            return Err(parser.error(start, format!("the rule `{name}` is there twice")));
        }
        parser.space(false);
        if !matches!(parser.peek(), None | Some('\n')) {
            return Err(parser.error(parser.at, "expected `|`, an element or the end of the line"));
        }
        parser.space(true);
    }
    let mut rules = Vec::new();
    for (number, (name, used)) in parser.names.iter().enumerate() {
        let Some((start, body)) = bodies.remove(&number) else {
            return Err(match number {
                0 => refused("", "there is no rule `root`"),
                _ => parser.error(*used, format!("there is no rule `{name}`")),
            });
        };
        let (line, _) = parser.place(start);
        rules.push(Rule {
            name: name.clone(),
            line,
            body,
        });
    }
    Ok(rules)
}

struct Parser {
    chars: Vec<char>,
    at: usize,
    nesting: usize,
    /// By number: the name, and where it was met first.
    names: Vec<(String, usize)>,
    numbers: BTreeMap<String, usize>,
}

impl Parser {
    fn peek(&self) -> Option<char> {
        self.chars.get(self.at).copied()
    }

    fn next(&mut self) -> Option<char> {
        let next = self.peek();
        self.at += usize::from(next.is_some());
        next
    }

    /// Takes `c` if it is the next.
    fn take(&mut self, c: char) -> bool {
        let found = self.peek() == Some(c);
        self.at += usize::from(found);
        found
    }

    fn expect(&mut self, text: &str) -> Result<(), Error> {
        let start = self.at;
        match text.chars().all(|c| self.take(c)) {
            true => Ok(()),
            false => Err(self.error(start, format!("expected `{text}`"))),
        }
    }

    /// Skips white space and comments, line breaks only where they mean nothing.
    fn space(&mut self, breaks: bool) {
        while let Some(c) = self.peek() {
            match c {
                '#' => {
                    while !matches!(self.peek(), None | Some('\n')) {
                        self.at += 1;
                    }
                }
                '\n' if breaks => self.at += 1,
                ' ' | '\t' | '\r' => self.at += 1,
                _ => return,
            }
        }
    }

    fn name(&mut self) -> Result<String, Error> {
        let start = self.at;
        while self
            .peek()
            .is_some_and(|c| c.is_ascii_alphanumeric() || c == '-' || c == '_')
        {
            self.at += 1;
        }
        match self.at > start {
            true => Ok(self.chars[start..self.at].iter().collect()),
            false => Err(self.error(start, "expected the name of a rule")),
        }
    }

    /// The number of a rule; new ones are counted on.
    fn number(&mut self, name: &str, start: usize) -> Result<usize, Error> {
        if let Some(number) = self.numbers.get(name) {
            return Ok(*number);
        }
        let number = self.names.len();
        if number == RULES {
            return Err(self.error(start, format!("more than {RULES} rules")));
        }
        self.names.push((name.into(), start));
        self.numbers.insert(name.into(), number);
        Ok(number)
    }

    fn choice(&mut self) -> Result<Node, Error> {
        let mut options = vec![self.sequence()?];
        loop {
            let before = self.at;
            // A line that begins with a bar goes on.
            self.space(true);
            if !self.take('|') {
                self.at = before;
                break;
            }
            self.space(true);
            options.push(self.sequence()?);
        }
        Ok(match options.len() {
            1 => options.remove(0),
            _ => Node::Choice(options),
        })
    }

    fn sequence(&mut self) -> Result<Node, Error> {
        let mut nodes = Vec::new();
        loop {
            self.space(self.nesting > 0);
            match self.peek() {
                None | Some('\n' | '|' | ')') => break,
                Some(_) => {
                    let element = self.element()?;
                    nodes.push(self.repeated(element)?);
                }
            }
        }
        Ok(match nodes.len() {
            1 => nodes.remove(0),
            _ => Node::Sequence(nodes),
        })
    }

    fn element(&mut self) -> Result<Node, Error> {
        let start = self.at;
        if self.take('"') {
            return self.literal(start).map(Node::Literal);
        }
        if self.take('[') {
            return self.class(start);
        }
        if self.take('.') {
            return Ok(Node::Any);
        }
        if self.take('(') {
            self.nesting += 1;
            if self.nesting > NESTING {
                return Err(self.error(start, format!("more than {NESTING} parentheses nested")));
            }
            let node = self.choice()?;
            self.space(true);
            self.nesting -= 1;
            self.expect(")")?;
            return Ok(node);
        }
        if !self.peek().is_some_and(|c| c.is_ascii_alphanumeric()) {
            return Err(self.error(
                start,
                "expected a quoted text, a class, a rule or a parenthesis",
            ));
        }
        let name = self.name()?;
        self.number(&name, start).map(Node::Rule)
    }

    /// The element with what says how often.
    fn repeated(&mut self, node: Node) -> Result<Node, Error> {
        let start = self.at;
        let (min, max) = match self.peek() {
            Some('*') => (0, None),
            Some('+') => (1, None),
            Some('?') => (0, Some(1)),
            Some('{') => return self.counted(node),
            _ => return Ok(node),
        };
        self.at += 1;
        self.space(false);
        if matches!(self.peek(), Some('*' | '+' | '?' | '{')) {
            return Err(self.error(start, "repeated twice; put the first into parentheses"));
        }
        Ok(Node::Repeat(Box::new(node), min, max))
    }

    fn counted(&mut self, node: Node) -> Result<Node, Error> {
        let start = self.at;
        self.at += 1;
        let min = self.count()?;
        self.space(false);
        let max = match self.take(',') {
            false => Some(min.unwrap_or(0)),
            true => self.count()?,
        };
        self.expect("}")?;
        let min = min.unwrap_or(0);
        match max {
            Some(max) if max < min || (min, max) == (0, 0) => {
                Err(self.error(start, "repeated at most so often, and that is never"))
            }
            _ => Ok(Node::Repeat(Box::new(node), min, max)),
        }
    }

    /// A number, if there is one.
    fn count(&mut self) -> Result<Option<u32>, Error> {
        self.space(false);
        let start = self.at;
        let mut count = None;
        while let Some(digit) = self.peek().and_then(|c| c.to_digit(10)) {
            self.at += 1;
            let next = count.unwrap_or(0) * 10 + digit;
            if next > REPETITIONS {
                return Err(self.error(start, format!("more than {REPETITIONS} repetitions")));
            }
            count = Some(next);
        }
        self.space(false);
        Ok(count)
    }

    fn literal(&mut self, start: usize) -> Result<String, Error> {
        let mut text = String::new();
        while !self.take('"') {
            let unended = "a text that does not end on its line";
            match self.peek() {
                None | Some('\n') => return Err(self.error(start, unended)),
                Some(_) => text.push(self.character()?),
            }
        }
        Ok(text)
    }

    fn class(&mut self, start: usize) -> Result<Node, Error> {
        let negated = self.take('^');
        let mut ranges = Vec::new();
        while !self.take(']') {
            if matches!(self.peek(), None | Some('\n')) {
                return Err(self.error(start, "a class that does not end on its line"));
            }
            let here = self.at;
            let first = self.character()?;
            let range = self.peek() == Some('-') && self.chars.get(self.at + 1) != Some(&']');
            let last = match range {
                true => {
                    self.at += 1;
                    self.character()?
                }
                false => first,
            };
            if last < first {
                return Err(self.error(here, "a range that ends before it begins"));
            }
            ranges.push((first, last));
        }
        match ranges.is_empty() && !negated {
            true => Err(self.error(start, "a class of no characters")),
            false => Ok(Node::Class { negated, ranges }),
        }
    }

    /// One character, or its escape.
    fn character(&mut self) -> Result<char, Error> {
        let start = self.at;
        let unknown = "an escape is \\n, \\r, \\t, \\x, \\u, \\U with their digits, or of a sign";
        match self.next() {
            Some('\\') => {}
            Some(c) => return Ok(c),
            None => return Err(self.error(start, "expected a character")),
        }
        let digits = match self.next() {
            Some('n') => return Ok('\n'),
            Some('r') => return Ok('\r'),
            Some('t') => return Ok('\t'),
            Some('x') => 2,
            Some('u') => 4,
            Some('U') => 8,
            Some(c) if c.is_ascii_punctuation() => return Ok(c),
            _ => return Err(self.error(start, unknown)),
        };
        let mut code = 0;
        for _ in 0..digits {
            let digit = self.next().and_then(|c| c.to_digit(16));
            let digit = digit.ok_or_else(|| self.error(start, unknown))?;
            code = code << 4 | digit;
        }
        char::from_u32(code).ok_or_else(|| self.error(start, "no character has this number"))
    }

    /// Line and column of a character, from 1.
    fn place(&self, at: usize) -> (usize, usize) {
        let before = &self.chars[..at.min(self.chars.len())];
        let line = before.iter().filter(|c| **c == '\n').count() + 1;
        let column = before.iter().rev().take_while(|c| **c != '\n').count() + 1;
        (line, column)
    }

    fn error(&self, at: usize, reason: impl Into<String>) -> Error {
        let (line, column) = self.place(at);
        refused(format!("line {line}, column {column}"), reason)
    }
}
