//! Prompts that are cut to their last tokens.

use tinderbox_protocol::{Encoded, Error, Prompt};

use crate::Context;

/// The prompt, or its last `keep` tokens where it is longer.
///
/// # Errors
/// An unknown model, a template error.
pub(crate) async fn prompt(
    context: &Context,
    model: &str,
    prompt: Prompt,
    keep: usize,
) -> Result<Prompt, Error> {
    if let Prompt::Tokens(mut tokens) = prompt {
        tokens.drain(..tokens.len().saturating_sub(keep));
        return Ok(Prompt::Tokens(tokens));
    }
    let Encoded { tokens, .. } = context.inference.encode(model, &prompt).await?;
    Ok(match tokens.len() > keep {
        true => Prompt::Tokens(tokens[tokens.len() - keep..].to_vec()),
        false => prompt,
    })
}
