//! How calls stand in a model's text.

use tinderbox_protocol::{Token, TokenizerInfo, ToolFormat};

/// The marks and keys of a [`ToolFormat`].
#[derive(Clone, Debug)]
pub(crate) struct Syntax {
    pub format: ToolFormat,
    /// Before a call, or before several.
    pub open: &'static str,
    /// Behind it; may be empty.
    pub close: &'static str,
    /// What may stand around calls besides space.
    pub between: &'static [char],
    /// The key of the arguments beside `name`.
    pub arguments: &'static str,
    /// A call may begin the answer without `open`.
    pub bare: bool,
    /// Marks that are tokens of the tokenizer's own and not in the text.
    special: Vec<(u32, &'static str)>,
}

impl Syntax {
    /// The syntax of a model.
    pub fn of(info: &TokenizerInfo) -> Syntax {
        let format = info.tool_format;
        let (open, close, between, arguments): (_, _, &[char], _) = match format {
            ToolFormat::Hermes => ("<tool_call>", "</tool_call>", &[], "arguments"),
            ToolFormat::Llama => ("<|python_tag|>", "", &[';'], "parameters"),
            ToolFormat::Mistral => ("[TOOL_CALLS]", "]", &['[', ','], "arguments"),
        };
        let id = |mark: &'static str| Some((*info.special_tokens.get(mark)?, mark));
        Syntax {
            format,
            open,
            close,
            between,
            arguments,
            bare: format == ToolFormat::Llama,
            special: [open, close].into_iter().filter_map(id).collect(),
        }
    }

    /// The id of a mark that is no text.
    pub fn special(&self, mark: &str) -> Option<u32> {
        let mut special = self.special.iter();
        special.find(|(_, text)| *text == mark).map(|(id, _)| *id)
    }

    /// A token's text, with the mark that it is.
    pub fn text(&self, token: &Token) -> String {
        let mark = self.special.iter().find(|(id, _)| *id == token.id);
        match mark {
            Some((_, mark)) if token.special && !token.text.ends_with(mark) => {
                format!("{}{mark}", token.text)
            }
            _ => token.text.clone(),
        }
    }

    /// What stands before the arguments, as the grammar writes it.
    pub fn head(&self, name: &str) -> String {
        format!("{{\"name\": \"{name}\", \"{}\": ", self.arguments)
    }
}
