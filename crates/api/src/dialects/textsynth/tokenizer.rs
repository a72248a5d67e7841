//! `tokenize`: the tokens of a text.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use tinderbox_protocol::{Encoded, Error, Prompt};

use super::wire::{Tokenize, Tokenized};
use crate::Context;
use crate::batch::invalid;

/// The tokens of a text.
///
/// # Errors
/// No text, an unknown engine.
pub(super) async fn tokenize(
    context: &Context,
    engine: &str,
    wire: Tokenize,
) -> Result<Tokenized, Error> {
    let text = wire.text.ok_or_else(|| invalid("text", "is required"))?;
    let content = match wire.token_content_type.as_deref() {
        None | Some("none") => false,
        Some("base64") => true,
        Some(other) => {
            let reason = format!("`{other}` is not none or base64");
            return Err(invalid("token_content_type", reason));
        }
    };
    let prompt = Prompt::Text {
        text,
        add_special_tokens: Some(false),
    };
    let Encoded { tokens, pieces } = context.inference.encode(engine, &prompt).await?;
    let pieces = pieces.iter().map(|bytes| STANDARD.encode(bytes));
    Ok(Tokenized {
        tokens,
        token_content: content.then(|| pieces.collect()),
    })
}
