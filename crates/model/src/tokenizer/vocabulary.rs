//! Token texts in one allocation, found by id or by text.

use std::hash::{BuildHasher, RandomState};

use hashbrown::HashTable;

use crate::gguf::Strings;

/// What a token is for: `tokenizer.ggml.token_type`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// Text.
    Normal,
    /// Stands for what the vocabulary cannot say.
    Unknown,
    /// Steers the model; never part of a text.
    Control,
    /// Text that is always one token.
    UserDefined,
    /// A place without a token.
    Unused,
    /// One byte, written `<0xNN>`.
    Byte,
}

impl Kind {
    pub fn from_gguf(kind: i32) -> Option<Kind> {
        Some(match kind {
            // 0 is `undefined`, which converters write for plain pieces.
            0 | 1 => Kind::Normal,
            2 => Kind::Unknown,
            3 => Kind::Control,
            4 => Kind::UserDefined,
            5 => Kind::Unused,
            6 => Kind::Byte,
            _ => return None,
        })
    }

    /// Written out in a text it is one token, whatever stands around it.
    pub fn is_whole(self) -> bool {
        matches!(self, Kind::Control | Kind::UserDefined | Kind::Unknown)
    }
}

/// The tokens of a model: a few bytes each beside their text, as the process may hold 262,144.
pub(super) struct Vocabulary {
    texts: Strings,
    kinds: Vec<Kind>,
    ids: HashTable<u32>,
    hasher: RandomState,
}

impl Vocabulary {
    /// Tokens by id. Where two have the same text, the first is found by it.
    ///
    /// # Panics
    /// Where there are not as many kinds as texts.
    pub fn new(texts: Strings, kinds: Vec<Kind>) -> Self {
        assert_eq!(texts.len(), kinds.len());
        let hasher = RandomState::new();
        let mut ids = HashTable::with_capacity(texts.len());
        for (id, text) in texts.iter().enumerate() {
            let same = |other: &u32| texts.get(*other as usize) == Some(text);
            let hash = |id: &u32| hasher.hash_one(texts.get(*id as usize).unwrap_or_default());
            ids.entry(hasher.hash_one(text), same, hash)
                .or_insert(id as u32);
        }
        Vocabulary {
            texts,
            kinds,
            ids,
            hasher,
        }
    }

    pub fn len(&self) -> usize {
        self.texts.len()
    }

    pub fn text(&self, id: u32) -> Option<&str> {
        self.texts.get(id as usize)
    }

    pub fn kind(&self, id: u32) -> Option<Kind> {
        self.kinds.get(id as usize).copied()
    }

    pub fn id(&self, text: &str) -> Option<u32> {
        let same = |id: &u32| self.texts.get(*id as usize) == Some(text);
        self.ids.find(self.hasher.hash_one(text), same).copied()
    }

    /// Every token with its text and kind, in order of their ids.
    pub fn iter(&self) -> impl Iterator<Item = (u32, &str, Kind)> {
        let kinds = self.kinds.iter().copied();
        self.texts
            .iter()
            .zip(kinds)
            .enumerate()
            .map(|(id, (text, kind))| (id as u32, text, kind))
    }
}
