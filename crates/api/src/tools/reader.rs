//! Calls out of a text that comes in pieces.

use std::mem::take;

use serde::de::IgnoredAny;
use serde_json::Deserializer;

use super::offer::Tool;
use super::syntax::Syntax;

/// What is read next.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Part {
    Text(String),
    /// A call of this tool begins.
    Call(String),
    /// More of the last call's arguments, a JSON text.
    Arguments(String),
}

/// Reads an answer. What looks like a call and is none is text, as the model wrote it: no JSON, or
/// not one of the tools.
pub(crate) struct Reader {
    syntax: Syntax,
    names: Vec<String>,
    /// Calls are surely whole, because a grammar makes them: arguments are told as they come.
    surely: bool,
    /// Most calls; what is called beyond is left out.
    most: usize,
    /// Calls so far.
    calls: usize,
    state: State,
    /// Read before `held`, and text again should no call follow.
    mark: String,
    /// Not told yet.
    held: String,
    scan: Scan,
}

#[derive(Clone, Copy, PartialEq)]
enum State {
    Text,
    /// Behind the mark, or behind a call.
    Calls,
    Arguments,
    /// Behind the arguments.
    Tail,
}

impl Reader {
    pub fn new(syntax: Syntax, tools: &[Tool], surely: bool, most: usize) -> Reader {
        Reader {
            names: tools.iter().map(|tool| tool.name.clone()).collect(),
            surely,
            most,
            calls: 0,
            state: match syntax.bare {
                true => State::Calls,
                false => State::Text,
            },
            mark: String::new(),
            held: String::new(),
            scan: Scan::default(),
            syntax,
        }
    }

    /// How calls are written.
    pub fn syntax(&self) -> &Syntax {
        &self.syntax
    }

    /// What a piece of text makes certain.
    pub fn push(&mut self, text: &str) -> Vec<Part> {
        self.held.push_str(text);
        self.read(false)
    }

    /// What is left at the end. Of sure calls, one that was cut before its name is none.
    pub fn end(&mut self) -> Vec<Part> {
        if self.surely && (self.calls > 0 || !self.mark.is_empty()) {
            return Vec::new();
        }
        self.read(true)
    }

    fn read(&mut self, last: bool) -> Vec<Part> {
        let mut parts = Vec::new();
        loop {
            // Takes something from what is held, or leaves the state that cannot.
            let more = match self.state {
                State::Text => self.text(last, &mut parts),
                State::Calls => self.between(last, &mut parts),
                State::Arguments => self.arguments(&mut parts),
                State::Tail => self.tail(),
            };
            if !more {
                return parts;
            }
        }
    }

    /// Text up to the next mark. Space before a mark goes with it.
    fn text(&mut self, last: bool, parts: &mut Vec<Part>) -> bool {
        let found = self.held.find(self.syntax.open);
        let certain = match found {
            Some(at) => self.held[..at].trim_end().len(),
            None if last && self.calls == 0 => self.held.len(),
            None if last => self.held.trim_end().len(),
            None => {
                let mark = partial(&self.held, self.syntax.open);
                self.held[..self.held.len() - mark].trim_end().len()
            }
        };
        tell(self.held.drain(..certain).collect(), parts);
        match found {
            Some(at) => {
                let mark = at + self.syntax.open.len() - certain;
                self.mark = self.held.drain(..mark).collect();
                self.state = State::Calls;
            }
            None if last => self.held.clear(),
            None => {}
        }
        found.is_some()
    }

    /// A call, the end of calls, or something that is no call.
    fn between(&mut self, last: bool, parts: &mut Vec<Part>) -> bool {
        let between = |c: char| c.is_whitespace() || self.syntax.between.contains(&c);
        let rest = self.held.trim_start_matches(between);
        let at = self.held.len() - rest.len();
        let Syntax { open, close, .. } = self.syntax;
        if rest.starts_with('{') {
            return self.object(at, last, parts);
        }
        if !close.is_empty() && rest.starts_with(close) && self.mark.is_empty() {
            self.held.drain(..at + close.len());
            self.state = State::Text;
            return true;
        }
        if rest.starts_with(open) && self.mark.is_empty() {
            self.mark = self.held.drain(..at + open.len()).collect();
            return true;
        }
        let more = rest.is_empty() || open.starts_with(rest) || close.starts_with(rest);
        if more && !last {
            return false;
        }
        if rest.is_empty() && self.mark.is_empty() && self.calls > 0 {
            self.held.clear();
            return false;
        }
        if self.calls > 0 && self.mark.is_empty() {
            self.held.drain(..at);
        }
        self.no_call(parts)
    }

    /// What was taken for a call is text.
    fn no_call(&mut self, parts: &mut Vec<Part>) -> bool {
        tell(take(&mut self.mark), parts);
        self.state = State::Text;
        true
    }

    /// The object at `at`, where it is whole or sure.
    fn object(&mut self, at: usize, last: bool, parts: &mut Vec<Part>) -> bool {
        let object = &self.held[at..];
        if self.surely {
            let names = self.names.iter();
            let mut heads = names.map(|name| (name, self.syntax.head(name)));
            if let Some((name, head)) = heads.find(|(_, head)| object.starts_with(head)) {
                let call = Part::Call(name.clone());
                self.call(call, parts);
                self.held.drain(..at + head.len());
                self.scan = Scan::default();
                self.state = State::Arguments;
                return true;
            }
        }
        let Some(length) = self.scan.end(object) else {
            return last && self.no_call(parts);
        };
        self.scan = Scan::default();
        let Some((name, arguments)) = fields(&object[..length], self.syntax.arguments) else {
            return self.no_call(parts);
        };
        if !self.names.contains(&name) {
            return self.no_call(parts);
        }
        self.call(Part::Call(name), parts);
        self.more(arguments, parts);
        self.held.drain(..at + length);
        true
    }

    fn call(&mut self, call: Part, parts: &mut Vec<Part>) {
        self.mark.clear();
        self.calls += 1;
        if self.calls <= self.most {
            parts.push(call);
        }
    }

    fn more(&mut self, arguments: String, parts: &mut Vec<Part>) {
        if self.calls <= self.most && !arguments.is_empty() {
            parts.push(Part::Arguments(arguments));
        }
    }

    fn arguments(&mut self, parts: &mut Vec<Part>) -> bool {
        let end = self.scan.end(&self.held);
        let told: String = match end {
            Some(length) => self.held.drain(..length).collect(),
            None => take(&mut self.held),
        };
        self.scan.told();
        self.more(told, parts);
        if end.is_some() {
            self.scan = Scan::default();
            self.state = State::Tail;
        }
        end.is_some()
    }

    fn tail(&mut self) -> bool {
        let rest = self.held.trim_start();
        if rest.is_empty() {
            return false;
        }
        let end = self.held.len() - rest.strip_prefix('}').unwrap_or(rest).len();
        self.held.drain(..end);
        self.state = State::Calls;
        true
    }
}

fn tell(text: String, parts: &mut Vec<Part>) {
    if !text.is_empty() {
        parts.push(Part::Text(text));
    }
}

/// Bytes at a text's end that may become the mark.
fn partial(text: &str, mark: &str) -> usize {
    let lengths = (1..mark.len()).rev();
    let mut there = lengths.filter(|length| text.ends_with(&mark[..*length]));
    there.next().unwrap_or(0)
}

/// Name and arguments of a call.
fn fields(object: &str, arguments: &str) -> Option<(String, String)> {
    serde_json::from_str::<IgnoredAny>(object).ok()?;
    let mut rest = object.strip_prefix('{')?.trim_start();
    let (mut name, mut found) = (None, None);
    while !rest.starts_with('}') {
        let mut keys = Deserializer::from_str(rest).into_iter::<String>();
        let key = keys.next()?.ok()?;
        let value = rest[keys.byte_offset()..].trim_start().strip_prefix(':')?;
        let value = value.trim_start();
        let mut values = Deserializer::from_str(value).into_iter::<IgnoredAny>();
        values.next()?.ok()?;
        let (value, behind) = value.split_at(values.byte_offset());
        match key.as_str() {
            "name" => name = serde_json::from_str(value).ok(),
            key if key == arguments => found = value.starts_with('{').then(|| value.to_owned()),
            _ => {}
        }
        rest = behind.trim_start();
        rest = rest.strip_prefix(',').map_or(rest, str::trim_start);
    }
    Some((name?, found?))
}

/// Looks for the end of a JSON object.
#[derive(Default)]
struct Scan {
    /// Bytes looked at.
    seen: usize,
    depth: usize,
    string: bool,
    escaped: bool,
}

impl Scan {
    /// Bytes of the object that the text begins with, once it is whole.
    fn end(&mut self, text: &str) -> Option<usize> {
        for (at, byte) in text.bytes().enumerate().skip(self.seen) {
            self.seen = at + 1;
            match byte {
                _ if self.escaped => self.escaped = false,
                b'\\' if self.string => self.escaped = true,
                b'"' => self.string = !self.string,
                _ if self.string => {}
                b'{' | b'[' => self.depth += 1,
                b'}' | b']' => {
                    self.depth = self.depth.saturating_sub(1);
                    if self.depth == 0 {
                        return Some(self.seen);
                    }
                }
                _ => {}
            }
        }
        None
    }

    /// The text that was looked at is gone.
    fn told(&mut self) {
        self.seen = 0;
    }
}

#[cfg(all(test, not(target_arch = "wasm32")))]
#[path = "reader_tests.rs"]
mod tests;
