//! `GET /health`, `/v1/models` and `/metrics` of the edge: what is here and what the nodes have.

use std::rc::Rc;
use std::time::Duration;

use futures::future::join_all;
use serde_json::{Value, json};
use worker::{Headers, RequestInit, Response};

use crate::edge::Edge;
use crate::forward::fetch;
use crate::isolate::Isolate;
use crate::unloaded;
use crate::world::now;

/// How long a node may take to say which models it has.
const PATIENCE: Duration = Duration::from_secs(2);

/// What takes requests, and how it is doing, as seen from this isolate.
pub fn health(edge: &Edge) -> worker::Result<Response> {
    let pool = edge.pool.borrow();
    let nodes = pool.nodes().map(|(index, node)| {
        json!({
            "name": node.name,
            "takes_requests": pool.takes(index, now()),
            "waiting": pool.waiting(index, now()),
        })
    });
    let nodes: Vec<Value> = nodes.collect();
    let model = edge.local.as_ref().map(|local| {
        json!({
            "name": local.model,
            "loaded": Isolate::loaded().is_some(),
            "memory_bytes": memory_bytes(),
        })
    });
    let up = model.is_some() || pool.is_up(None, now());
    let body = json!({
        "status": if up { "healthy" } else { "unavailable" },
        "phase": if up { "ready" } else { "failed" },
        "model": model,
        "nodes": nodes,
    });
    let response = Response::from_json(&body)?;
    Ok(response.with_status(if up { 200 } else { 503 }))
}

/// The models of all places, each with its own.
pub async fn models(edge: &Rc<Edge>) -> worker::Result<Response> {
    let local = edge.local.iter().map(|local| {
        let created = Isolate::loaded().map_or(0, |isolate| isolate.card().created);
        json!({
            "id": local.model, "object": "model", "created": created, "owned_by": "tinderbox",
            "max_model_len": local.context, "place": "edge",
        })
    });
    let mut all: Vec<Value> = local.collect();
    let loaded = Isolate::loaded().map(|isolate| isolate.adapters());
    let local = edge.local.as_ref();
    let adapters = loaded.or_else(|| local.map(unloaded::adapters));
    all.extend(adapters.into_iter().flatten().map(|card| {
        json!({
            "id": card.id, "object": "model", "created": 0, "owned_by": "tinderbox", "max_model_len": null,
            "loaded": card.loaded, "parent": card.parent, "place": "edge",
        })
    }));
    let nodes: Vec<usize> = {
        let pool = edge.pool.borrow();
        let open = pool.nodes().filter(|(index, _)| pool.takes(*index, now()));
        open.map(|(index, _)| index).collect()
    };
    for found in join_all(nodes.into_iter().map(|index| of_node(edge, index))).await {
        all.extend(found);
    }
    Response::from_json(&json!({"object": "list", "data": all}))
}

/// What a node says it has; nothing where it does not say.
async fn of_node(edge: &Edge, index: usize) -> Vec<Value> {
    let node = edge.pool.borrow().node(index).clone();
    let start = now();
    let answer = fetch(
        edge,
        &node,
        "/v1/models",
        RequestInit::new(),
        PATIENCE,
        None,
    );
    let Ok(mut response) = answer.await else {
        edge.pool.borrow_mut().failed(index, start, now());
        return Vec::new();
    };
    let list: Value = response.json().await.unwrap_or_default();
    let models = list["data"].as_array().cloned().unwrap_or_default();
    let named = models.into_iter().map(|mut model| {
        if model.is_object() {
            model["place"] = json!("node");
            model["node"] = json!(node.name);
        }
        model
    });
    named.collect()
}

/// What this isolate counted, and the router of its model where that is loaded.
pub async fn metrics(edge: &Edge) -> Result<Response, String> {
    let mut text = edge
        .metrics
        .text(&edge.pool.borrow(), now(), memory_bytes())?;
    if let Some(isolate) = Isolate::loaded() {
        text += &isolate.metrics().await?;
    }
    let response = Response::ok(text).map_err(|error| error.to_string())?;
    let headers = Headers::new();
    let set = headers.set("content-type", prometheus::TEXT_FORMAT);
    set.map_err(|error| error.to_string())?;
    Ok(response.with_headers(headers))
}

/// The memory of the module, which never shrinks.
fn memory_bytes() -> usize {
    core::arch::wasm32::memory_size(0) << 16
}
