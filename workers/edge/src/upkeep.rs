//! What is found out about the nodes beside requests: which there are, and how they are.
//!
//! An isolate has no time of its own, so a request that comes along after some seconds carries this
//! on; its answer does not wait for it.

use std::cell::Cell;
use std::rc::Rc;
use std::time::Duration;

use futures::future::{join, join_all};
use serde::Deserialize;
use worker::{Context, RequestInit, console_error};

use crate::config;
use crate::edge::Edge;
use crate::forward::{fetch, retry_after};
use crate::world::now;

/// Name of the list of nodes in the KV namespace `CONFIG`.
const LIST: &str = "nodes";
/// How often it is read again; as long as KV takes to spread a change.
const LISTED: Duration = Duration::from_secs(60);
/// How often the nodes' health is asked for.
const LOOKED: Duration = Duration::from_secs(10);
/// How long a node may take to say.
const PATIENCE: Duration = Duration::from_secs(2);

/// When what was last looked at.
#[derive(Default)]
pub struct Upkeep {
    listed: Cell<Option<Duration>>,
    looked: Cell<Option<Duration>>,
    /// The list was read once.
    ready: Cell<bool>,
}

/// Whether it was too long ago; then it is now.
fn due(last: &Cell<Option<Duration>>, every: Duration) -> bool {
    let due = |last| now().saturating_sub(last) >= every;
    let due = last.get().is_none_or(due);
    if due {
        last.set(Some(now()));
    }
    due
}

/// What matters of `GET /health` of a node.
#[derive(Deserialize, Default)]
#[serde(default)]
struct Health {
    details: Details,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Details {
    running: String,
    waiting: String,
}

impl Edge {
    /// Does what is due, beside the request of `context`. Only the first list of nodes is waited for.
    pub async fn keep_up(self: &Rc<Self>, context: &Context) {
        if !self.upkeep.ready.get() {
            self.list().await;
            self.upkeep.ready.set(true);
            self.upkeep.listed.set(Some(now()));
        }
        let list = due(&self.upkeep.listed, LISTED);
        let look = self.pool.borrow().nodes().next().is_some() && due(&self.upkeep.looked, LOOKED);
        if list || look {
            let edge = self.clone();
            context.wait_until(async move {
                let list = async {
                    if list {
                        edge.list().await;
                    }
                };
                let look = async {
                    if look {
                        edge.look().await;
                    }
                };
                join(list, look).await;
            });
        }
    }

    /// Reads the list of nodes. Where that fails those stay that there are; without one the variable's hold.
    async fn list(&self) {
        let Ok(store) = self.env.kv("CONFIG") else {
            return;
        };
        let read = async {
            let text = store.get(LIST).text().await;
            let text = text.map_err(|error| error.to_string())?;
            match text {
                Some(text) => config::nodes(&self.env, &text),
                None => config::default_nodes(&self.env),
            }
        };
        match read.await {
            Ok(nodes) => self.pool.borrow_mut().configure(nodes),
            Err(reason) => console_error!("the nodes in CONFIG: {reason}"),
        }
    }

    /// Asks all nodes how they are.
    async fn look(&self) {
        let nodes: Vec<usize> = {
            let pool = self.pool.borrow();
            pool.nodes().map(|(index, _)| index).collect()
        };
        join_all(nodes.into_iter().map(|index| self.look_at(index))).await;
    }

    async fn look_at(&self, index: usize) {
        let node = self.pool.borrow().node(index).clone();
        let start = now();
        let answer = fetch(self, &node, "/health", RequestInit::new(), PATIENCE, None).await;
        let health = match answer {
            Ok(mut answer) => match answer.status_code() {
                503 => Err(Some(retry_after(&answer).unwrap_or(LOOKED))),
                // What stands before it answers: a Tunnel, a proxy.
                500..=599 => Err(None),
                // A server of another make may have no such path, or no such body.
                _ => Ok(answer.json::<Health>().await.unwrap_or_default()),
            },
            Err(_) => Err(None),
        };
        let mut pool = self.pool.borrow_mut();
        match health {
            Ok(Health { details }) => {
                let count = |text: &str| text.parse().unwrap_or(0);
                pool.is_well(index, count(&details.running) + count(&details.waiting));
            }
            Err(Some(wait)) => pool.busy(index, wait, now()),
            Err(None) => pool.failed(index, start, now()),
        }
    }
}
