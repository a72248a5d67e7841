//! What an adapter's folder says of text: a chat template of its own, and names of tokens.

use super::Fields;
use crate::{Added, ChatTemplate, Error};

const SETTINGS: &str = "tokenizer_config.json";
const ADDED: &str = "added_tokens.json";

/// What [`adapter_text`] finds.
#[derive(Default)]
pub struct AdapterText {
    /// The chat template, where it has one.
    pub template: Option<ChatTemplate>,
    /// Tokens it names, each within the model's vocabulary.
    pub added: Vec<Added>,
}

/// What an adapter's folder says of text. The files are given by name.
///
/// # Errors
/// A file or template that is broken; [`Error::Adapter`] for a token beyond the model's `vocab`.
pub fn adapter_text<'a>(
    file: impl Fn(&str) -> Option<&'a [u8]>,
    vocab: usize,
) -> Result<AdapterText, Error> {
    let read = |name| {
        file(name)
            .map(|bytes| Fields::parse(name, bytes))
            .transpose()
    };
    let settings = read(SETTINGS)?.unwrap_or_default();
    // A text to its id, and an id to what is known of it, which counts where both name a token.
    let names = read(ADDED)?.unwrap_or_default();
    let mut added = Vec::new();
    for (text, id) in names.iter() {
        added.push(known(ADDED, text, id.as_u64(), None, vocab)?);
    }
    if let Some(tokens) = settings.object("added_tokens_decoder")? {
        for (id, token) in tokens.iter() {
            let text = token["content"].as_str().unwrap_or_default();
            let special = token["special"].as_bool();
            added.push(known(SETTINGS, text, id.parse().ok(), special, vocab)?);
        }
    }
    let template = super::template(file("chat_template.jinja"), &settings)?;
    Ok(AdapterText { template, added })
}

fn known(
    file: &str,
    text: &str,
    id: Option<u64>,
    special: Option<bool>,
    vocab: usize,
) -> Result<Added, Error> {
    let reason = match id {
        Some(id) if id < vocab as u64 => {
            let (text, id) = (text.to_owned(), id as u32);
            return Ok(Added { text, id, special });
        }
        Some(id) => format!(
            "has the id {id}, and the model has {vocab} tokens; a new one would need a row of the embedding, which is no low-rank product"
        ),
        None => "has no id".to_owned(),
    };
    Err(Error::Adapter {
        file: file.to_owned(),
        place: format!("token `{text}`"),
        reason,
    })
}

#[cfg(test)]
mod tests {
    use tinderbox_protocol::Chat;

    use super::*;

    fn read(files: &[(&str, &str)]) -> Result<AdapterText, Error> {
        let find = |name: &str| files.iter().find(|file| file.0 == name);
        adapter_text(|name| find(name).map(|file| file.1.as_bytes()), 10)
    }

    #[test]
    fn a_template_of_its_own_is_found_in_either_file() {
        let settings = (SETTINGS, r#"{"chat_template": "settings"}"#);
        let jinja = ("chat_template.jinja", "jinja");
        for (files, text) in [
            (&[settings][..], "settings"),
            (&[settings, jinja][..], "jinja"),
        ] {
            let template = read(files).unwrap().template.unwrap();
            assert_eq!(template.render(&Chat::default(), None, None).unwrap(), text);
        }
        assert!(read(&[]).unwrap().template.is_none());
        assert!(read(&[(SETTINGS, "{}")]).unwrap().template.is_none());
        assert!(read(&[(SETTINGS, "{")]).is_err());
    }

    #[test]
    fn a_token_beyond_the_vocabulary_is_refused_by_name() {
        let decoder =
            |id: u32| format!(r#"{{"added_tokens_decoder": {{"{id}": {{"content": "<x>"}}}}}}"#);
        let both = [(SETTINGS, &*decoder(9)), (ADDED, r#"{"<y>": 8}"#)];
        let added = read(&both).unwrap().added;
        let added = added.iter().map(|added| (&*added.text, added.id));
        assert_eq!(added.collect::<Vec<_>>(), [("<y>", 8), ("<x>", 9)]);
        let beyond = read(&[(SETTINGS, &decoder(10))]).err().unwrap().to_string();
        assert!(
            beyond.contains("`<x>`") && beyond.contains("10 tokens"),
            "{beyond}"
        );
        let beyond = read(&[(ADDED, r#"{"<y>": 12}"#)])
            .err()
            .unwrap()
            .to_string();
        assert!(
            beyond.starts_with("added_tokens.json: token `<y>`"),
            "{beyond}"
        );
    }
}
