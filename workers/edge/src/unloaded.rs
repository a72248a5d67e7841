//! The model of the isolate before it is loaded. Pages and facts, and what is not there, are not worth
//! its loading.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::body::Body;
use axum::http::{Request, Response};
use futures::FutureExt;
use futures::future::{BoxFuture, ready};
use tinderbox_protocol::{
    self as protocol, AdapterCard, AdapterSource, Available, Encoded, Error, EventStream, Health,
    Inference, Loaded, ModelCard, Phase, Prompt, Stats, TokenizerInfo,
};
use tower::ServiceExt;

use crate::isolate::mount;
use crate::place::Local;
use crate::world::now;

/// Answers what needs no model.
pub async fn answer(local: &Local, request: Request<Body>) -> Response<Body> {
    let card = ModelCard {
        id: local.model.clone(),
        created: 0,
        context_length: local.context,
        vocab_size: 0,
        device: String::new(),
        dtype: String::new(),
    };
    let unloaded = Arc::new(Unloaded(card, adapters(local)));
    let Ok(response) = mount(unloaded, now()).oneshot(request).await;
    response
}

/// The adapters of the configuration, none of them in memory.
pub fn adapters(local: &Local) -> Vec<AdapterCard> {
    let names = local.adapters.iter();
    let cards = names.map(|name| AdapterCard {
        id: name.clone(),
        source: AdapterSource::Local,
        parent: local.model.clone(),
        loaded: false,
    });
    cards.collect()
}

/// What is known from the configuration.
struct Unloaded(ModelCard, Vec<AdapterCard>);

fn refused<T: Send + 'static>() -> BoxFuture<'static, Result<T, Error>> {
    ready(Err(Error::NoModel)).boxed()
}

impl Inference for Unloaded {
    fn models(&self) -> Vec<ModelCard> {
        vec![self.0.clone()]
    }

    fn available(&self) -> Vec<Available> {
        vec![Available {
            id: self.0.id.clone(),
            description: String::new(),
            progress: 0.0,
        }]
    }

    fn adapters(&self) -> Vec<AdapterCard> {
        self.1.clone()
    }

    fn load(&self, _: &str) -> BoxFuture<'static, Result<Loaded, Error>> {
        refused()
    }

    fn unload(&self, _: &str) -> BoxFuture<'static, Result<Option<String>, Error>> {
        ready(Ok(None)).boxed()
    }

    fn stats(&self) -> Vec<Stats> {
        Vec::new()
    }

    fn health(&self) -> Health {
        Health {
            phase: Phase::Ready,
            details: BTreeMap::new(),
        }
    }

    fn generate(&self, _: protocol::Request) -> BoxFuture<'static, Result<EventStream, Error>> {
        refused()
    }

    fn encode(&self, _: &str, _: &Prompt) -> BoxFuture<'static, Result<Encoded, Error>> {
        refused()
    }

    fn decode(&self, _: &str, _: &[u32]) -> BoxFuture<'static, Result<String, Error>> {
        refused()
    }

    fn tokenizer_info(&self, _: &str) -> BoxFuture<'static, Result<TokenizerInfo, Error>> {
        refused()
    }
}
