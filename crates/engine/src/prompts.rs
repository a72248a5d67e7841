//! Prompts to token ids, by the checkpoint's rules.

use std::collections::BTreeMap;
use std::sync::Arc;

use tinderbox_model::{Additions, ChatTemplate, Error as ModelError, Tokenizer};
use tinderbox_protocol::{Chat, Error, Prompt};

use crate::Vocabulary;

/// A checkpoint's tokenizer and chat template.
pub(crate) struct Prompts {
    pub tokenizer: Arc<Tokenizer>,
    pub template: Option<ChatTemplate>,
    /// Bytes of the longest token: a text of `n` bytes has at least `n / longest` tokens.
    longest: usize,
}

/// What an adapter has of its own; where it has nothing, the checkpoint's is used.
pub(crate) struct Own {
    pub template: Option<ChatTemplate>,
    pub additions: Option<Additions>,
}

/// A prompt in token ids.
#[derive(Debug, PartialEq)]
pub(crate) struct Tokens {
    pub ids: Vec<u32>,
    /// The first is a BOS that is not in the text.
    pub added_bos: bool,
}

/// A prompt after the template, before the tokenizer.
enum Source {
    Ids(Vec<u32>),
    /// A text, and whether to add special tokens (`None`: by the checkpoint's rule).
    Text(String, Option<bool>),
}

impl Prompts {
    pub fn new(tokenizer: Arc<Tokenizer>, template: Option<ChatTemplate>) -> Prompts {
        let ids = 0..tokenizer.vocab_size() as u32;
        let longest = ids
            .map(|id| tokenizer.bytes(id).len())
            .max()
            .unwrap_or(1)
            .max(1);
        Prompts {
            tokenizer,
            template,
            longest,
        }
    }

    /// The token ids of a prompt.
    ///
    /// # Errors
    /// A template error, or a text the tokenizer refuses.
    pub fn encode(&self, prompt: Prompt) -> Result<Tokens, Error> {
        match self.source(prompt, None)? {
            Source::Ids(ids) => Ok(Tokens {
                ids,
                added_bos: false,
            }),
            Source::Text(text, special) => self.tokenize(&text, special, None),
        }
    }

    /// The token ids of a prompt that must fit `context` tokens, for an adapter that has its `own`. A text that cannot is not
    /// tokenized as a whole, so that ten megabytes cost no more than a full context.
    ///
    /// # Errors
    /// As [`Prompts::encode`]; [`Error::ContextOverflow`] for a text that surely does not fit.
    pub fn encode_within(
        &self,
        prompt: Prompt,
        own: Option<&Own>,
        context: usize,
        max_tokens: Option<usize>,
        truncate: bool,
    ) -> Result<Tokens, Error> {
        let template = own.and_then(|own| own.template.as_ref());
        let additions = own.and_then(|own| own.additions.as_ref());
        let (text, special) = match self.source(prompt, template)? {
            Source::Ids(ids) => {
                return Ok(Tokens {
                    ids,
                    added_bos: false,
                });
            }
            Source::Text(text, special) => (text, special),
        };
        let longest = self.longest.max(additions.map_or(0, Additions::longest));
        let most = context.saturating_mul(longest);
        if text.len() <= most {
            return self.tokenize(&text, special, additions);
        }
        if truncate {
            // The end alone fills the context; the engine cuts it to size.
            let end = &text[text.floor_char_boundary(text.len() - most)..];
            return self.tokenize(end, special, additions);
        }
        let prompt = text.len().div_ceil(longest);
        Err(Error::ContextOverflow {
            context,
            prompt,
            completion: max_tokens.unwrap_or(1),
        })
    }

    /// Texts of the end and control tokens, with their ids.
    pub fn special_tokens(&self) -> BTreeMap<String, u32> {
        let ids = 0..self.tokenizer.vocab_size() as u32;
        let special = ids.filter(|id| self.tokenizer.is_special(*id));
        let named = special.filter_map(|id| Some((self.tokenizer.token_text(id)?, id)));
        named.collect()
    }

    /// The text of the beginning-of-sequence token.
    pub fn bos_text(&self) -> Option<String> {
        self.tokenizer
            .bos()
            .and_then(|id| self.tokenizer.token_text(id))
    }

    fn source(&self, prompt: Prompt, template: Option<&ChatTemplate>) -> Result<Source, Error> {
        Ok(match prompt {
            Prompt::Tokens(ids) => Source::Ids(ids),
            Prompt::Text {
                text,
                add_special_tokens,
            } => Source::Text(text, add_special_tokens),
            Prompt::Chat(chat) => {
                let text = self.render(&chat, template.or(self.template.as_ref()))?;
                // Most templates write the BOS themselves; a second one would confuse the model.
                let has_bos = self.bos_text().is_some_and(|bos| text.starts_with(&bos));
                Source::Text(text, has_bos.then_some(false))
            }
        })
    }

    fn render(&self, chat: &Chat, template: Option<&ChatTemplate>) -> Result<String, Error> {
        let Some(template) = template else {
            let reason = "this checkpoint has none; send a plain prompt";
            return Err(Error::Template(reason.into()));
        };
        let bos = self.bos_text();
        let eos = self
            .tokenizer
            .eos()
            .first()
            .and_then(|id| self.tokenizer.token_text(*id));
        let text = template.render(chat, bos.as_deref(), eos.as_deref());
        text.map_err(|error| match error {
            ModelError::Template {
                line: Some(line),
                reason,
            } => Error::Template(format!("{reason} (line {line})")),
            ModelError::Template { line: None, reason } => Error::Template(reason),
            other => Error::Template(other.to_string()),
        })
    }

    fn tokenize(
        &self,
        text: &str,
        special: Option<bool>,
        additions: Option<&Additions>,
    ) -> Result<Tokens, Error> {
        let ids = self
            .tokenizer
            .encode_with(text, special, additions)
            .map_err(|error| Error::Invalid {
                field: "prompt".into(),
                reason: error.to_string(),
            })?;
        let added_bos = special != Some(false) && self.tokenizer.add_bos();
        Ok(Tokens { ids, added_bos })
    }
}
