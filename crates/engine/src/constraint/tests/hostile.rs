//! Constraints made to cost much: each is an error or a guide, with bounded time and memory.

use serde_json::{Value, json};
use tinderbox_protocol::{Constraint, Error};

use super::{Guides, guides, schema};

/// Compiles, and walks some tokens where that succeeds. Answers whether it was followed.
fn tried(guides: &Guides, constraint: &Constraint) -> bool {
    let guide = match guides.guide(constraint) {
        Ok(guide) => guide,
        Err(Error::Constraint { .. }) => return false,
        Err(other) => panic!("{other:?}"),
    };
    let mut walk = guide.start();
    for _ in 0..30 {
        let taken = walk.mask(true).cloned().and_then(|mask| {
            let first = mask.first_bit_set().unwrap_or_default();
            walk.take(first as u32)
        });
        match taken {
            Ok(false) => {}
            Ok(true) | Err(Error::Constraint { .. }) => break,
            Err(other) => panic!("{other:?}"),
        }
    }
    true
}

fn nested(depth: usize, wrap: impl Fn(Value) -> Value) -> Value {
    (0..depth).fold(json!({"type": "null"}), |inner, _| wrap(inner))
}

/// A chain of definitions, each of which refers to the next.
fn chain(length: usize, link: impl Fn(String) -> Value) -> Value {
    let link = |i: usize| {
        (
            format!("d{i}"),
            link(format!("#/$defs/d{}", (i + 1) % length)),
        )
    };
    let defs: serde_json::Map<_, _> = (0..length).map(link).collect();
    json!({"$ref": "#/$defs/d0", "$defs": defs})
}

#[test]
fn deep_schemas() {
    let guides = guides();
    for depth in [100, 120] {
        assert!(tried(
            &guides,
            &schema(nested(depth, |s| json!({"type": "array", "items": s})))
        ));
        let object = |s| json!({"type": "object", "properties": {"a": s}, "required": ["a"]});
        assert!(tried(&guides, &schema(nested(depth, object))));
        tried(
            &guides,
            &schema(nested(depth, |s| json!({"anyOf": [s, {"type": "object"}]}))),
        );
        tried(&guides, &schema(nested(depth, |s| json!({"allOf": [s]}))));
    }
    let link = |next| json!({"type": "object", "properties": {"a": {"$ref": next}}});
    assert!(tried(&guides, &schema(chain(490, link))));
    assert!(!tried(&guides, &schema(chain(3000, link))));
    let sibling = |next| json!({"type": "array", "items": {"$ref": next, "minItems": 1}});
    tried(&guides, &schema(chain(400, sibling)));
    tried(&guides, &schema(chain(3, |next| json!({"$ref": next}))));
    let doubled = |next: String| json!({"allOf": [{"$ref": next.clone()}, {"$ref": next}]});
    tried(&guides, &schema(chain(30, doubled)));
}

#[test]
fn wide_schemas() {
    let guides = guides();
    let names: Vec<String> = (0..10_000).map(|i| format!("name {i}")).collect();
    assert!(tried(&guides, &schema(json!({"enum": names}))));
    let many: Vec<String> = (0..60_000).map(|i| format!("{i}")).collect();
    assert!(
        !tried(&guides, &schema(json!({"enum": many}))),
        "more bytes than are read"
    );
    let properties: serde_json::Map<_, _> = names
        .iter()
        .take(2000)
        .map(|name| (name.clone(), json!({"type": "integer"})))
        .collect();
    tried(
        &guides,
        &schema(json!({"type": "object", "properties": properties})),
    );

    let one = |key: &str, i: i32| json!({"properties": {key: {"const": i}}, "required": [key]});
    let choice = |key: &str| json!({"oneOf": (0..200).map(|i| one(key, i)).collect::<Vec<_>>()});
    let product = json!({"allOf": [choice("a"), choice("b"), choice("c")]});
    assert!(
        !tried(&guides, &schema(product)),
        "more combinations than are multiplied out"
    );
}

#[test]
fn large_numbers() {
    let guides = guides();
    for bounds in [
        json!({"type": "string", "maxLength": 4_000_000_000u64}),
        json!({"type": "string", "minLength": 1_000_000, "maxLength": 2_000_000}),
        json!({"type": "string", "pattern": "^(a|b|ab)*c$", "minLength": 5000, "maxLength": 10_000}),
        json!({"type": "array", "items": {"type": "string"}, "minItems": 1_000_000_000}),
        json!({"type": "array", "maxItems": u64::MAX}),
        json!({"type": "number", "multipleOf": 1e-300}),
        json!({"type": "number", "minimum": -1e300, "maximum": 1e300}),
        json!({"type": "integer", "minimum": 1e300}),
    ] {
        tried(&guides, &schema(bounds));
    }
    let multiple = |of: u32| json!({"type": "integer", "multipleOf": of});
    assert!(tried(&guides, &schema(multiple(10_007))));
    assert!(!tried(&guides, &schema(multiple(1_000_003))));
    let both = json!({"allOf": [multiple(997), multiple(991)]});
    assert!(!tried(&guides, &schema(both)));
}

#[test]
fn exponential_expressions() {
    let guides = guides();
    for expression in [
        "(a|b)*a(a|b){30}",
        "((a{1,100}){1,100}){1,100}",
        "(.*a.*b.*c.*d.*){50}",
        "(((((((((a?)?)?)?)?)?)?)?)?)*",
        "\\w{1,1000}\\s\\w{1,1000}",
        "(x+x+)+y",
    ] {
        tried(&guides, &Constraint::Regex(expression.into()));
        let pattern = json!({"type": "string", "pattern": expression});
        tried(&guides, &schema(pattern));
    }
    assert!(!tried(&guides, &Constraint::Regex("(".repeat(100_000))));
    assert!(!tried(&guides, &Constraint::Regex("a".repeat(300_000))));
}

#[test]
fn schemas_within_lark_grammars_are_checked_too() {
    let lark = |schema: Value| Constraint::Lark(format!("start: \"x\"\n | a\na: %json {schema}"));
    let refused = super::refusal(&lark(json!({"items": {"not": {}}})));
    assert_eq!(refused.0, "line 3, column 4");
    assert!(refused.1.starts_with("/items/not: "), "{}", refused.1);
    let lenient = json!({"items": {"not": {}}, "x-guidance": {"lenient": true}});
    assert!(tried(&guides(), &lark(lenient)));
    let link = |next| json!({"type": "array", "items": {"$ref": next}});
    assert!(!tried(&guides(), &lark(chain(3000, link))));
}

#[test]
fn lark_grammars() {
    let guides = guides();
    let chain = |length: usize| {
        let link = |i: usize| format!("a{i}: \"x\" a{}\n", i + 1);
        let rules: String = (0..length).map(link).collect();
        format!("start: a0\n{rules}a{length}: \"y\"\n")
    };
    assert!(tried(&guides, &Constraint::Lark(chain(9_000))));
    assert!(!tried(&guides, &Constraint::Lark(chain(10_000))));
    for grammar in [
        format!("start: {}\"a\"{}", "(".repeat(10_000), ")".repeat(10_000)),
        "start: start start | \"a\"".into(),
        "start: %json {\"$ref\": \"#/x\"}".into(),
        "start: (\"a\" | \"a\" | \"aa\")* start | \"b\"".into(),
        "start: <[0-1000000]>".into(),
        "start: \"a\" ~ 1..1000000000".into(),
        "%import nothing.NAME\nstart: NAME".into(),
        String::new(),
    ] {
        tried(&guides, &Constraint::Lark(grammar));
    }
}
