//! A tokenizer from GGUF metadata: `tokenizer.ggml.*`.

use super::bpe::{Bpe, Merges, Rule, SPACE};
use super::specials::Specials;
use super::split::{Preset, Splitter};
use super::vocabulary::{Kind, Vocabulary};
use super::{Core, Marks, Spelling, Tokenizer, alphabet};
use crate::Error;
use crate::gguf::{Array, Metadata, Strings, Value};

const TOKENS: &str = "tokenizer.ggml.tokens";
const TYPES: &str = "tokenizer.ggml.token_type";
const SCORES: &str = "tokenizer.ggml.scores";
const MERGES: &str = "tokenizer.ggml.merges";
const PRE: &str = "tokenizer.ggml.pre";

impl Tokenizer {
    /// Builds the tokenizer. Takes the vocabulary's arrays out of the metadata, so that it is not
    /// held twice.
    ///
    /// # Errors
    /// Missing keys, arrays that do not fit together, kinds of tokenizer unknown here.
    pub(crate) fn from_gguf(meta: &mut Metadata) -> Result<Tokenizer, Error> {
        let file = meta.file().to_owned();
        let fail = |reason: String| Error::Tokenizer {
            file: file.clone(),
            reason,
        };
        let model = meta.required("tokenizer.ggml.model", meta.str("tokenizer.ggml.model"))?;
        let byte_level = match model {
            "gpt2" => true,
            "llama" => false,
            other => {
                let reason = format!("model `{other}` is not supported (supported: gpt2, llama)");
                return Err(fail(reason));
            }
        };
        let architecture = meta
            .str("general.architecture")?
            .unwrap_or_default()
            .to_owned();
        meta.required(TOKENS, meta.strings(TOKENS))?;
        let Some(Value::Array(Array::String(texts))) = meta.remove(TOKENS) else {
            return Err(fail(format!("{TOKENS} is no array of strings")));
        };
        let kinds = kinds(meta.remove(TYPES), texts.len()).map_err(&fail)?;
        let vocabulary = Vocabulary::new(texts, kinds);

        let preset = preset(meta, byte_level).map_err(&fail)?;
        let ids = Ids::read(meta, vocabulary.len(), !byte_level).map_err(&fail)?;
        let (rule, spelling) = if byte_level {
            (
                byte_level_rule(meta, preset, &vocabulary).map_err(&fail)?,
                Spelling::ByteLevel,
            )
        } else {
            let prefix_space = meta
                .bool("tokenizer.ggml.add_space_prefix")?
                .unwrap_or(true);
            let scores = scores(meta.remove(SCORES), vocabulary.len()).map_err(&fail)?;
            let by_word = !vocabulary.iter().any(|(_, text, _)| has_inner_space(text));
            let rule = Rule::SentencePiece {
                scores,
                prefix_space,
                by_word,
            };
            (rule, Spelling::SentencePiece { prefix_space })
        };

        let add_bos = meta.bool("tokenizer.ggml.add_bos_token")?;
        let add_bos = add_bos.unwrap_or(if byte_level { preset.add_bos } else { true });
        let add_eos = meta.bool("tokenizer.ggml.add_eos_token")?.unwrap_or(false);
        let special = vocabulary
            .iter()
            .filter(|(_, _, kind)| matches!(kind, Kind::Control | Kind::Unknown));
        let mut marks = Marks {
            bos: ids.bos,
            pad: ids.pad,
            special: special.map(|(id, ..)| id).collect(),
            before: ids.bos.filter(|_| add_bos).into_iter().collect(),
            after: ids
                .eos
                .first()
                .copied()
                .filter(|_| add_eos)
                .into_iter()
                .collect(),
            eos: ids.eos,
        };
        marks.complete(|text| vocabulary.id(text));

        let strips = |id: u32, kind| {
            // Phi-3's tokenizer.json drops white space behind its own markers; GGUF cannot say so.
            let plain = [ids.unknown, marks.bos, vocabulary.id("<|endoftext|>")];
            architecture == "phi3"
                && !byte_level
                && kind == Kind::Control
                && !plain.contains(&Some(id))
        };
        let whole = vocabulary.iter().filter(|(_, _, kind)| kind.is_whole());
        let whole = whole.map(|(id, text, kind)| {
            let text = if byte_level {
                text.to_owned()
            } else {
                text.replace(SPACE, " ")
            };
            (text, id, strips(id, kind))
        });
        let specials = Specials::new(whole).map_err(&fail)?;
        let bytes = std::array::from_fn(|byte| match byte_level {
            true => vocabulary.id(alphabet::character(byte as u8).encode_utf8(&mut [0; 4])),
            false => vocabulary.id(&format!("<0x{byte:02X}>")),
        });
        let bpe = Bpe {
            vocabulary,
            specials,
            rule,
            unknown: ids.unknown,
            bytes,
        };
        Ok(Tokenizer {
            core: Core::Own(Box::new(bpe)),
            spelling,
            marks,
            file,
        })
    }
}

/// The tokens with a role that have keys of their own.
struct Ids {
    bos: Option<u32>,
    eos: Vec<u32>,
    pad: Option<u32>,
    unknown: Option<u32>,
}

impl Ids {
    /// `defaults`: SentencePiece's own ids where keys are missing.
    fn read(meta: &Metadata, tokens: usize, defaults: bool) -> Result<Ids, String> {
        let id = |name: &str| -> Result<Option<u32>, String> {
            let key = format!("tokenizer.ggml.{name}_token_id");
            match meta.u64(&key).map_err(|e| e.to_string())? {
                None => Ok(None),
                // Files write −1 (as u32) for "none".
                Some(id) if id == u64::from(u32::MAX) => Ok(None),
                Some(id) if id >= tokens as u64 => {
                    Err(format!("{key} is {id}, but there are {tokens} tokens"))
                }
                Some(id) => Ok(Some(id as u32)),
            }
        };
        let default = |id: u32| (defaults && (id as usize) < tokens).then_some(id);
        let eos = [id("eos")?.or(default(2)), id("eot")?, id("eom")?];
        Ok(Ids {
            bos: id("bos")?.or(default(1)),
            eos: eos.into_iter().flatten().collect(),
            pad: id("padding")?,
            unknown: id("unknown")?.or(default(0)),
        })
    }
}

fn kinds(value: Option<Value>, tokens: usize) -> Result<Vec<Kind>, String> {
    let numbers = match value {
        None => return Ok(vec![Kind::Normal; tokens]),
        Some(Value::Array(Array::I32(numbers))) => numbers,
        Some(Value::Array(Array::U32(numbers))) => numbers
            .into_iter()
            .map(|n| i32::try_from(n).unwrap_or(i32::MAX))
            .collect(),
        Some(other) => {
            return Err(format!(
                "{TYPES} is {}, expected an i32 array",
                other.kind()
            ));
        }
    };
    if numbers.len() != tokens {
        return Err(format!(
            "{TYPES} has {} entries for {tokens} tokens",
            numbers.len()
        ));
    }
    let kind =
        |n: i32| Kind::from_gguf(n).ok_or_else(|| format!("{TYPES}: {n} is unknown (0 to 6)"));
    numbers.into_iter().map(kind).collect()
}

fn scores(value: Option<Value>, tokens: usize) -> Result<Vec<f32>, String> {
    match value {
        Some(Value::Array(Array::F32(scores))) if scores.len() == tokens => Ok(scores),
        Some(Value::Array(Array::F32(scores))) => Err(format!(
            "{SCORES} has {} entries for {tokens} tokens",
            scores.len()
        )),
        Some(other) => Err(format!(
            "{SCORES} is {}, expected an f32 array",
            other.kind()
        )),
        None => Err(format!("{SCORES} is missing")),
    }
}

fn preset(meta: &Metadata, byte_level: bool) -> Result<&'static Preset, String> {
    let name = match meta.str(PRE).map_err(|e| e.to_string())? {
        Some(name) if byte_level => name,
        _ => "gpt-2",
    };
    if byte_level && meta.get(PRE).is_none() {
        tracing::warn!(
            "{}: {PRE} is missing; words are cut as GPT-2 does",
            meta.file()
        );
    }
    Preset::named(name).map_err(|reason| format!("{PRE}: {reason}"))
}

fn byte_level_rule(
    meta: &mut Metadata,
    preset: &Preset,
    vocabulary: &Vocabulary,
) -> Result<Rule, String> {
    let list = match meta.remove(MERGES) {
        Some(Value::Array(Array::String(list))) => list,
        Some(other) => return Err(format!("{MERGES} is {}, expected strings", other.kind())),
        None => return Err(format!("{MERGES} is missing")),
    };
    let merges = merges(&list, vocabulary)?;
    let (splitter, whole_words) = (Splitter::new(preset), preset.whole_words);
    Ok(Rule::ByteLevel {
        splitter,
        merges,
        whole_words,
        nfc: preset.nfc,
    })
}

/// Rank and result of each pair of tokens.
fn merges(list: &Strings, vocabulary: &Vocabulary) -> Result<Merges, String> {
    let mut merges = Merges::with_capacity(list.len());
    let mut joined = String::new();
    let mut unusable = 0;
    for (rank, merge) in list.iter().enumerate() {
        // A token is at least one character, so that a pair may begin with a space.
        let first = merge.chars().next().map_or(0, char::len_utf8);
        let Some(at) = merge[first..].find(' ').map(|at| first + at) else {
            return Err(format!("{MERGES}[{rank}]: `{merge}` is no pair of tokens"));
        };
        let (left, right) = (&merge[..at], &merge[at + 1..]);
        joined.clear();
        joined.extend([left, right]);
        let ids = (
            vocabulary.id(left),
            vocabulary.id(right),
            vocabulary.id(&joined),
        );
        match ids {
            (Some(left), Some(right), Some(id)) => {
                merges.entry((left, right)).or_insert((rank as u32, id));
            }
            _ => unusable += 1,
        }
    }
    if unusable > 0 {
        tracing::warn!("{MERGES}: {unusable} pairs name no tokens and are left out");
    }
    Ok(merges)
}

/// Whether a space follows another character.
fn has_inner_space(text: &str) -> bool {
    text.trim_start_matches(SPACE).contains(SPACE)
}
