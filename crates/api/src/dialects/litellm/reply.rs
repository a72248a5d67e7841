//! The answer.

use tinderbox_protocol::Error;

use super::ask::Plan;
use super::errors::renamed;
use super::wire::{Answer, Datum, Effective};
use crate::{Context, answer};

/// Asks and answers.
///
/// # Errors
/// A refusal, or a failure before the end.
pub(super) async fn whole(context: &Context, plan: Plan) -> Result<Answer, Error> {
    let sampling = &plan.batch.common.sampling;
    let params = Effective {
        temperature: sampling.temperature,
        top_k: sampling.top_k,
        top_p: sampling.top_p,
    };
    let streams = plan.batch.start(context).await.map_err(renamed)?;
    let answers = answer::collect(streams).await?;
    let data = plan.texts.into_iter().zip(answers);
    let data = data.map(|(prompt, answer)| Datum {
        output: vec![match context.litellm_echo {
            true => format!("{prompt}{}", answer.text),
            false => answer.text,
        }],
        prompt,
        params,
    });
    Ok(Answer {
        data: data.collect(),
        message: "ok",
    })
}
