//! `/system/instructions`: the system message of conversations that have none. Kept in memory, so
//! gone with the server; there is none at the start.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use axum::{Extension, Json};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::Refusal;
use super::errors::Body;
use super::models::known;
use crate::Context;
use crate::batch::invalid;
use crate::payload::{Payload, parse};

/// Instructions by model; those of the empty name are for all that have no own.
#[derive(Default)]
pub(crate) struct Instructions(Mutex<BTreeMap<String, String>>);

impl Instructions {
    /// The system message for a model; an empty one is none.
    pub fn of(&self, model: &str) -> Option<String> {
        let texts = self.texts();
        let text = texts.get(model).or_else(|| texts.get(""));
        text.filter(|text| !text.is_empty()).cloned()
    }

    fn texts(&self) -> MutexGuard<'_, BTreeMap<String, String>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// `POST /system/instructions`.
#[derive(Deserialize, ToSchema)]
#[schema(as = LocalLabSetInstructions)]
pub(super) struct Set {
    instructions: String,
    /// Default: all models.
    model_id: Option<String>,
}

/// Whose instructions are meant.
#[derive(Deserialize, IntoParams)]
pub(super) struct Whose {
    /// Default: those of all models.
    model_id: Option<String>,
}

/// Instructions.
#[derive(Serialize, ToSchema)]
#[schema(as = LocalLabInstructions)]
pub(super) struct Current {
    /// Empty where there are none.
    instructions: String,
    /// A model, or `global`.
    model_id: String,
}

/// What was done.
#[derive(Serialize, ToSchema)]
#[schema(as = LocalLabDone)]
pub(super) struct Done {
    message: String,
}

type Shared = Extension<Arc<Instructions>>;

/// Tells the system message of conversations that have none.
#[utoipa::path(get, path = "/system/instructions", tag = "locallab", params(Whose),
    responses((status = 200, body = Current), (status = "default", body = Body)))]
pub(super) async fn show(
    Extension(instructions): Shared,
    whose: Result<Query<Whose>, QueryRejection>,
) -> Result<Json<Current>, Refusal> {
    let model = whose_model(whose)?;
    Ok(Json(Current {
        instructions: instructions.of(&model).unwrap_or_default(),
        model_id: match model.is_empty() {
            true => "global".into(),
            false => model,
        },
    }))
}

/// Sets it, for one model or all.
#[utoipa::path(post, path = "/system/instructions", tag = "locallab", request_body = Set,
    responses((status = 200, body = Done), (status = "default", body = Body)))]
pub(super) async fn set(
    State(context): State<Context>,
    Extension(instructions): Shared,
    body: Payload,
) -> Result<Json<Done>, Refusal> {
    let set: Set = parse(&body.bytes()?)?;
    let model = set.model_id.unwrap_or_default();
    let message = match model.as_str() {
        "" => "Updated global system instructions".into(),
        model => {
            // Else the map could grow without end.
            known(&context, model)?;
            format!("Updated system instructions for model {model}")
        }
    };
    instructions.texts().insert(model, set.instructions);
    Ok(Json(Done { message }))
}

/// Forgets it, for one model or all.
#[utoipa::path(post, path = "/system/instructions/reset", tag = "locallab", params(Whose),
    responses((status = 200, body = Done), (status = "default", body = Body)))]
pub(super) async fn reset(
    Extension(instructions): Shared,
    whose: Result<Query<Whose>, QueryRejection>,
) -> Result<Json<Done>, Refusal> {
    let model = whose_model(whose)?;
    let mut texts = instructions.texts();
    let whose = match model.as_str() {
        "" => {
            texts.clear();
            "all models".into()
        }
        model => {
            texts.remove(model);
            format!("model {model}")
        }
    };
    let message = format!("Reset system instructions for {whose}");
    Ok(Json(Done { message }))
}

fn whose_model(whose: Result<Query<Whose>, QueryRejection>) -> Result<String, Refusal> {
    let Query(whose) = whose.map_err(|rejection| invalid("model_id", rejection.body_text()))?;
    Ok(whose.model_id.unwrap_or_default())
}
