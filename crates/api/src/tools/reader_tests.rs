use proptest::prelude::*;
use proptest::sample::select;
use tinderbox_protocol::{TokenizerInfo, ToolFormat};

use super::*;

const FORMATS: [ToolFormat; 3] = [ToolFormat::Hermes, ToolFormat::Llama, ToolFormat::Mistral];

fn reader(format: ToolFormat, surely: bool, most: usize) -> Reader {
    let info = TokenizerInfo {
        tool_format: format,
        ..TokenizerInfo::default()
    };
    let tool = |name: &str| Tool {
        name: name.into(),
        parameters: None,
        strict: false,
    };
    let tools = [tool("f"), tool("get_weather")];
    Reader::new(Syntax::of(&info), &tools, surely, most)
}

/// What is read of pieces, with what belongs together in one.
fn read(mut reader: Reader, pieces: &[&str]) -> Vec<Part> {
    let mut whole: Vec<Part> = Vec::new();
    let mut parts: Vec<Part> = pieces.iter().flat_map(|text| reader.push(text)).collect();
    parts.extend(reader.end());
    for part in parts {
        match (whole.last_mut(), part) {
            (Some(Part::Text(before)), Part::Text(text)) => before.push_str(&text),
            (Some(Part::Arguments(before)), Part::Arguments(text)) => before.push_str(&text),
            (_, part) => whole.push(part),
        }
    }
    whole
}

fn text(text: &str) -> Part {
    Part::Text(text.into())
}

fn call(name: &str, arguments: &str) -> [Part; 2] {
    [Part::Call(name.into()), Part::Arguments(arguments.into())]
}

#[test]
fn each_format_is_read_with_the_text_before_and_the_arguments_as_written() {
    let weather = call("get_weather", r#"{"city": "Rome}", "n": 1.0}"#);
    let f = call("f", "{}");
    let both = [weather.clone(), f.clone()].concat();
    let inner = r#"{"name": "get_weather", "arguments": {"city": "Rome}", "n": 1.0}}"#;
    let hermes = format!(
        "<tool_call>\n{inner}\n</tool_call>\n<tool_call>\n{{\"arguments\": {{}}, \"name\": \"f\"}}\n</tool_call>\n"
    );
    let llama = inner.replace("arguments", "parameters");
    let last = r#"{"name":"f","parameters":{}}"#;
    let mistral = format!(r#"[TOOL_CALLS] [{inner}, {{"name": "f", "arguments": {{}}}}]"#);
    for (format, said, parts) in [
        (ToolFormat::Hermes, hermes.clone(), both.clone()),
        (
            ToolFormat::Hermes,
            format!("I look.\n\n{hermes}"),
            [vec![text("I look.")], both.clone()].concat(),
        ),
        (
            ToolFormat::Llama,
            format!("\n{llama}; {last}"),
            both.clone(),
        ),
        (
            ToolFormat::Llama,
            format!("I look.<|python_tag|>{last}"),
            [vec![text("I look.")], f.to_vec()].concat(),
        ),
        (ToolFormat::Mistral, mistral, both),
    ] {
        assert_eq!(read(reader(format, false, 9), &[&said]), parts, "{said}");
    }
}

#[test]
fn what_is_no_call_is_the_text_as_it_was() {
    for said in [
        " Hello. ",
        "a <tool_call> b",
        "<tool_call>\n{\"name\": \"f\", \"arguments\": {]}}\n</tool_call>",
        "<tool_call>{\"name\": \"unknown\", \"arguments\": {}}</tool_call>",
        "<tool_call>{\"name\": \"f\", \"arguments\": \"{}\"}</tool_call>",
        "x <tool_call>\n{\"name\": \"f\", \"arguments\": {\"a\": ",
        "{\"name\": \"f\"}",
        "[TOOL_CALLS] none",
        "",
    ] {
        for format in FORMATS {
            let parts = read(reader(format, false, 9), &[said]);
            let expected = Some(text(said)).filter(|_| !said.is_empty());
            assert_eq!(parts, Vec::from_iter(expected), "{format:?}");
        }
    }
}

#[test]
fn sure_calls_are_told_as_they_come_and_those_beyond_the_most_are_not() {
    let mut sure = reader(ToolFormat::Hermes, true, 1);
    let head = "<tool_call>\n{\"name\": \"f\", \"arguments\": ";
    assert_eq!(sure.push(head), [Part::Call("f".into())]);
    assert_eq!(sure.push("{\"a"), [Part::Arguments("{\"a".into())]);
    let rest = format!("\": 1}}}}\n</tool_call>\n{head}{{}}}}\n</tool_call>");
    assert_eq!(sure.push(&rest), [Part::Arguments("\": 1}".into())]);
    assert_eq!(sure.end(), []);
    let cut = ["<tool_call>\n{\"na"];
    assert_eq!(read(reader(ToolFormat::Hermes, true, 1), &cut), []);
    assert_eq!(
        read(reader(ToolFormat::Hermes, false, 1), &cut),
        [text(cut[0])]
    );
}

/// Texts made of what calls are made of.
fn near_calls() -> impl Strategy<Value = String> {
    let pieces = vec![
        "<tool_call>",
        "</tool_call>",
        "<tool_",
        "[TOOL_CALLS]",
        "<|python_tag|>",
        "[",
        "]",
        ", ",
        "; ",
        "\n",
        " ",
        "{",
        "}",
        "é🦀",
        "\"",
        "\\",
        "{\"name\": \"f\", \"arguments\": {}}",
        "{\"name\": \"f\", \"parameters\": {\"x\": \"}\"}}",
        "{\"name\": \"get_weather\", \"arguments\": {\"city\": \"a\\\"b\"}}",
        "{\"name\": \"f\", \"arguments\": ",
    ];
    prop::collection::vec(select(pieces), 0..12).prop_map(|pieces| pieces.concat())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 4096, failure_persistence: None, ..Default::default() })]

    #[test]
    fn any_split_of_a_text_gives_the_same_calls(
        said in near_calls(),
        format in select(&FORMATS[..]),
        surely: bool,
        size in 1usize..9,
    ) {
        let whole = read(reader(format, surely, 9), &[&said]);
        let characters: Vec<char> = said.chars().collect();
        let pieces: Vec<String> = characters.chunks(size).map(String::from_iter).collect();
        let pieces: Vec<&str> = pieces.iter().map(String::as_str).collect();
        prop_assert_eq!(&whole, &read(reader(format, surely, 9), &pieces));
        if !surely {
            let called = whole.iter().filter_map(|part| match part {
                Part::Arguments(arguments) => Some(arguments),
                _ => None,
            });
            for arguments in called {
                let parsed = serde_json::from_str::<serde_json::Value>(arguments);
                prop_assert!(parsed.is_ok_and(|value| value.is_object()), "{}", arguments);
            }
        }
    }
}
