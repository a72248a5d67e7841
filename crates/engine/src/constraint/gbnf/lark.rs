//! GBNF's rules, checked and written in Lark.

use std::collections::BTreeSet;
use std::fmt::Write;

use tinderbox_protocol::Error;

use super::{Node, Rule, wrong};

/// Refuses rules that can never end, and rules that begin with themselves.
pub(super) fn check(rules: &[Rule]) -> Result<(), Error> {
    let ending = grow(rules, |node, ending| {
        node.holds(&|rule: usize| ending[rule], true)
    });
    if let Some(endless) = ending.iter().position(|ending| !ending) {
        return Err(wrong(&rules[endless], "never comes to an end"));
    }
    let empty = empty(rules);
    let first = |rule: &Rule| {
        let mut found = BTreeSet::new();
        rule.body.first(&empty, &mut found);
        found
    };
    let left: Vec<_> = rules.iter().map(first).collect();
    match cycle(&left) {
        Some(rule) => Err(wrong(
            &rules[rule],
            "begins with itself; put the repetition behind",
        )),
        None => Ok(()),
    }
}

/// The rules that match the empty text.
fn empty(rules: &[Rule]) -> Vec<bool> {
    grow(rules, |node, empty| {
        node.holds(&|rule: usize| empty[rule], false)
    })
}

/// What holds for each rule, where it follows from what holds for others.
fn grow(rules: &[Rule], holds: impl Fn(&Node, &[bool]) -> bool) -> Vec<bool> {
    let mut known = vec![false; rules.len()];
    loop {
        let mut grown = false;
        for (index, rule) in rules.iter().enumerate() {
            if !known[index] && holds(&rule.body, &known) {
                known[index] = true;
                grown = true;
            }
        }
        if !grown {
            return known;
        }
    }
}

/// The rules that lead into a cycle.
fn leading(edges: &[BTreeSet<usize>]) -> Vec<bool> {
    let mut leads = vec![true; edges.len()];
    loop {
        let done = |rule: &usize| leads[*rule] && !edges[*rule].iter().any(|next| leads[*next]);
        let done: Vec<usize> = (0..edges.len()).filter(done).collect();
        if done.is_empty() {
            return leads;
        }
        done.into_iter().for_each(|rule| leads[rule] = false);
    }
}

/// A rule of a cycle, if there is one.
fn cycle(edges: &[BTreeSet<usize>]) -> Option<usize> {
    let leads = leading(edges);
    let mut rule = leads.iter().position(|leads| *leads)?;
    let mut seen = BTreeSet::new();
    while seen.insert(rule) {
        rule = *edges[rule].iter().find(|next| leads[**next])?;
    }
    Some(rule)
}

impl Node {
    /// Whether it can match: a text that ends (`texts`), or the empty text, given the rules that can.
    fn holds(&self, rule: &impl Fn(usize) -> bool, texts: bool) -> bool {
        match self {
            Node::Literal(text) => texts || text.is_empty(),
            Node::Class { .. } | Node::Any => texts,
            Node::Rule(index) => rule(*index),
            Node::Sequence(nodes) => nodes.iter().all(|node| node.holds(rule, texts)),
            Node::Choice(nodes) => nodes.iter().any(|node| node.holds(rule, texts)),
            Node::Repeat(node, min, _) => *min == 0 || node.holds(rule, texts),
        }
    }

    /// The rules that can come first.
    fn first(&self, empty: &[bool], found: &mut BTreeSet<usize>) {
        match self {
            Node::Literal(_) | Node::Class { .. } | Node::Any => {}
            Node::Rule(index) => {
                found.insert(*index);
            }
            Node::Choice(nodes) => nodes.iter().for_each(|node| node.first(empty, found)),
            Node::Repeat(node, _, _) => node.first(empty, found),
            Node::Sequence(nodes) => {
                for node in nodes {
                    node.first(empty, found);
                    if !node.holds(&|rule: usize| empty[rule], false) {
                        return;
                    }
                }
            }
        }
    }

    /// All rules in it.
    fn rules(&self, found: &mut BTreeSet<usize>) {
        match self {
            Node::Literal(_) | Node::Class { .. } | Node::Any => {}
            Node::Rule(index) => {
                found.insert(*index);
            }
            Node::Sequence(nodes) | Node::Choice(nodes) => {
                nodes.iter().for_each(|node| node.rules(found));
            }
            Node::Repeat(node, _, _) => node.rules(found),
        }
    }
}

/// Writes checked rules. Names are numbers: `R1` is the terminal of a rule that does not recurse,
/// `r1` the rule of one that does, `A1` a terminal within one.
pub(super) fn write(rules: &[Rule]) -> String {
    let uses = |rule: &Rule| {
        let mut found = BTreeSet::new();
        rule.body.rules(&mut found);
        found
    };
    let uses: Vec<_> = rules.iter().map(uses).collect();
    let mut writer = Writer {
        recursive: leading(&uses),
        terminals: Vec::new(),
    };
    let mut lark = format!("start: {}\n", writer.name(0));
    for (index, rule) in rules.iter().enumerate() {
        let body = match writer.recursive[index] {
            true => writer.rule(&rule.body),
            false => writer.terminal(&rule.body),
        };
        let _ = writeln!(lark, "{}: {body}", writer.name(index));
    }
    for (index, terminal) in writer.terminals.iter().enumerate() {
        let _ = writeln!(lark, "A{index}: {terminal}");
    }
    lark
}

/// The empty text.
const EMPTY: &str = "\"\"";

struct Writer {
    /// The rules that recurse, or use one that does.
    recursive: Vec<bool>,
    /// What lies between them.
    terminals: Vec<String>,
}

impl Writer {
    fn name(&self, rule: usize) -> String {
        let letter = if self.recursive[rule] { 'r' } else { 'R' };
        format!("{letter}{rule}")
    }

    fn is_terminal(&self, node: &Node) -> bool {
        let mut rules = BTreeSet::new();
        node.rules(&mut rules);
        !rules.iter().any(|rule| self.recursive[*rule])
    }

    /// As part of a terminal.
    fn terminal(&self, node: &Node) -> String {
        let all = |nodes: &[Node], between: &str| {
            let all: Vec<String> = nodes.iter().map(|node| self.terminal(node)).collect();
            all.join(between)
        };
        match node {
            Node::Literal(text) if text.is_empty() => EMPTY.into(),
            Node::Literal(text) => format!("/{}/", text.chars().map(escaped).collect::<String>()),
            Node::Class { negated, ranges } => class(*negated, ranges),
            Node::Any => "/(?s:.)/".into(),
            Node::Rule(index) => self.name(*index),
            Node::Sequence(nodes) if nodes.is_empty() => EMPTY.into(),
            Node::Sequence(nodes) => format!("({})", all(nodes, " ")),
            Node::Choice(nodes) => format!("({})", all(nodes, " | ")),
            Node::Repeat(node, min, max) => repeated(&self.terminal(node), *min, *max),
        }
    }

    /// As part of a rule that recurses.
    fn rule(&mut self, node: &Node) -> String {
        if self.is_terminal(node) {
            return self.between(&[node]);
        }
        match node {
            Node::Rule(index) => self.name(*index),
            Node::Sequence(nodes) => {
                // Neighbours that do not recurse are one terminal.
                let mut parts = Vec::new();
                let mut run = Vec::new();
                for node in nodes {
                    if self.is_terminal(node) {
                        run.push(node);
                        continue;
                    }
                    if !run.is_empty() {
                        parts.push(self.between(&std::mem::take(&mut run)));
                    }
                    parts.push(self.rule(node));
                }
                if !run.is_empty() {
                    parts.push(self.between(&run));
                }
                format!("({})", parts.join(" "))
            }
            Node::Choice(nodes) => {
                let options: Vec<String> = nodes.iter().map(|node| self.rule(node)).collect();
                format!("({})", options.join(" | "))
            }
            Node::Repeat(node, min, max) => repeated(&self.rule(node), *min, *max),
            Node::Literal(_) | Node::Class { .. } | Node::Any => self.between(&[node]),
        }
    }

    /// A terminal of its own.
    fn between(&mut self, nodes: &[&Node]) -> String {
        let nodes: Vec<String> = nodes.iter().map(|node| self.terminal(node)).collect();
        if nodes.iter().all(|node| node == EMPTY) {
            return EMPTY.into();
        }
        self.terminals.push(nodes.join(" "));
        format!("A{}", self.terminals.len() - 1)
    }
}

fn repeated(node: &str, min: u32, max: Option<u32>) -> String {
    let max = max.map_or(String::new(), |max| max.to_string());
    match node.ends_with('}') {
        true => format!("({node}){{{min},{max}}}"),
        false => format!("{node}{{{min},{max}}}"),
    }
}

fn class(negated: bool, ranges: &[(char, char)]) -> String {
    if ranges.is_empty() {
        return "/(?s:.)/".into();
    }
    let range = |(first, last): &(char, char)| format!("{}-{}", escaped(*first), escaped(*last));
    let ranges: String = ranges.iter().map(range).collect();
    format!("/[{}{ranges}]/", if negated { "^" } else { "" })
}

/// A character of a regular expression.
fn escaped(c: char) -> String {
    match c.is_ascii_alphanumeric() {
        true => c.to_string(),
        false => format!("\\x{{{:x}}}", c as u32),
    }
}
