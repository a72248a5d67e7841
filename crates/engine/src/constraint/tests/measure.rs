//! Masks over the vocabulary of a real model: they allow what is right, and what they cost is printed.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::executor::block_on;
use serde_json::json;
use tinderbox_model::{Checkpoint, FileStorage};
use tinderbox_protocol::Constraint;

use super::{Guides, schema};

const MODEL: &str = "SmolLM2-135M-Instruct.Q4_1.gguf";
/// Times each answer is walked.
const ROUNDS: u32 = 20;

/// Bytes of memory in use, as the system has it.
fn memory() -> u64 {
    let status = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    let pages = status
        .split(' ')
        .nth(1)
        .and_then(|pages| pages.parse::<u64>().ok());
    pages.unwrap_or(0) * 4096
}

fn cases() -> Vec<(&'static str, Constraint, String)> {
    let person = json!({
        "type": "object",
        "properties": {
            "name": {"type": "string"},
            "age": {"type": "integer", "minimum": 0, "maximum": 150},
            "email": {"type": "string", "format": "email"},
            "tags": {"type": "array", "items": {"type": "string"}, "maxItems": 5},
        },
        "required": ["name", "age", "email", "tags"],
        "additionalProperties": false,
    });
    let answer = r#"{"name": "Ann Other", "age": 42, "email": "ann@example.org", "tags": ["a b", "quiet", "tall"]}"#;
    let lengths = json!({"type": "array", "items": {"type": "string", "maxLength": 200}});
    let names: Vec<String> = (0..1000).map(|i| format!("city number {i}")).collect();
    let gbnf = "root ::= item (\", \" item)*\nitem ::= [a-z]+ | \"(\" root \")\"";
    let free =
        r#"{"title": "On the origin of the words", "pages": [1, 2, {"n": null}], "ok": true}"#;
    vec![
        ("person", schema(person), answer.into()),
        ("any JSON object", Constraint::JsonObject, free.into()),
        (
            "strings of at most 200",
            schema(lengths),
            r#"["It was the best of times, it was the worst of times"]"#.into(),
        ),
        (
            "one of 1000 names",
            schema(json!({"enum": names})),
            "\"city number 837\"".into(),
        ),
        (
            "date by expression",
            Constraint::Regex(r"\d{4}-\d{2}-\d{2}".into()),
            "2024-02-29".into(),
        ),
        (
            "nested lists in GBNF",
            Constraint::Gbnf(gbnf.into()),
            "one, (two, (three), four), five".into(),
        ),
    ]
}

#[test]
fn each_token_of_a_right_answer_is_allowed_and_its_cost_printed() {
    let folder = std::env::var_os("TINDERBOX_TEST_MODELS");
    let path = folder.map(|folder| PathBuf::from(folder).join(MODEL));
    let Some(path) = path.filter(|path| path.exists()) else {
        eprintln!("SKIP: TINDERBOX_TEST_MODELS names no folder with {MODEL}");
        return;
    };
    let storage = FileStorage::open(&path).unwrap();
    let checkpoint = block_on(Checkpoint::from_gguf(vec![Box::new(storage)])).unwrap();
    let tokenizer = Arc::new(checkpoint.tokenizer);
    let vocab = tokenizer.vocab_size();
    let guides = Guides::new(tokenizer.clone(), vocab);
    let (before, start) = (memory(), Instant::now());
    guides.guide(&Constraint::Regex("a".into())).unwrap();
    let grown = memory().saturating_sub(before) as f64 / 1e6;
    println!(
        "{vocab} tokens: {:.1} ms and {grown:.1} MB once",
        ms(start.elapsed())
    );
    for (name, constraint, text) in cases() {
        let start = Instant::now();
        let guide = guides
            .guide(&constraint)
            .unwrap_or_else(|error| panic!("{name}: {error}"));
        let compiled = start.elapsed();
        let tokens = tokenizer.encode(&text, Some(false)).unwrap();
        let (mut sum, mut longest, mut first) = (Duration::ZERO, Duration::ZERO, Duration::ZERO);
        let mut starts = Duration::ZERO;
        for round in 0..ROUNDS {
            let start = Instant::now();
            let mut walk = guide.start();
            starts += start.elapsed();
            for id in &tokens {
                assert!(walk.mask(true).unwrap().is_allowed(*id), "{name}");
                let start = Instant::now();
                let done = walk.take(*id).unwrap();
                if !done {
                    walk.mask(true).unwrap();
                }
                let time = start.elapsed();
                sum += time;
                longest = longest.max(time);
                if round == 0 {
                    first += time;
                }
            }
        }
        let count = tokens.len() as u32;
        println!(
            "{name}: compiled in {:.2} ms; {count} tokens, {:.0} µs a token, {:.0} in the first round, longest {:.0}; {:.0} to start",
            ms(compiled),
            1e3 * ms(sum) / f64::from(count * ROUNDS),
            1e3 * ms(first) / f64::from(count),
            1e3 * ms(longest),
            1e3 * ms(starts) / f64::from(ROUNDS),
        );
    }
}

fn ms(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}
