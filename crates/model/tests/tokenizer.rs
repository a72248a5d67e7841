//! Token ids against the reference implementations, and the rules of the vocabulary's kinds.

mod common;

use std::collections::BTreeMap;
use std::path::PathBuf;

use common::{llama, open, refusal, strings, text};
use futures::executor::block_on;
use proptest::prelude::*;
use tinderbox_model::gguf::{Array, Value};
use tinderbox_model::{Checkpoint, Tokenizer};

/// The ids of `golden/texts.json` by file, made by `golden/token_ids.py`.
fn golden(file: &str, path: Option<PathBuf>) {
    let Some(path) = path else { return };
    let tokenizer = block_on(Checkpoint::open(&path)).unwrap().tokenizer;
    let texts: Vec<String> = serde_json::from_str(include_str!("golden/texts.json")).unwrap();
    let ids: BTreeMap<String, Vec<Vec<u32>>> =
        serde_json::from_str(include_str!("golden/token_ids.json")).unwrap();
    assert_eq!(texts.len(), ids[file].len());
    for (text, expected) in texts.iter().zip(&ids[file]) {
        let found = tokenizer.encode(text, Some(false)).unwrap();
        assert_eq!(&found, expected, "{text:?}");
        // A written `▁` is a space to SentencePiece; every other text comes back.
        if !text.contains('▁') || tokenizer.class() == "byte-level BPE" {
            assert_eq!(&tokenizer.decode(&found), text);
        }
    }
}

#[test]
fn smollm2_gives_the_ids_of_the_tokenizers_library() {
    golden(
        "SmolLM2-135M-Instruct.Q4_1.gguf",
        common::real_model("SmolLM2-135M-Instruct.Q4_1.gguf"),
    );
}

#[test]
fn gemma3_gives_the_ids_of_sentencepiece() {
    golden(
        "gemma-3-270m-q4_k_m.gguf",
        common::extra_model(
            "gemma-3-270m-q4_k_m.gguf",
            "its licence, Gemma Terms, keeps it out of CI",
        ),
    );
}

#[test]
fn stories260k_gives_the_ids_of_sentencepiece() {
    golden(
        "stories260K-f32.gguf",
        common::extra_model("stories260K-f32.gguf", "no package has it"),
    );
}

fn sentence_piece() -> Tokenizer {
    open(llama().to_bytes()).unwrap().tokenizer
}

fn id(tokenizer: &Tokenizer, text: &str) -> u32 {
    tokenizer.id(text).unwrap()
}

#[test]
fn sentencepiece_joins_the_best_scored_pair_first() {
    let t = sentence_piece();
    // "ab" has a better score than "bc", "▁ab" a better one than "abc".
    assert_eq!(t.encode("abc", Some(false)).unwrap(), [id(&t, "▁abc")]);
    assert_eq!(
        t.encode("cab", Some(false)).unwrap(),
        ["▁", "c", "ab"].map(|p| id(&t, p))
    );
    assert_eq!(
        t.encode("é", Some(false)).unwrap(),
        ["▁", "<0xC3>", "<0xA9>"].map(|p| id(&t, p))
    );
}

#[test]
fn special_tokens_in_a_text_are_one_id_and_bos_follows_the_files_rule() {
    let t = sentence_piece();
    let end = id(&t, "<|im_end|>");
    assert_eq!(
        t.encode("a<|im_end|>", None).unwrap(),
        [1, id(&t, "▁a"), end]
    );
    assert_eq!(t.encode("a", Some(true)).unwrap(), [1, id(&t, "▁a")]);
    // Two spaces are a token of their own, before any merging.
    assert_eq!(t.encode("a  a", Some(false)).unwrap()[1], id(&t, "▁▁"));
    assert_eq!(t.eos(), [2, end]);
    assert!(t.is_special(end) && t.is_special(0) && !t.is_special(id(&t, "▁▁")));
}

#[test]
fn decoding_takes_off_the_space_that_encoding_put_before_the_text() {
    let t = sentence_piece();
    assert!(t.strips_leading_space());
    let ids = t.encode(" ab é", None).unwrap();
    assert_eq!(t.decode(&ids), "<s> ab é");
    assert_eq!(t.token_bytes(id(&t, "▁ab")).unwrap(), b" ab");
    assert_eq!(t.token_bytes(id(&t, "<0xC3>")).unwrap(), [0xc3]);
    assert_eq!(t.token_bytes(u32::MAX), None);
    // Half a character.
    assert_eq!(t.decode(&[id(&t, "a"), id(&t, "<0xC3>")]), "a\u{fffd}");
}

/// A SentencePiece vocabulary of 200 merges of the texts, and the rows of its pieces.
fn trained(texts: &[String]) -> Vec<String> {
    let mut words: Vec<Vec<String>> = texts
        .iter()
        .map(|text| format!("▁{}", text.replace(' ', "▁")))
        .map(|text| text.chars().map(String::from).collect())
        .collect();
    let mut counts = BTreeMap::new();
    for character in words.iter().flatten() {
        *counts.entry(character.clone()).or_insert(0) += 1;
    }
    // What is rare is spelt in bytes.
    counts.retain(|_, count| *count > 2);
    let mut pieces: Vec<String> = counts.into_keys().collect();
    for _ in 0..200 {
        let mut pairs = BTreeMap::new();
        for pair in words.iter().flat_map(|word| word.windows(2)) {
            if pair.iter().all(|piece| pieces.contains(piece)) {
                *pairs.entry(pair.concat()).or_insert(0) += 1;
            }
        }
        let unseen = pairs
            .into_iter()
            .filter(|(piece, _)| !pieces.contains(piece));
        let Some((best, _)) = unseen.max_by_key(|(_, count)| *count) else {
            break;
        };
        for word in &mut words {
            let mut place = 0;
            while place + 1 < word.len() {
                if word[place..place + 2].concat() == best {
                    word[place] = best.clone();
                    word.remove(place + 1);
                }
                place += 1;
            }
        }
        pieces.push(best);
    }
    pieces
}

/// The same vocabulary as ours and as that of `tokenizers`, whose merges are all ways to make a
/// piece of two others, best piece first.
fn both(pieces: &[String]) -> (Tokenizer, tokenizers::Tokenizer) {
    let bytes = (0..256).map(|byte| format!("<0x{byte:02X}>"));
    let marks = ["<unk>", "<s>", "</s>"].map(str::to_owned).into_iter();
    let tokens: Vec<String> = marks.chain(bytes).chain(pieces.iter().cloned()).collect();
    let kinds = (0..tokens.len()).map(|id| match id {
        0 => 2,
        1 | 2 => 3,
        3..259 => 6,
        _ => 1,
    });
    let mut file = llama();
    file.metadata
        .retain(|(key, _)| !key.starts_with("tokenizer."));
    file.set("tokenizer.ggml.model", text("llama"));
    file.set(
        "tokenizer.ggml.token_type",
        Value::Array(Array::I32(kinds.collect())),
    );
    let scores = (0..tokens.len()).map(|id| -(id as f32)).collect();
    file.set("tokenizer.ggml.scores", Value::Array(Array::F32(scores)));
    file.set("tokenizer.ggml.tokens", strings(&tokens));

    let known = |piece: &str| pieces.iter().any(|other| other == piece);
    let merges = pieces.iter().flat_map(|piece| {
        let places = piece.char_indices().skip(1);
        let splits = places.map(|(place, _)| piece.split_at(place));
        splits.filter(|(left, right)| known(left) && known(right))
    });
    let vocab: BTreeMap<_, _> = tokens.iter().zip(0u32..).collect();
    let judge = serde_json::json!({
        "version": "1.0", "truncation": null, "padding": null, "added_tokens": [],
        "normalizer": {"type": "Sequence", "normalizers": [
            {"type": "Prepend", "prepend": "▁"},
            {"type": "Replace", "pattern": {"String": " "}, "content": "▁"},
        ]},
        "pre_tokenizer": null, "post_processor": null, "decoder": null,
        "model": {"type": "BPE", "byte_fallback": true, "unk_token": "<unk>", "fuse_unk": true,
            "vocab": vocab, "merges": merges.collect::<Vec<_>>()},
    });
    let judge = tokenizers::Tokenizer::from_bytes(judge.to_string()).unwrap();
    (open(file.to_bytes()).unwrap().tokenizer, judge)
}

#[test]
fn sentencepiece_gives_the_ids_of_the_tokenizers_library() {
    let texts: Vec<String> = serde_json::from_str(include_str!("golden/texts.json")).unwrap();
    let pieces = trained(&texts);
    assert!(pieces.len() > 200, "{pieces:?}");
    let (ours, judge) = both(&pieces);
    let mut merged = 0;
    for text in &texts {
        let expected = judge.encode(text.as_str(), false).unwrap();
        let found = ours.encode(text, Some(false)).unwrap();
        assert_eq!(found, expected.get_ids(), "{text:?}");
        merged += text.chars().count().saturating_sub(found.len());
    }
    assert!(merged > 100, "{merged} characters were merged");
}

/// A byte-level tokenizer of the 256 bytes, a few merges and two special tokens.
fn byte_level(pre: Option<&str>) -> Vec<u8> {
    let character = |byte: u8| match byte {
        0x21..=0x7e | 0xa1..=0xac | 0xae..=0xff => char::from(byte),
        0..=0x20 => char::from_u32(0x100 + u32::from(byte)).unwrap(),
        0x7f..=0xa0 => char::from_u32(0x121 + u32::from(byte) - 0x7f).unwrap(),
        0xad => '\u{143}',
    };
    let bytes = (0..=255).map(|byte| character(byte).to_string());
    let more = ["th", "Ġth", "Ġthe", "12", "Ġ1", "<|end|>", "<tool>"].map(str::to_owned);
    let tokens: Vec<String> = bytes.chain(more).collect();
    let mut kinds = vec![1; tokens.len()];
    kinds[261] = 3;
    kinds[262] = 4;
    let mut file = llama();
    file.metadata
        .retain(|(key, _)| !key.starts_with("tokenizer."));
    file.set("tokenizer.ggml.model", text("gpt2"));
    if let Some(pre) = pre {
        file.set("tokenizer.ggml.pre", text(pre));
    }
    file.set("tokenizer.ggml.tokens", strings(tokens));
    file.set("tokenizer.ggml.token_type", Value::Array(Array::I32(kinds)));
    file.set(
        "tokenizer.ggml.merges",
        strings(["t h", "Ġ th", "Ġth e", "1 2", "Ġ 1"]),
    );
    file.to_bytes()
}

#[test]
fn byte_level_merges_go_by_their_order_within_words() {
    let t = open(byte_level(Some("gpt-2"))).unwrap().tokenizer;
    assert_eq!(
        t.encode("th the", None).unwrap(),
        ["th", "Ġthe"].map(|p| id(&t, p))
    );
    // "1 2" comes before "Ġ 1".
    assert_eq!(
        t.encode(" 12", None).unwrap(),
        ["Ġ", "12"].map(|p| id(&t, p))
    );
    assert_eq!(
        t.encode("<tool>th<|end|>", None).unwrap(),
        [262, id(&t, "th"), 261]
    );
    assert_eq!(t.eos(), [261]);
    assert_eq!(t.decode(&[262, id(&t, "Ġthe"), 261]), "<tool> the<|end|>");
    assert!(!t.add_bos() && t.bos().is_none());
}

#[test]
fn the_preset_decides_how_digits_are_cut() {
    let t = open(byte_level(Some("smollm"))).unwrap().tokenizer;
    assert_eq!(
        t.encode(" 12", None).unwrap(),
        ["Ġ", "1", "2"].map(|p| id(&t, p))
    );
}

#[test]
fn a_missing_preset_is_gpt2s_and_an_unknown_one_is_refused() {
    let t = open(byte_level(None)).unwrap().tokenizer;
    assert_eq!(
        t.encode(" 12", None).unwrap(),
        ["Ġ", "12"].map(|p| id(&t, p))
    );
    let words = refusal(byte_level(Some("klingon")));
    assert!(
        words
            .starts_with("tiny.gguf: tokenizer: tokenizer.ggml.pre: `klingon` is unknown (known: "),
        "{words}"
    );
}

#[test]
fn qwens_text_is_composed_first() {
    let t = open(byte_level(Some("qwen2"))).unwrap().tokenizer;
    assert_eq!(
        t.encode("e\u{301}", None).unwrap(),
        t.encode("é", None).unwrap()
    );
}

#[test]
fn vocabularies_that_do_not_fit_together_are_refused() {
    let change = |key: &str, value: Option<Value>| {
        let mut file = llama();
        file.metadata.retain(|(name, _)| name != key);
        if let Some(value) = value {
            file.set(key, value);
        }
        refusal(file.to_bytes())
    };
    let cases = [
        (
            "tokenizer.ggml.model",
            Some(text("bert")),
            "model `bert` is not supported (supported: gpt2, llama)",
        ),
        (
            "tokenizer.ggml.tokens",
            None,
            "tokenizer.ggml.tokens is missing",
        ),
        (
            "tokenizer.ggml.scores",
            None,
            "tokenizer.ggml.scores is missing",
        ),
        (
            "tokenizer.ggml.scores",
            Some(Value::Array(Array::F32(vec![0.0]))),
            "has 1 entries for 271 tokens",
        ),
        (
            "tokenizer.ggml.token_type",
            Some(Value::Array(Array::I32(vec![9; 271]))),
            "9 is unknown (0 to 6)",
        ),
        (
            "tokenizer.ggml.eos_token_id",
            Some(Value::U32(271)),
            "eos_token_id is 271, but there are 271 tokens",
        ),
    ];
    for (key, value, words) in cases {
        let found = change(key, value);
        assert!(found.contains(words), "{found}");
    }
}

proptest! {
    #[test]
    fn every_text_comes_back_from_its_ids(text in "\\PC{0,60}|[ \\n\\t\\r]{0,12}|[abc ]{0,40}") {
        let byte_level = open(byte_level(Some("llama-bpe"))).unwrap().tokenizer;
        let ids = byte_level.encode(&text, Some(false)).unwrap();
        prop_assert_eq!(byte_level.decode(&ids), &text[..]);
        // To SentencePiece a written `▁` is a space.
        let plain = text.replace('▁', " ");
        let ids = sentence_piece().encode(&text, Some(false)).unwrap();
        prop_assert_eq!(sentence_piece().decode(&ids), plain);
    }
}

#[test]
fn a_long_text_without_a_break_is_encoded_in_reasonable_time() {
    // Quadratic merging would take hours.
    let text = "abc".repeat(300_000);
    let ids = sentence_piece().encode(&text, Some(false)).unwrap();
    assert_eq!(ids.len(), 300_000);
    let spaces = " ".repeat(300_000);
    let t = open(byte_level(Some("qwen2"))).unwrap().tokenizer;
    assert_eq!(t.encode(&spaces, None).unwrap().len(), 300_000);
}
