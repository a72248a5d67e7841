//! How byte-level models cut a text into words before merging: `tokenizer.ggml.pre`.

use regex::Regex;

/// Contractions, words, numbers, signs, spaces (GPT-2).
const GPT2: &str = r"'(?:[sdmt]|ll|ve|re)| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+";
/// The same, but one sign may lead a word, numbers come in threes, line ends stay together.
const LLAMA3: &str = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+";
/// As Llama 3, but every digit alone.
const QWEN2: &str = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+";
/// Words also end where a capital follows a small letter (Mistral NeMo).
const TEKKEN: &str = r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+";
/// As Tekken, with contractions and numbers in threes (o200k: Phi-4-mini).
const GPT4O: &str = r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+";

/// What a name in `tokenizer.ggml.pre` stands for.
#[derive(Debug)]
pub(super) struct Preset {
    names: &'static [&'static str],
    pattern: &'static str,
    /// Every number character alone, before the pattern is applied to the rest.
    digits: bool,
    /// Text is brought to Unicode's composed form first.
    pub nfc: bool,
    /// A word that is a token is that token, whatever the merges say.
    pub whole_words: bool,
    /// Whether a BOS is added where the file does not say.
    pub add_bos: bool,
}

const PLAIN: Preset = Preset {
    names: &[],
    pattern: GPT2,
    digits: false,
    nfc: false,
    whole_words: false,
    add_bos: false,
};

static PRESETS: [Preset; 7] = [
    Preset {
        names: &["default", "gpt-2", "gptj", "phi-2", "olmo"],
        ..PLAIN
    },
    Preset {
        names: &["smollm", "starcoder", "refact", "command-r"],
        digits: true,
        ..PLAIN
    },
    Preset {
        names: &["llama-bpe", "llama3", "llama-v3", "falcon3"],
        pattern: LLAMA3,
        whole_words: true,
        add_bos: true,
        ..PLAIN
    },
    Preset {
        names: &["dbrx", "smaug-bpe"],
        pattern: LLAMA3,
        ..PLAIN
    },
    Preset {
        names: &["qwen2", "qwen3", "deepseek-r1-qwen"],
        pattern: QWEN2,
        nfc: true,
        ..PLAIN
    },
    Preset {
        names: &["tekken"],
        pattern: TEKKEN,
        whole_words: true,
        add_bos: true,
        ..PLAIN
    },
    Preset {
        names: &["gpt-4o"],
        pattern: GPT4O,
        ..PLAIN
    },
];

impl Preset {
    /// The preset of a name; the known names where there is none.
    pub fn named(name: &str) -> Result<&'static Preset, String> {
        PRESETS
            .iter()
            .find(|preset| preset.names.contains(&name))
            .ok_or_else(|| {
                let known: Vec<_> = PRESETS
                    .iter()
                    .flat_map(|preset| preset.names)
                    .copied()
                    .collect();
                format!("`{name}` is unknown (known: {})", known.join(", "))
            })
    }
}

/// Cuts texts by a preset.
#[derive(Debug)]
pub(super) struct Splitter {
    digits: bool,
    words: Regex,
    /// The pattern has an alternative of its own for white space that ends in a line end.
    lines: bool,
}

impl Splitter {
    pub fn new(preset: &Preset) -> Self {
        let words = Regex::new(preset.pattern).expect("the presets' patterns are valid");
        Splitter {
            digits: preset.digits,
            words,
            lines: preset.pattern != GPT2,
        }
    }

    /// Calls `word` with each word; together they are the text.
    pub fn split<'t>(&self, text: &'t str, mut word: impl FnMut(&'t str)) {
        if !self.digits {
            return self.cut(text, &mut word);
        }
        let mut rest = text;
        while let Some(at) = rest.find(char::is_numeric) {
            self.cut(&rest[..at], &mut word);
            let len = rest[at..].chars().next().map_or(0, char::len_utf8);
            word(&rest[at..at + len]);
            rest = &rest[at + len..];
        }
        self.cut(rest, &mut word);
    }

    fn cut<'t>(&self, mut rest: &'t str, word: &mut impl FnMut(&'t str)) {
        while !rest.is_empty() {
            let end = self
                .words
                .find(rest)
                .map_or(rest.len(), |found| found.end());
            let end = end - self.given_back(&rest[..end], end == rest.len());
            word(&rest[..end]);
            rest = &rest[end..];
        }
    }

    /// Bytes of a match that belong to the next word.
    ///
    /// The published patterns say `\s+(?!\S)|\s+`: white space before a word leaves its last
    /// character to that word. Without the look-ahead the patterns run in linear time.
    fn given_back(&self, found: &str, last: bool) -> usize {
        let line_end = self.lines && found.ends_with(['\r', '\n']);
        if last || line_end || !found.chars().all(char::is_whitespace) {
            return 0;
        }
        let len = found.chars().next_back().map_or(0, char::len_utf8);
        if len < found.len() { len } else { 0 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(preset: &str, text: &'static str) -> Vec<&'static str> {
        let mut words = Vec::new();
        Splitter::new(Preset::named(preset).unwrap()).split(text, |word| words.push(word));
        words
    }

    #[test]
    fn white_space_leaves_its_last_character_to_the_word_that_follows() {
        assert_eq!(
            words("gpt-2", "a   b\t\tc  "),
            ["a", "  ", " b", "\t", "\t", "c", "  "]
        );
        assert_eq!(
            words("qwen2", "a\n\n  b \n"),
            ["a", "\n\n", " ", " b", " \n"]
        );
    }

    #[test]
    fn digits_stand_alone_or_in_threes_by_the_preset() {
        assert_eq!(words("smollm", "x 12"), ["x", " ", "1", "2"]);
        assert_eq!(words("llama-bpe", "x 1234"), ["x", " ", "123", "4"]);
        assert_eq!(words("gpt-2", "x 1234"), ["x", " 1234"]);
    }

    #[test]
    fn an_unknown_preset_is_refused_with_the_known_ones() {
        let reason = Preset::named("klingon").unwrap_err();
        assert!(
            reason.starts_with("`klingon` is unknown (known: default, gpt-2"),
            "{reason}"
        );
    }
}
