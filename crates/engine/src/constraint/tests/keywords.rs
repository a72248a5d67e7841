//! Each keyword of JSON Schema: what must be accepted, what must not, what is refused and where.

use serde_json::{Value, json};
use tinderbox_protocol::Constraint;

use super::{accepts, guides, refusal, schema};

/// Accepts all of `valid`, and none of `invalid`; boon judges both too.
fn check(of: Value, valid: &[Value], invalid: &[Value]) {
    let guide = guides()
        .guide(&schema(of.clone()))
        .unwrap_or_else(|error| panic!("{of}: {error}"));
    for (instances, expected) in [(valid, true), (invalid, false)] {
        for instance in instances {
            assert_eq!(
                super::schemas::validates(&of, instance),
                expected,
                "boon: {of} {instance}"
            );
            let text = instance.to_string();
            assert_eq!(accepts(&guide, &text), expected, "{of} {text}");
        }
    }
}

#[test]
fn types() {
    let all = [
        json!(null),
        json!(true),
        json!(-1.5e3),
        json!(7),
        json!("é😀 \n\"\\"),
        json!([1, "a"]),
        json!({"a": {"b": []}}),
    ];
    check(json!({}), &all, &[]);
    check(json!(true), &all, &[]);
    for (name, own) in [
        ("null", &[0][..]),
        ("boolean", &[1][..]),
        ("number", &[2, 3][..]),
        ("integer", &[3][..]),
        ("string", &[4][..]),
        ("array", &[5][..]),
        ("object", &[6][..]),
    ] {
        // -1500 is an integer to a validator, and written with an exponent it is none to a mask.
        let other = |i: &usize| !(own.contains(i) || name == "integer" && *i == 2);
        let (own, other): (Vec<_>, Vec<_>) = (
            own.iter().map(|i| all[*i].clone()).collect(),
            (0..all.len())
                .filter(other)
                .map(|i| all[i].clone())
                .collect(),
        );
        check(json!({"type": name}), &own, &other);
    }
    check(
        json!({"type": ["null", "integer"]}),
        &[json!(null), json!(3)],
        &[json!("3"), json!(0.5)],
    );
}

#[test]
fn constants_and_enumerations() {
    check(
        json!({"const": "a\"b"}),
        &[json!("a\"b")],
        &[json!("a"), json!("a\"bc"), json!(null)],
    );
    check(
        json!({"const": 3}),
        &[json!(3)],
        &[json!(33), json!(-3), json!("3")],
    );
    check(
        json!({"const": {"a": [1, null]}}),
        &[json!({"a": [1, null]})],
        &[json!({"a": [1]})],
    );
    check(
        json!({"enum": ["red", "green", 5, null, false]}),
        &[
            json!("red"),
            json!("green"),
            json!(5),
            json!(null),
            json!(false),
        ],
        &[json!("blue"), json!("re"), json!(true), json!(55)],
    );
    check(
        json!({"type": "string", "enum": ["a", "b", 1]}),
        &[json!("a")],
        &[json!(1), json!("c")],
    );
}

#[test]
fn numbers() {
    check(
        json!({"type": "integer", "minimum": -3, "maximum": 12}),
        &[json!(-3), json!(0), json!(9), json!(10), json!(12)],
        &[json!(-4), json!(13), json!(100), json!(-30)],
    );
    check(
        json!({"type": "number", "exclusiveMinimum": 0, "exclusiveMaximum": 1}),
        &[json!(0.5), json!(0.001), json!(0.999)],
        &[json!(0), json!(1), json!(1.5), json!(-0.5)],
    );
    check(
        json!({"type": "number", "minimum": 2.5}),
        &[json!(2.5), json!(1000)],
        &[json!(2.4)],
    );
    check(
        json!({"type": "integer", "multipleOf": 7}),
        &[json!(0), json!(7), json!(21), json!(-14)],
        &[json!(1), json!(22), json!(-15)],
    );
}

#[test]
fn strings() {
    check(
        json!({"type": "string", "minLength": 2, "maxLength": 4.0}),
        &[json!("ab"), json!("é😀"), json!("a\nbc")],
        &[json!("a"), json!("abcde"), json!("")],
    );
    check(
        json!({"type": "string", "pattern": "^[a-z]+-\\d{2}$"}),
        &[json!("ab-12")],
        &[json!("ab-1"), json!("AB-12"), json!("x ab-12")],
    );
    check(
        json!({"type": "string", "format": "date", "pattern": "^2"}),
        &[json!("2024-02-29")],
        &[json!("2023-02-29"), json!("1999-01-01")],
    );
    check(
        json!({"type": "string", "pattern": "^[^\\x00-\\x1f]+$"}),
        &[json!("ab")],
        &[json!("a\nb")],
    );
    check(
        json!({"type": "string", "pattern": "b"}),
        &[json!("abc"), json!("b")],
        &[json!("ac")],
    );
    for (format, valid, invalid) in [
        ("date", "2024-02-29", "2024-13-01"),
        ("date", "2000-02-29", "1900-02-29"),
        ("time", "12:30:00Z", "25:00:00Z"),
        ("date-time", "2024-02-29T12:30:00+01:00", "2024-02-29"),
        ("date-time", "2023-12-31T23:59:59Z", "2023-02-29T12:30:00Z"),
        ("time", "23:59:59.5Z", "12:59:60Z"),
        ("duration", "P3DT4H", "3 days"),
        ("email", "ann@example.org", "ann"),
        ("hostname", "www.example.org", "-a-"),
        ("ipv4", "192.168.0.1", "256.1.1.1"),
        ("ipv6", "::1", "12345::"),
        ("uuid", "123e4567-e89b-12d3-a456-426614174000", "123e4567"),
        ("uri", "https://example.org/a?b=c#d", "not a uri"),
    ] {
        check(
            json!({"type": "string", "format": format}),
            &[json!(valid)],
            &[json!(invalid)],
        );
    }
}

#[test]
fn objects() {
    let person = json!({
        "type": "object",
        "properties": {"name": {"type": "string"}, "age": {"type": "integer"}},
        "required": ["name"],
        "additionalProperties": false,
    });
    check(
        person.clone(),
        &[json!({"name": "Ann", "age": 3}), json!({"name": ""})],
        &[
            json!({}),
            json!({"age": 3}),
            json!({"name": 3}),
            json!({"name": "Ann", "b": 1}),
        ],
    );
    let order = guides().guide(&schema(person)).unwrap();
    assert!(
        !accepts(&order, r#"{"age": 3, "name": "Ann"}"#),
        "the schema's order is kept"
    );
    check(
        json!({"properties": {"a": {"type": "null"}}, "additionalProperties": {"type": "integer"}}),
        &[
            json!({"a": null, "b": 1, "c": 2}),
            json!({"b": 1}),
            json!({}),
        ],
        &[json!({"a": 1}), json!({"b": null})],
    );
    check(
        json!({"type": "object", "required": ["x"]}),
        &[json!({"x": 1}), json!({"x": 1, "y": 2})],
        &[json!({}), json!({"y": 2}), json!([])],
    );
    check(
        json!({
            "type": "object",
            "patternProperties": {"^n_": {"type": "integer"}},
            "additionalProperties": false,
        }),
        &[json!({}), json!({"n_a": 1, "n_b": 2})],
        &[json!({"a": 1}), json!({"n_a": "1"})],
    );
    check(
        json!({"type": "object", "minProperties": 1, "maxProperties": 2}),
        &[json!({"a": 1}), json!({"a": 1, "b": 2})],
        &[json!({}), json!({"a": 1, "b": 2, "c": 3})],
    );
}

#[test]
fn arrays() {
    check(
        json!({"type": "array", "items": {"type": "integer"}, "minItems": 1, "maxItems": 3}),
        &[json!([1]), json!([1, 2, 3])],
        &[json!([]), json!([1, 2, 3, 4]), json!(["a"])],
    );
    check(
        json!({"type": "array", "prefixItems": [{"type": "null"}, {"const": 1}], "items": false}),
        &[json!([]), json!([null]), json!([null, 1])],
        &[json!([1]), json!([null, 1, 2])],
    );
    check(
        json!({"type": "array", "prefixItems": [{"type": "null"}], "items": {"type": "string"}}),
        &[json!([null, "a", "b"])],
        &[json!(["a"]), json!([null, 1])],
    );
}

#[test]
fn combinations_and_references() {
    check(
        json!({"anyOf": [{"type": "integer"}, {"const": "none"}]}),
        &[json!(3), json!("none")],
        &[json!("some"), json!(null)],
    );
    check(
        json!({"oneOf": [
            {"type": "object", "properties": {"k": {"const": "a"}, "x": {"type": "integer"}},
             "required": ["k", "x"], "additionalProperties": false},
            {"type": "object", "properties": {"k": {"const": "b"}, "y": {"type": "null"}},
             "required": ["k", "y"], "additionalProperties": false},
        ]}),
        &[json!({"k": "a", "x": 1}), json!({"k": "b", "y": null})],
        &[json!({"k": "a", "y": null}), json!({"k": "c"})],
    );
    check(
        json!({"allOf": [{"type": "integer"}, {"minimum": 3}, {"maximum": 5}]}),
        &[json!(3), json!(5)],
        &[json!(2), json!(6), json!("3")],
    );
    check(
        json!({
            "$ref": "#/$defs/list",
            "$defs": {"list": {
                "type": "object",
                "properties": {"head": {"type": "integer"}, "tail": {"anyOf": [
                    {"$ref": "#/$defs/list"}, {"type": "null"},
                ]}},
                "required": ["head", "tail"],
                "additionalProperties": false,
            }},
        }),
        &[
            json!({"head": 1, "tail": null}),
            json!({"head": 1, "tail": {"head": 2, "tail": null}}),
        ],
        &[json!({"head": 1}), json!({"head": 1, "tail": {"head": 2}})],
    );
    check(
        json!({"type": "array", "items": {"$ref": "#"}}),
        &[json!([]), json!([[], [[]]])],
        &[json!([1]), json!({})],
    );
}

#[test]
fn keywords_that_are_read_together_may_stand_apart() {
    check(
        json!({
            "$schema": "http://json-schema.org/draft-07/schema#",
            "items": [{"type": "null"}],
            "allOf": [{"maxItems": 2}],
            "additionalItems": {"type": "integer"},
        }),
        &[json!([null]), json!([null, 1])],
        &[json!([null, "a"]), json!([null, 1, 2])],
    );
    check(
        json!({
            "type": "object",
            "patternProperties": {"^n_": {}},
            "allOf": [{"required": ["n_a"]}],
            "additionalProperties": false,
        }),
        &[json!({"n_a": 1}), json!({"n_a": 1, "n_b": 2})],
        &[json!({"n_b": 1}), json!({"n_a": 1, "a": 1})],
    );
}

#[test]
fn a_schema_within_a_grammar_is_followed_as_closely() {
    let grammar = "start: date\ndate: %json {\n\"type\": \"string\", \"format\": \"date\"}\n";
    let lark = |grammar: &str| Constraint::Lark(grammar.into());
    let guide = guides().guide(&lark(grammar)).unwrap();
    assert!(accepts(&guide, "\"2024-02-29\""));
    assert!(!accepts(&guide, "\"2023-02-29\""));
    let (place, _) = refusal(&lark(&format!("{grammar}wrong: )")));
    assert!(place.starts_with("line 4,"), "{place}");
}

#[test]
fn annotations_and_unknown_words_change_nothing() {
    check(
        json!({
            "$schema": "https://json-schema.org/draft/2020-12/schema", "title": "T", "default": 3,
            "description": "d", "examples": [1], "deprecated": true, "readOnly": true,
            "$comment": "c", "discriminator": {"propertyName": "k"}, "type": "integer",
        }),
        &[json!(3)],
        &[json!("3")],
    );
}

#[test]
fn what_masks_cannot_keep_is_refused_with_its_place() {
    let deep = |keyword: &str, value: Value| json!({"type": "object", "properties": {"a/b": {"items": [{}, {keyword: value}]}}});
    for (keyword, value) in [
        ("not", json!({"type": "null"})),
        ("if", json!({})),
        ("then", json!({})),
        ("else", json!({})),
        ("contains", json!({})),
        ("minContains", json!(1)),
        ("maxContains", json!(1)),
        ("uniqueItems", json!(true)),
        ("propertyNames", json!({})),
        ("dependentRequired", json!({})),
        ("dependentSchemas", json!({})),
        ("dependencies", json!({})),
        ("unevaluatedItems", json!(false)),
        ("unevaluatedProperties", json!(false)),
        ("$dynamicRef", json!("#a")),
        ("x-guidance", json!({"lenient": true})),
        ("$id", json!("http://a")),
        ("format", json!("regex")),
        ("minProperties", json!(2)),
        ("const", json!(u64::MAX)),
        ("const", json!(["a\0b"])),
        ("enum", json!(["ab", "a\u{7f}b"])),
        ("pattern", json!("^a\\x00b$")),
        ("multipleOf", json!(1_000_003)),
        ("$ref", json!("#/nowhere")),
        ("$ref", json!("http://example.org/schema")),
    ] {
        let (place, reason) = refusal(&schema(deep(keyword, value)));
        assert_eq!(
            place,
            format!("/properties/a~1b/items/1/{keyword}"),
            "{reason}"
        );
    }
    let name = json!({"patternProperties": {"a\u{1}b": {}}});
    assert_eq!(refusal(&schema(name)).0, "/patternProperties/a\u{1}b");
    let in_definition = json!({"$ref": "#/$defs/a", "$defs": {"a": {"not": {}}, "b": {"if": 1}}});
    assert_eq!(refusal(&schema(in_definition)).0, "/$defs/a/not");
    assert_eq!(
        refusal(&schema(json!({"properties": {"a": 3}}))).0,
        "/properties/a"
    );
}

#[test]
fn what_cannot_be_fulfilled_is_refused() {
    for impossible in [
        json!(false),
        json!({"type": "object", "properties": {"a": false}, "required": ["a"]}),
        json!({"type": "integer", "minimum": 3, "maximum": 2}),
        json!({"type": "string", "minLength": 3, "maxLength": 2}),
        json!({"allOf": [{"type": "string"}, {"type": "null"}]}),
        json!({"type": "string", "pattern": "(?=a)b"}),
        json!({"type": "wrong"}),
        json!({"oneOf": [{"type": "integer"}, {"type": "number"}]}),
    ] {
        let (_, reason) = refusal(&schema(impossible));
        assert!(
            !reason.is_empty() && !reason.contains(['\n', '<']),
            "{reason}"
        );
    }
}

#[test]
fn json_objects_are_objects_with_bounded_white_space() {
    let guide = guides().guide(&Constraint::JsonObject).unwrap();
    for text in [
        "{}",
        r#"{"a":1}"#,
        r#"{"a": [1, {"b": null}], "c": "d"}"#,
        "{\n    \"a\": [\n        true\n    ]\n}",
    ] {
        assert!(accepts(&guide, text), "{text}");
    }
    for text in [
        "[]",
        "1",
        "\"a\"",
        "null",
        "{",
        "{} ",
        " {}",
        "{   }",
        "{\n\n}",
        "{'a': 1}",
        "{\"a\": 01}",
    ] {
        assert!(!accepts(&guide, text), "{text}");
    }
}
