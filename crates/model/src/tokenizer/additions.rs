//! Names that an adapter gives to tokens of the vocabulary, such as rows that a checkpoint keeps free.

use std::collections::BTreeMap;

use super::Tokenizer;
use super::specials::Specials;

/// A token as an adapter's folder names it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Added {
    /// Its text.
    pub text: String,
    /// Its id, within the vocabulary.
    pub id: u32,
    /// It steers the model and is no text; unknown where the folder does not say.
    pub special: Option<bool>,
}

/// What an adapter's requests read and write in place of the checkpoint's own names.
pub struct Additions {
    pub(super) specials: Specials,
    names: BTreeMap<u32, Added>,
}

impl Additions {
    /// Those of `tokens` that the tokenizer does not have under this name; `None` where there is none.
    ///
    /// # Errors
    /// Where the texts are too many or too long to search for, in words.
    pub fn new(tokens: Vec<Added>, tokenizer: &Tokenizer) -> Result<Option<Additions>, String> {
        let is_new =
            |added: &Added| !added.text.is_empty() && tokenizer.id(&added.text) != Some(added.id);
        // Of two names for an id the later one counts.
        let new = tokens.into_iter().filter(is_new);
        let names: BTreeMap<u32, Added> = new.map(|added| (added.id, added)).collect();
        if names.is_empty() {
            return Ok(None);
        }
        let texts = names.values();
        let specials = Specials::new(texts.map(|added| (added.text.clone(), added.id, false)))?;
        Ok(Some(Additions { specials, names }))
    }

    /// Bytes of the longest name.
    pub fn longest(&self) -> usize {
        let texts = self.names.values().map(|added| added.text.len());
        texts.max().unwrap_or_default()
    }

    /// The token of this id, where it has a name of the adapter's.
    pub fn named(&self, id: u32) -> Option<&Added> {
        self.names.get(&id)
    }
}
