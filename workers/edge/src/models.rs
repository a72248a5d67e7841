//! `GET /health` and `GET /v1/models` of the edge: what is here and what the nodes have.

use std::rc::Rc;
use std::time::Duration;

use futures::future::join_all;
use serde_json::{Value, json};
use worker::{RequestInit, Response};

use crate::edge::Edge;
use crate::forward::fetch;
use crate::isolate::Isolate;
use crate::world::now;

/// How long a node may take to say which models it has.
const PATIENCE: Duration = Duration::from_secs(2);

/// What takes requests, and how it is doing, as seen from this isolate.
pub fn health(edge: &Edge) -> worker::Result<Response> {
    let pool = edge.pool.borrow();
    let nodes = pool.nodes().enumerate().map(|(index, node)| {
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
            "memory_bytes": core::arch::wasm32::memory_size(0) << 16,
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
    let count = edge.pool.borrow().nodes().count();
    let nodes: Vec<usize> = (0..count)
        .filter(|index| edge.pool.borrow().takes(*index, now()))
        .collect();
    for found in join_all(nodes.into_iter().map(|index| of_node(edge, index))).await {
        all.extend(found);
    }
    Response::from_json(&json!({"object": "list", "data": all}))
}

/// What a node says it has; nothing where it does not say.
async fn of_node(edge: &Edge, index: usize) -> Vec<Value> {
    let node = edge.pool.borrow().node(index).clone();
    let url = format!("{}/v1/models", node.url.trim_end_matches('/'));
    let mut init = RequestInit::new();
    if let Some(key) = edge.node_key(&node) {
        let headers = worker::Headers::new();
        // A key that is no header's value is refused by the node.
        let _ = headers.set("authorization", &format!("Bearer {key}"));
        init.with_headers(headers);
    }
    let Ok(mut response) = fetch(&url, &init, PATIENCE, None).await else {
        edge.pool.borrow_mut().failed(index, now());
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
