//! Whole answers.

use axum::Json;
use axum::response::{IntoResponse, Response};
use tinderbox_protocol::{Error, EventStream};

use super::wire::{Chatted, Choice, Generated, GeneratedBatch, Message};
use crate::answer::{Answer, collect, finish_reason};
use crate::usage::Usage;

/// To `POST /generate`. It has no `choices`, which the command line would look into first.
///
/// # Errors
/// The sequence's.
pub(super) async fn text(streams: Vec<EventStream>, model: String) -> Result<Response, Error> {
    let answers = collect(streams).await?;
    let usage = Usage::of(&answers, 1).into();
    let text: String = answers.into_iter().map(|answer| answer.text).collect();
    Ok(Json(Generated {
        response: text.clone(),
        text,
        model: model.clone(),
        model_id: model,
        usage,
    })
    .into_response())
}

/// To `POST /generate/batch`.
///
/// # Errors
/// The first of a sequence.
pub(super) async fn batch(streams: Vec<EventStream>) -> Result<Response, Error> {
    let answers = collect(streams).await?;
    Ok(Json(GeneratedBatch {
        usage: Usage::of(&answers, 1).into(),
        responses: answers.into_iter().map(|answer| answer.text).collect(),
    })
    .into_response())
}

/// To `POST /chat`.
///
/// # Errors
/// The sequence's.
pub(super) async fn chat(streams: Vec<EventStream>) -> Result<Response, Error> {
    let answers = collect(streams).await?;
    let usage = Usage::of(&answers, 1).into();
    let choice = |(index, answer): (usize, Answer)| Choice {
        index,
        finish_reason: finish_reason(&answer.finish.reason),
        message: Message {
            role: "assistant".into(),
            content: answer.text,
        },
    };
    let choices = answers.into_iter().enumerate().map(choice).collect();
    Ok(Json(Chatted { choices, usage }).into_response())
}
