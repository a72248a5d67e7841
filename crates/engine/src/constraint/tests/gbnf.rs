//! GBNF: what is read, what it accepts, what is refused and where.

use proptest::prelude::*;
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};
use tinderbox_protocol::{Constraint, Error};

use super::{accepts, draw, guides, refusal};
use crate::constraint::gbnf::to_lark;

/// JSON, with rules as people write them.
const JSON: &str = r#"
# JSON, white space after each token
root   ::= object
value  ::= object | array | string | number | ("true" | "false" | "null") ws

object ::=
  "{" ws (
      string ":" ws value
      ("," ws string ":" ws value)*
  )? "}" ws

array  ::=
  "[" ws (
      value
      ("," ws value)*
  )? "]" ws

string ::= "\"" ([^"\\\x7F\x00-\x1F] | "\\" (["\\bfnrt] | "u" [0-9a-fA-F]{4}))* "\"" ws
number ::= ("-"? ([0-9] | [1-9] [0-9]{0,15})) ("." [0-9]+)? ([eE] [-+]? [0-9]+)? ws
ws     ::= | " " | "\n" [ \t]{0,20}
"#;

/// Accepts all of `valid`, and none of `invalid`.
fn check(grammar: &str, valid: &[&str], invalid: &[&str]) {
    let guide = guides().guide(&Constraint::Gbnf(grammar.into()));
    let guide = guide.unwrap_or_else(|error| panic!("{grammar}: {error}"));
    for (texts, expected) in [(valid, true), (invalid, false)] {
        for text in texts {
            assert_eq!(accepts(&guide, text), expected, "{grammar}: {text:?}");
        }
    }
}

#[test]
fn every_element_means_what_it_says() {
    check(
        r#"root ::= "yes" | "no""#,
        &["yes", "no"],
        &["", "y", "yesno", "maybe"],
    );
    check(
        "root ::= [a-c]+ [^a-c]",
        &["ax", "abc!", "a\n", "bé"],
        &["x", "abc", "ab1c"],
    );
    check(r"root ::= [\]\-^]{3}", &["]-^", "^^^"], &["a-^", "]-"]);
    check(r"root ::= [a-]{2}", &["a-", "--"], &["ab"]);
    check(
        r#"root ::= "\x41\u00e9\U0001F600\n\t\"\\""#,
        &["Aé😀\n\t\"\\"],
        &["A"],
    );
    check("root ::= . .", &["ab", "é😀", "\n\n"], &["a", "abc"]);
    check(
        r#"root ::= "a"? "b"* "c"+"#,
        &["c", "abbc", "acc"],
        &["a", "aac", "b"],
    );
    check(
        r#"root ::= "a"{2} "b"{1,3} "c"{2,}"#,
        &["aabcc", "aabbbccccc"],
        &["abcc", "aabbbbcc", "aabc"],
    );
    check(r#"root ::= "a"{,2} "b""#, &["b", "ab", "aab"], &["aaab"]);
    check(
        "root ::= a-b | c_d\na-b ::= \"x\"\nc_d ::= \"y\" # end",
        &["x", "y"],
        &["z"],
    );
    check("root ::= (\n \"a\"\n | \"b\" # c\n)+", &["ab"], &[""]);
    check(
        "root ::= \"a\" |\n \"b\"\n | \"c\"\r\n",
        &["a", "b", "c"],
        &["d"],
    );
    check("root ::= |\"a\"", &["", "a"], &["b"]);
    check("root ::= \"\" \"a\"", &["a"], &[""]);
    check("root ::= \"/\" \"{\" [/{}]", &["/{/", "/{}"], &["/{a"]);
}

#[test]
fn rules_may_recurse_behind_something() {
    check(
        "root ::= list\nlist ::= \"(\" (item (\",\" item)*)? \")\"\nitem ::= list | [a-z]+",
        &["()", "(a)", "(ab,(c,()),d)"],
        &["(", "a", "(a,)", "(a))"],
    );
    check(
        "root ::= sum\nsum ::= term ([-+] term)*\nterm ::= [0-9]+ | \"(\" sum \")\"",
        &["1", "12+3", "(1-(2+34))+5"],
        &["+", "1+", "(1", "1)"],
    );
    check(
        JSON,
        &[
            "{}",
            r#"{"a": [1, -2.5e10, "x\n\u00e9", null], "b":{"c":true}}"#,
            "{\n  \"a\":1}",
        ],
        &["[]", "{'a': 1}", r#"{"a": 01}"#, r#"{"a"}"#, "{  }"],
    );
}

#[test]
fn answers_to_a_grammar_of_json_are_json() {
    let guide = guides().guide(&Constraint::Gbnf(JSON.into())).unwrap();
    let mut random = ChaCha8Rng::seed_from_u64(5);
    let drawn: Vec<String> = (0..60)
        .filter_map(|_| draw(&guide, &mut random, 300))
        .collect();
    assert!(drawn.len() > 30, "{}", drawn.len());
    for text in drawn {
        assert!(
            serde_json::from_str::<serde_json::Value>(&text)
                .unwrap()
                .is_object(),
            "{text}"
        );
    }
}

#[test]
fn what_is_wrong_is_named_with_its_place() {
    for (grammar, place, word) in [
        ("", "", "root"),
        ("a ::= \"b\"", "", "root"),
        ("root ::= a", "line 1, column 10", "`a`"),
        (
            "root ::= \"a\"\nroot ::= \"b\"",
            "line 2, column 1",
            "twice",
        ),
        (
            "root ::= \"a\"\n b ::= b \"x\"",
            "line 2",
            "`b` never comes to an end",
        ),
        (
            "root ::= root \"x\" | \"y\"",
            "line 1",
            "`root` begins with itself",
        ),
        ("root ::= \"\" a\na ::= [x]* root", "line 1", "never"),
        (
            "root ::= a\na ::= b? a \"x\" | \"y\"\nb ::= \"z\"",
            "line 2",
            "`a` begins with itself",
        ),
        ("root = \"a\"", "line 1, column 6", "::="),
        ("root ::= \"a", "line 1, column 10", "end"),
        ("root ::= \"a\nb\"", "line 1, column 10", "end"),
        ("root ::= [a", "line 1, column 10", "end"),
        ("root ::= [b-a]", "line 1, column 11", "range"),
        ("root ::= []", "line 1, column 10", "class"),
        ("root ::= \"\\q\"", "line 1, column 11", "escape"),
        ("root ::= \"\\ud800\"", "line 1, column 11", "character"),
        ("root ::= (\"a\"", "line 1, column 14", ")"),
        ("root ::= \"a\")", "line 1, column 13", "end of the line"),
        ("root ::= *", "line 1, column 10", "expected"),
        ("root ::= \"a\"{3,2}", "line 1, column 13", "never"),
        ("root ::= \"a\"{9999}", "line 1, column 14", "2000"),
        ("root ::= \"a\"+*", "line 1, column 13", "twice"),
        ("1 ::=", "", "root"),
        ("root ::= \"a\"\n::=", "line 2, column 1", "name"),
    ] {
        let (at, reason) = refusal(&Constraint::Gbnf(grammar.into()));
        assert_eq!(at, place, "{grammar}: {reason}");
        assert!(reason.contains(word), "{grammar}: {reason}");
    }
    let deep = format!("root ::= {}\"a\"{}", "(".repeat(1000), ")".repeat(1000));
    assert!(refusal(&Constraint::Gbnf(deep)).1.contains("nested"));
    let rules: String = (0..1001).map(|i| format!("a{i} ::= \"x\"\n")).collect();
    assert!(refusal(&Constraint::Gbnf(rules)).1.contains("rules"));
}

#[test]
fn a_thousand_rules_in_a_chain_and_repetitions_of_repetitions_cost_little() {
    let link = |i: usize| format!("a{i} ::= \"x\" a{} | \"y\" root\n", i + 1);
    let rules: String = (0..900).map(link).collect();
    check(
        &format!("root ::= a0\n{rules}a900 ::= \"z\""),
        &[&format!("{}z", "x".repeat(900))],
        &["z"],
    );
    let double = |i: usize| format!("a{i} ::= a{j} a{j}\n", j = i + 1);
    let rules: String = (0..40).map(double).collect();
    let grammar = format!("root ::= a0\n{rules}a40 ::= \"z\"");
    let outcome = guides().guide(&Constraint::Gbnf(grammar));
    assert!(matches!(outcome, Ok(_) | Err(Error::Constraint { .. })));
    let grammar = "root ::= ((((\"a\"{1,2000}){1,2000}){1,2000}){1,2000}){1,2000}";
    let outcome = guides().guide(&Constraint::Gbnf(grammar.into()));
    assert!(matches!(outcome, Ok(_) | Err(Error::Constraint { .. })));
}

/// A grammar element and a text it matches.
fn element() -> impl Strategy<Value = (String, String)> {
    let leaf = prop_oneof![
        "[a-z\"\\\\/é ]{0,4}".prop_map(|text| {
            let quoted = text.replace('\\', "\\\\").replace('"', "\\\"");
            (format!("\"{quoted}\""), text)
        }),
        "[a-m]".prop_map(|text| ("[a-m]".to_string(), text)),
        "[^x\\]]".prop_map(|text| ("[^x\\]]".to_string(), text)),
        Just((".".to_string(), "ü".to_string())),
    ];
    leaf.prop_recursive(4, 24, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 1..4).prop_map(|parts| {
                let (grammar, text): (Vec<_>, Vec<_>) = parts.into_iter().unzip();
                (format!("({})", grammar.join(" ")), text.concat())
            }),
            (
                prop::collection::vec(inner.clone(), 1..4),
                any::<prop::sample::Index>()
            )
                .prop_map(|(options, chosen)| {
                    let text = chosen.get(&options).1.clone();
                    let all: Vec<_> = options.into_iter().map(|option| option.0).collect();
                    (format!("( {} )", all.join("\n | ")), text)
                }),
            (inner.clone(), 0usize..4).prop_map(|((grammar, text), count)| {
                (format!("({grammar})*"), text.repeat(count))
            }),
            (inner, 1usize..4).prop_map(|((grammar, text), count)| {
                (format!("({grammar}){{1,{count}}}"), text.repeat(count))
            }),
        ]
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]
    #[test]
    fn a_text_made_by_the_grammar_is_accepted((body, text) in element()) {
        let guide = guides().guide(&Constraint::Gbnf(format!("root ::= \"<\" {body}")));
        let guide = guide.unwrap();
        prop_assert!(accepts(&guide, &format!("<{text}")), "{body}: {text:?}");
    }

    #[test]
    fn any_text_is_read_or_refused(text in "\\PC{0,60}|[a-z:=\"\\[\\](){}|*+?^\\\\#\n -]{0,60}") {
        let _ = to_lark(&text);
    }
}

#[test]
fn thousands_of_damaged_grammars_are_read_or_refused() {
    let mut random = ChaCha8Rng::seed_from_u64(7);
    let mut below = |end: usize| random.next_u32() as usize % end;
    let guides = guides();
    let (mut read, mut refused) = (0, 0);
    for case in 0..20_000 {
        let mut chars: Vec<char> = JSON.chars().collect();
        for _ in 0..=below(4) {
            let at = below(chars.len());
            match below(4) {
                0 => chars.truncate(at),
                1 => drop(chars.drain(at..(at + below(30)).min(chars.len()))),
                2 => {
                    let piece = chars[at..(at + below(60)).min(chars.len())].to_vec();
                    let to = below(chars.len());
                    chars.splice(to..to, piece);
                }
                _ => {
                    chars[at] = "\"\\[](){}|*+?:=\n#é\0"
                        .chars()
                        .nth(below(18))
                        .unwrap_or('a')
                }
            }
            if chars.is_empty() {
                break;
            }
        }
        let text: String = chars.into_iter().collect();
        match to_lark(&text) {
            Ok(_) => read += 1,
            Err(Error::Constraint { .. }) => refused += 1,
            Err(other) => panic!("{other:?}"),
        }
        if case % 100 == 0 {
            let outcome = guides.guide(&Constraint::Gbnf(text.clone()));
            assert!(
                matches!(outcome, Ok(_) | Err(Error::Constraint { .. })),
                "{text}"
            );
        }
    }
    assert!(read > 100 && refused > 1000, "{read} {refused}");
}
