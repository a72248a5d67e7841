//! A tokenizer from a tokenizer.json and the settings beside it.

use tokenizers::decoders::DecoderWrapper;
use tokenizers::pre_tokenizers::metaspace::PrependScheme;

use super::{Core, Marks, Spelling, Tokenizer};
use crate::Error;
use crate::hf::Fields;

impl Tokenizer {
    /// Builds the tokenizer.
    ///
    /// `settings` is tokenizer_config.json, `specials` special_tokens_map.json, `ids` the files
    /// that may have `bos_token_id`, `eos_token_id` and `pad_token_id`, the more trusted first.
    ///
    /// # Errors
    /// A file the library does not understand, settings of a wrong type.
    pub(crate) fn from_hf(
        folder: &str,
        json: Vec<u8>,
        settings: &Fields,
        specials: &Fields,
        ids: &[&Fields],
    ) -> Result<Tokenizer, Error> {
        let file = format!("{folder}/tokenizer.json");
        let fail = |e: tokenizers::Error| Error::Tokenizer {
            file: file.clone(),
            reason: e.to_string(),
        };
        let mut library = tokenizers::Tokenizer::from_bytes(&json).map_err(fail)?;
        drop(json);
        library.with_truncation(None).map_err(fail)?;
        library.with_padding(None);

        let token = |name: &str| -> Result<Option<u32>, Error> {
            let text = match settings.token(name)? {
                Some(text) => Some(text),
                None => specials.token(name)?,
            };
            Ok(text.and_then(|text| library.token_to_id(text)))
        };
        let listed = |key: &str| -> Result<Vec<u32>, Error> {
            let lists: Result<Vec<_>, _> = ids.iter().map(|fields| fields.ids(key)).collect();
            Ok(lists?.concat())
        };
        let mut eos: Vec<u32> = token("eos_token")?.into_iter().collect();
        eos.extend(listed("eos_token_id")?);
        let bos = token("bos_token")?.or(listed("bos_token_id")?.first().copied());
        let pad = token("pad_token")?.or(listed("pad_token_id")?.first().copied());
        let (mut before, mut after) = added(&library).map_err(fail)?;
        // The settings overrule the file, as they do where the file is loaded by its makers.
        rule(settings.bool("add_bos_token")?, bos, &mut before);
        rule(
            settings.bool("add_eos_token")?,
            eos.first().copied(),
            &mut after,
        );

        let tokens = library.get_added_tokens_decoder();
        let mut added: Vec<u32> = tokens.keys().copied().collect();
        added.sort_unstable();
        let special = tokens
            .iter()
            .filter(|(_, token)| token.special)
            .map(|(id, _)| *id);
        let mut marks = Marks {
            bos,
            eos,
            pad,
            special: special.collect(),
            before,
            after,
        };
        marks.complete(|text| library.token_to_id(text));
        let spelling = library.get_decoder().map_or(Spelling::Plain, spelling);
        let core = Core::Library {
            library: Box::new(library),
            added,
        };
        Ok(Tokenizer {
            core,
            spelling,
            marks,
            file,
        })
    }
}

/// What the file's own rule puts before and behind a text.
fn added(library: &tokenizers::Tokenizer) -> tokenizers::Result<(Vec<u32>, Vec<u32>)> {
    let plain = library.encode_fast("a", false)?.get_ids().to_vec();
    let full = library.encode_fast("a", true)?.get_ids().to_vec();
    let at = full
        .windows(plain.len().max(1))
        .position(|window| window == plain);
    Ok(match at {
        Some(at) => (full[..at].to_vec(), full[at + plain.len()..].to_vec()),
        None => (full, Vec::new()),
    })
}

/// Makes a setting true: the token is there, or nothing is.
fn rule(setting: Option<bool>, token: Option<u32>, tokens: &mut Vec<u32>) {
    match (setting, token) {
        (Some(true), Some(token)) if !tokens.contains(&token) => tokens.push(token),
        (Some(false), _) => tokens.clear(),
        _ => {}
    }
}

/// How tokens are spelled, by what undoes it.
fn spelling(decoder: &DecoderWrapper) -> Spelling {
    let prefix = |scheme| Spelling::SentencePiece {
        prefix_space: scheme != PrependScheme::Never,
    };
    match decoder {
        DecoderWrapper::ByteLevel(_) => Spelling::ByteLevel,
        DecoderWrapper::Metaspace(space) => prefix(space.get_prepend_scheme()),
        DecoderWrapper::Sequence(sequence) => {
            let parts = sequence.get_decoders();
            let known = parts
                .iter()
                .map(spelling)
                .find(|spelling| *spelling != Spelling::Plain);
            let strips = parts.iter().any(|part| {
                matches!(part, DecoderWrapper::Strip(strip) if strip.content == ' ' && strip.start > 0)
            });
            match known {
                Some(Spelling::SentencePiece { prefix_space }) => Spelling::SentencePiece {
                    prefix_space: prefix_space || strips,
                },
                Some(other) => other,
                None => Spelling::Plain,
            }
        }
        // Beside a byte fallback, what is replaced is the space.
        DecoderWrapper::ByteFallback(_) => Spelling::SentencePiece {
            prefix_space: false,
        },
        _ => Spelling::Plain,
    }
}
