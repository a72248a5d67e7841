//! The variables of the Worker, in words that say what is wrong with them.

use std::str::FromStr;

use worker::Env;

use crate::nodes::Node;

/// A variable's or secret's text; `None` where there is none, or nothing in it.
pub fn text(env: &Env, name: &str) -> Option<String> {
    let value = env.var(name).ok()?.to_string();
    (!value.is_empty()).then_some(value)
}

/// A variable's number, or the default.
///
/// # Errors
/// What it is instead.
pub fn number<T: FromStr>(env: &Env, name: &str, default: T) -> Result<T, String> {
    match text(env, name) {
        None => Ok(default),
        Some(text) => text
            .parse()
            .map_err(|_| format!("{name}: `{text}` is no whole number")),
    }
}

/// The nodes of the variable `NODES`.
///
/// # Errors
/// What is wrong with it.
pub fn default_nodes(env: &Env) -> Result<Vec<Node>, String> {
    let list = text(env, "NODES").unwrap_or_else(|| "[]".into());
    nodes(env, &list).map_err(|reason| format!("NODES: {reason}"))
}

/// A list of nodes, whose secrets and bindings are there.
///
/// # Errors
/// What is wrong with it.
pub fn nodes(env: &Env, list: &str) -> Result<Vec<Node>, String> {
    let nodes: Vec<Node> = serde_json::from_str(list).map_err(|error| error.to_string())?;
    for node in &nodes {
        if let Some(name) = &node.secret {
            text(env, name).ok_or_else(|| format!("there is no secret {name}"))?;
        }
        if let Some(name) = &node.binding {
            env.service(name)
                .map_err(|error| format!("binding {name}: {error}"))?;
        }
    }
    Ok(nodes)
}
