//! `/models`: what there is, and loading and unloading it.

use std::collections::BTreeMap;

use axum::Json;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};
use tinderbox_protocol::{Available, Error, Loaded};
use utoipa::ToSchema;

use super::Refusal;
use super::errors::Body;
use crate::Context;
use crate::batch::invalid;
use crate::payload::{Payload, parse};

/// `POST /models/load`.
#[derive(Deserialize, ToSchema)]
#[schema(as = LocalLabLoad)]
pub(super) struct Load {
    /// A name of `GET /models/available`.
    model_id: Option<String>,
}

/// What was done.
#[derive(Serialize, ToSchema)]
#[schema(as = LocalLabOutcome)]
pub(super) struct Outcome {
    status: &'static str,
    message: String,
}

/// A model that can be loaded.
#[derive(Serialize, ToSchema)]
#[schema(as = LocalLabModel)]
pub(super) struct Model {
    id: String,
    name: String,
    can_load: bool,
    description: String,
    is_loaded: bool,
}

/// All of them.
#[derive(Serialize, ToSchema)]
#[schema(as = LocalLabModels)]
pub(super) struct Models {
    models: Vec<Model>,
    current_model: Option<String>,
}

/// How far a model is loaded.
#[derive(Serialize, ToSchema)]
#[schema(as = LocalLabStatus)]
pub(super) struct Status {
    id: String,
    name: String,
    /// The id again: the command line reads it here.
    model_id: String,
    is_loaded: bool,
    /// 0 is not at all, 1 is loaded.
    loading_progress: f32,
}

impl From<Available> for Model {
    fn from(model: Available) -> Self {
        Model {
            name: model.id.clone(),
            id: model.id,
            can_load: true,
            description: model.description,
            is_loaded: model.progress >= 1.0,
        }
    }
}

impl Status {
    fn new(id: String, progress: f32) -> Status {
        Status {
            name: id.clone(),
            model_id: id.clone(),
            id,
            is_loaded: progress >= 1.0,
            loading_progress: progress,
        }
    }
}

/// The current model's name.
pub(super) fn current_id(context: &Context) -> Option<String> {
    context.card("").map(|card| card.id)
}

/// A model that can be loaded.
///
/// # Errors
/// There is none of that name.
pub(super) fn known(context: &Context, id: &str) -> Result<Available, Error> {
    let mut models = context.inference.available();
    if let Some(place) = models.iter().position(|model| model.id == id) {
        return Ok(models.swap_remove(place));
    }
    let known: Vec<String> = models.into_iter().map(|model| model.id).collect();
    Err(Error::ModelNotFound {
        model: id.into(),
        known: known.join(", "),
    })
}

/// Lists the models that can be loaded, for the node client: by name.
#[utoipa::path(get, path = "/models", tag = "locallab",
    responses((status = 200, body = BTreeMap<String, Model>)))]
pub(super) async fn by_name(State(context): State<Context>) -> Json<BTreeMap<String, Model>> {
    let models = context.inference.available().into_iter();
    Json(models.map(|m| (m.id.clone(), m.into())).collect())
}

/// Lists the models that can be loaded.
#[utoipa::path(get, path = "/models/available", tag = "locallab",
    responses((status = 200, body = Models)))]
pub(super) async fn available(State(context): State<Context>) -> Json<Models> {
    let models = context.inference.available().into_iter();
    Json(Models {
        models: models.map(Model::from).collect(),
        current_model: current_id(&context),
    })
}

/// The same as `/models/available`.
#[utoipa::path(get, path = "/models/list", tag = "locallab",
    responses((status = 200, body = Models)))]
pub(super) async fn list(context: State<Context>) -> Json<Models> {
    available(context).await
}

/// Tells the current model; 404 where none is loaded.
#[utoipa::path(get, path = "/models/current", tag = "locallab",
    responses((status = 200, body = Status), (status = 404, body = Body)))]
pub(super) async fn current(State(context): State<Context>) -> Response {
    match current_id(&context) {
        Some(id) => Json(Status::new(id, 1.0)).into_response(),
        None => {
            let body = Body {
                detail: "No model currently loaded".into(),
            };
            (StatusCode::NOT_FOUND, Json(body)).into_response()
        }
    }
}

/// Tells how far a model is loaded.
#[utoipa::path(get, path = "/models/status/{id}", tag = "locallab",
    params(("id" = String, Path, description = "May contain slashes")),
    responses((status = 200, body = Status), (status = "default", body = Body)))]
pub(super) async fn status(
    State(context): State<Context>,
    id: Result<Path<String>, PathRejection>,
) -> Result<Json<Status>, Refusal> {
    let model = known(&context, &segment(id)?)?;
    Ok(Json(Status::new(model.id, model.progress)))
}

/// Makes a model the current one, and answers when it is.
#[utoipa::path(post, path = "/models/load", tag = "locallab", request_body = Load,
    responses((status = 200, body = Outcome), (status = "default", body = Body)))]
pub(super) async fn load(
    State(context): State<Context>,
    body: Payload,
) -> Result<Json<Outcome>, Refusal> {
    let Load { model_id } = parse(&body.bytes()?)?;
    let id = model_id.filter(|id| !id.is_empty());
    let id = id.ok_or_else(|| invalid("model_id", "is required"))?;
    load_model(&context, &id).await
}

/// The same, with the model in the path.
#[utoipa::path(post, path = "/models/load/{id}", tag = "locallab",
    params(("id" = String, Path, description = "May contain slashes")),
    responses((status = 200, body = Outcome), (status = "default", body = Body)))]
pub(super) async fn load_by_path(
    State(context): State<Context>,
    id: Result<Path<String>, PathRejection>,
) -> Result<Json<Outcome>, Refusal> {
    load_model(&context, &segment(id)?).await
}

async fn load_model(context: &Context, id: &str) -> Result<Json<Outcome>, Refusal> {
    let how = match context.inference.load(id).await? {
        Loaded::Now => "loaded successfully",
        Loaded::Already => "is already loaded",
    };
    Ok(Json(Outcome {
        status: "success",
        message: format!("Model {id} {how}"),
    }))
}

/// Unloads the current model. The body is not read.
#[utoipa::path(post, path = "/models/unload", tag = "locallab",
    responses((status = 200, body = Outcome), (status = "default", body = Body)))]
pub(super) async fn unload(State(context): State<Context>) -> Result<Json<Outcome>, Refusal> {
    Ok(Json(match context.inference.unload("").await? {
        Some(id) => Outcome {
            // The Python client's `unload_model` is true for this text only.
            status: "Model unloaded successfully",
            message: format!("Model {id} unloaded successfully"),
        },
        None => Outcome {
            status: "success",
            message: "No model is currently loaded".into(),
        },
    }))
}

fn segment(id: Result<Path<String>, PathRejection>) -> Result<String, Refusal> {
    let Path(id) = id.map_err(|rejection| invalid("model_id", rejection.body_text()))?;
    Ok(id)
}
