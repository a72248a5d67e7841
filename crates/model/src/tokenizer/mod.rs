//! Text to token ids and back, as the checkpoint's own tokenizer does it.

mod additions;
mod alphabet;
mod bpe;
mod gguf;
mod hf;
mod merge;
mod specials;
mod split;
mod vocabulary;

use crate::Error;
pub use additions::{Added, Additions};
use bpe::{Bpe, SPACE};
use specials::Piece;

/// Most bytes of one text; ids and offsets within it are 32 bits wide.
const TEXT_LIMIT: usize = 1 << 30;

/// Turn ends that chat models write and that files often leave out of their list of end tokens.
const TURN_ENDS: [&str; 8] = [
    "<|im_end|>",
    "<|eot_id|>",
    "<|eom_id|>",
    "<|end|>",
    "<end_of_turn>",
    "<|endoftext|>",
    "<|end_of_text|>",
    "<EOT>",
];

/// A checkpoint's tokenizer.
pub struct Tokenizer {
    core: Core,
    spelling: Spelling,
    marks: Marks,
    file: String,
}

/// What finds the ids.
enum Core {
    /// From GGUF metadata.
    Own(Box<Bpe>),
    /// From a tokenizer.json.
    Library {
        library: Box<tokenizers::Tokenizer>,
        /// Tokens beside the vocabulary, sorted.
        added: Vec<u32>,
    },
}

/// How the text of an ordinary token is written in the vocabulary.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Spelling {
    /// As it is.
    Plain,
    /// In GPT-2's byte alphabet.
    ByteLevel,
    /// `▁` for a space, `<0xNN>` for a byte; `prefix_space` where a text begins with a space that
    /// is not its own.
    SentencePiece { prefix_space: bool },
}

/// Tokens with a role.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Marks {
    bos: Option<u32>,
    eos: Vec<u32>,
    pad: Option<u32>,
    /// Steering tokens, sorted.
    special: Vec<u32>,
    /// Put before every text by the checkpoint's rule.
    before: Vec<u32>,
    /// And behind it.
    after: Vec<u32>,
}

impl Tokenizer {
    /// Token ids of a text. Special tokens written out in it become their single id.
    ///
    /// `add_special_tokens` puts BOS (or EOS) around it where the checkpoint's rule says so;
    /// `None` is the same as `Some(true)`.
    ///
    /// # Errors
    /// A text above 1 GiB, or one the tokenizer refuses.
    pub fn encode(&self, text: &str, add_special_tokens: Option<bool>) -> Result<Vec<u32>, Error> {
        self.encode_with(text, add_special_tokens, None)
    }

    /// [`encode`](Tokenizer::encode), where the names of an adapter's tokens are found before anything else.
    ///
    /// # Errors
    /// As there.
    pub fn encode_with(
        &self,
        text: &str,
        add_special_tokens: Option<bool>,
        additions: Option<&Additions>,
    ) -> Result<Vec<u32>, Error> {
        if text.len() > TEXT_LIMIT {
            return Err(self.error(format!(
                "text of {} bytes, at most {TEXT_LIMIT}",
                text.len()
            )));
        }
        let ids = match additions {
            None => self.plain(text)?,
            Some(additions) => {
                let mut ids = Ok(Vec::new());
                additions.specials.split(text, |piece| {
                    let Ok(all) = &mut ids else { return };
                    match piece {
                        Piece::Token(id) => all.push(id),
                        Piece::Text(text) => match self.plain(text) {
                            Ok(more) => all.extend(more),
                            Err(error) => ids = Err(error),
                        },
                    }
                });
                ids?
            }
        };
        if add_special_tokens == Some(false) {
            return Ok(ids);
        }
        Ok([&self.marks.before[..], &ids, &self.marks.after].concat())
    }

    /// The ids of a text, with nothing around it.
    fn plain(&self, text: &str) -> Result<Vec<u32>, Error> {
        match &self.core {
            Core::Own(bpe) => Ok(bpe.encode(text)),
            Core::Library { library, .. } => {
                let encoding = library.encode_fast(text, false);
                let encoding = encoding.map_err(|e| self.error(e.to_string()))?;
                Ok(encoding.get_ids().to_vec())
            }
        }
    }

    /// Text of the tokens, special ones included. Bytes that are no UTF-8 become U+FFFD; a space
    /// the tokenizer put before the text is taken off again.
    pub fn decode(&self, ids: &[u32]) -> String {
        let mut bytes = Vec::with_capacity(ids.len() * 4);
        let mut begun = !self.strips_leading_space();
        for id in ids {
            let start = bytes.len();
            self.spell(*id, &mut bytes);
            if !begun && !self.is_special(*id) {
                begun = true;
                // A token that is written as it is has no space put before it.
                if bytes.get(start) == Some(&b' ') && !self.is_added(*id) {
                    bytes.remove(start);
                }
            }
        }
        match String::from_utf8(bytes) {
            Ok(text) => text,
            Err(broken) => String::from_utf8_lossy(broken.as_bytes()).into_owned(),
        }
    }

    /// The bytes a token contributes to the text; `None` outside the vocabulary.
    ///
    /// Joined over ids they are the text, but for the space some tokenizers put before it.
    pub fn token_bytes(&self, id: u32) -> Option<Vec<u8>> {
        let mut bytes = Vec::new();
        self.spell(id, &mut bytes).then_some(bytes)
    }

    /// Appends a token's bytes; `false` outside the vocabulary.
    fn spell(&self, id: u32, out: &mut Vec<u8>) -> bool {
        let Some(text) = self.token_text(id) else {
            return false;
        };
        match self.spelling {
            _ if self.is_special(id) => out.extend(text.as_bytes()),
            Spelling::ByteLevel if !self.is_added(id) => alphabet::decode(&text, out),
            Spelling::SentencePiece { .. } => match byte_token(&text) {
                Some(byte) => out.push(byte),
                None => out.extend(text.replace(SPACE, " ").as_bytes()),
            },
            _ => out.extend(text.as_bytes()),
        }
        true
    }

    /// A token's text as the vocabulary has it.
    pub fn token_text(&self, id: u32) -> Option<String> {
        match &self.core {
            Core::Own(bpe) => bpe.vocabulary.text(id).map(str::to_owned),
            Core::Library { library, .. } => library.id_to_token(id),
        }
    }

    /// The token with this text in the vocabulary.
    pub fn id(&self, text: &str) -> Option<u32> {
        match &self.core {
            Core::Own(bpe) => bpe.vocabulary.id(text),
            Core::Library { library, .. } => library.token_to_id(text),
        }
    }

    /// Whether a token steers the model and is no text.
    pub fn is_special(&self, id: u32) -> bool {
        self.marks.special.binary_search(&id).is_ok()
    }

    /// Whether a token is written as it is, not in the spelling of the others.
    fn is_added(&self, id: u32) -> bool {
        match &self.core {
            Core::Own(bpe) => bpe
                .vocabulary
                .kind(id)
                .is_some_and(vocabulary::Kind::is_whole),
            Core::Library { added, .. } => added.binary_search(&id).is_ok(),
        }
    }

    /// Number of token ids; the model's own may be larger.
    pub fn vocab_size(&self) -> usize {
        match &self.core {
            Core::Own(bpe) => bpe.vocabulary.len(),
            Core::Library { library, .. } => library.get_vocab_size(true),
        }
    }

    /// The token a text begins with.
    pub fn bos(&self) -> Option<u32> {
        self.marks.bos
    }

    /// Every token that ends an answer, the file's own end token first.
    pub fn eos(&self) -> &[u32] {
        &self.marks.eos
    }

    /// The token that fills a batch.
    pub fn pad(&self) -> Option<u32> {
        self.marks.pad
    }

    /// Whether a text gets a BOS by the checkpoint's rule.
    pub fn add_bos(&self) -> bool {
        self.marks.bos.is_some() && self.marks.before.first() == self.marks.bos.as_ref()
    }

    /// Kind of tokenizer, for people.
    pub fn class(&self) -> &'static str {
        match (&self.core, self.spelling) {
            (_, Spelling::ByteLevel) => "byte-level BPE",
            (Core::Own(_), Spelling::SentencePiece { .. }) => "SentencePiece BPE",
            (_, Spelling::SentencePiece { .. }) => "SentencePiece",
            (_, Spelling::Plain) => "tokenizer.json",
        }
    }

    /// Whether the first token of a text carries a space the text does not have.
    /// [`decode`](Tokenizer::decode) takes it off; a continuation keeps it.
    pub fn strips_leading_space(&self) -> bool {
        self.spelling == Spelling::SentencePiece { prefix_space: true }
    }

    fn error(&self, reason: String) -> Error {
        Error::Tokenizer {
            file: self.file.clone(),
            reason,
        }
    }
}

impl std::fmt::Debug for Tokenizer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (class, marks) = (self.class(), &self.marks);
        write!(
            f,
            "Tokenizer {{ {class}, {} tokens, {marks:?} }}",
            self.vocab_size()
        )
    }
}

impl Marks {
    /// Sorts out repetitions, and adds the turn ends that are special tokens here.
    fn complete(&mut self, id: impl Fn(&str) -> Option<u32>) {
        self.special.sort_unstable();
        self.special.dedup();
        let ends = TURN_ENDS.iter().filter_map(|text| id(text));
        self.eos
            .extend(ends.filter(|id| self.special.binary_search(id).is_ok()));
        let mut seen = Vec::new();
        self.eos.retain(|id| {
            let new = !seen.contains(id);
            seen.push(*id);
            new
        });
    }
}

/// The byte of a token like `<0x0A>`.
fn byte_token(text: &str) -> Option<u8> {
    let digits = text.strip_prefix("<0x")?.strip_suffix('>')?;
    let plain = digits.len() == 2 && digits.bytes().all(|digit| digit.is_ascii_hexdigit());
    u8::from_str_radix(digits, 16).ok().filter(|_| plain)
}
