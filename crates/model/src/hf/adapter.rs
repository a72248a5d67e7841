//! What an adapter's folder says of text: a chat template of its own, and tokens it adds.

use super::Fields;
use crate::{ChatTemplate, Error};

const SETTINGS: &str = "tokenizer_config.json";
const ADDED: &str = "added_tokens.json";

/// The chat template of an adapter's folder, where it has one. The files are given by name.
///
/// # Errors
/// A file or template that is broken; [`Error::Adapter`] for a token beyond the model's `vocab`.
pub fn adapter_template<'a>(
    file: impl Fn(&str) -> Option<&'a [u8]>,
    vocab: usize,
) -> Result<Option<ChatTemplate>, Error> {
    let read = |name| {
        file(name)
            .map(|bytes| Fields::parse(name, bytes))
            .transpose()
    };
    let settings = read(SETTINGS)?.unwrap_or_default();
    // A text to its id, and an id to what is known of it.
    let added = read(ADDED)?.unwrap_or_default();
    for (text, id) in added.iter() {
        known(ADDED, text, id.as_u64(), vocab)?;
    }
    if let Some(tokens) = settings.object("added_tokens_decoder")? {
        for (id, token) in tokens.iter() {
            let text = token["content"].as_str().unwrap_or_default();
            known(SETTINGS, text, id.parse().ok(), vocab)?;
        }
    }
    super::template(file("chat_template.jinja"), &settings)
}

fn known(file: &str, text: &str, id: Option<u64>, vocab: usize) -> Result<(), Error> {
    let reason = match id {
        Some(id) if id < vocab as u64 => return Ok(()),
        Some(id) => format!(
            "has the id {id}, and the model has {vocab} tokens; adapters that add tokens are not supported"
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

    fn read(files: &[(&str, &str)]) -> Result<Option<ChatTemplate>, Error> {
        let find = |name: &str| files.iter().find(|file| file.0 == name);
        adapter_template(|name| find(name).map(|file| file.1.as_bytes()), 10)
    }

    #[test]
    fn a_template_of_its_own_is_found_in_either_file() {
        let settings = (SETTINGS, r#"{"chat_template": "settings"}"#);
        let jinja = ("chat_template.jinja", "jinja");
        for (files, text) in [
            (&[settings][..], "settings"),
            (&[settings, jinja][..], "jinja"),
        ] {
            let template = read(files).unwrap().unwrap();
            assert_eq!(template.render(&Chat::default(), None, None).unwrap(), text);
        }
        assert!(read(&[]).unwrap().is_none());
        assert!(read(&[(SETTINGS, "{}")]).unwrap().is_none());
        assert!(read(&[(SETTINGS, "{")]).is_err());
    }

    #[test]
    fn a_token_beyond_the_vocabulary_is_refused_by_name() {
        let decoder =
            |id: u32| format!(r#"{{"added_tokens_decoder": {{"{id}": {{"content": "<x>"}}}}}}"#);
        assert!(read(&[(SETTINGS, &decoder(9)), (ADDED, r#"{"<y>": 9}"#)]).is_ok());
        let beyond = read(&[(SETTINGS, &decoder(10))]).unwrap_err().to_string();
        assert!(
            beyond.contains("`<x>`") && beyond.contains("10 tokens"),
            "{beyond}"
        );
        let beyond = read(&[(ADDED, r#"{"<y>": 12}"#)]).unwrap_err().to_string();
        assert!(
            beyond.starts_with("added_tokens.json: token `<y>`"),
            "{beyond}"
        );
    }
}
