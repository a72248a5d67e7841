//! Who answers while the model is still being loaded.

use std::collections::BTreeMap;
use std::sync::OnceLock;
use std::time::Duration;

use futures::FutureExt;
use futures::future::BoxFuture;
use tinderbox_protocol::{
    Encoded, Error, EventStream, Health, Inference, ModelCard, Phase, Prompt, Request,
    TokenizerInfo,
};

/// Refuses everything until it is opened, then passes everything on.
pub struct Gate<I> {
    inner: OnceLock<I>,
}

impl<I> Default for Gate<I> {
    fn default() -> Self {
        Gate {
            inner: OnceLock::new(),
        }
    }
}

impl<I: Inference> Gate<I> {
    /// Lets requests through from now on. A second call changes nothing.
    pub fn open(&self, inner: I) {
        let _ = self.inner.set(inner);
    }

    fn inner(&self) -> Result<&I, Error> {
        self.inner.get().ok_or_else(|| Error::Unavailable {
            reason: "the model is still loading".into(),
            retry_after: Duration::from_secs(2),
        })
    }
}

impl<I: Inference> Inference for Gate<I> {
    fn models(&self) -> Vec<ModelCard> {
        self.inner().map(I::models).unwrap_or_default()
    }

    fn health(&self) -> Health {
        let loading = || Health {
            phase: Phase::Loading,
            details: BTreeMap::new(),
        };
        self.inner().map_or_else(|_| loading(), I::health)
    }

    fn generate(&self, request: Request) -> BoxFuture<'static, Result<EventStream, Error>> {
        match self.inner() {
            Ok(inner) => inner.generate(request),
            Err(error) => async { Err(error) }.boxed(),
        }
    }

    fn encode(&self, model: &str, prompt: &Prompt) -> Result<Encoded, Error> {
        self.inner()?.encode(model, prompt)
    }

    fn decode(&self, model: &str, tokens: &[u32]) -> Result<String, Error> {
        self.inner()?.decode(model, tokens)
    }

    fn tokenizer_info(&self, model: &str) -> Result<TokenizerInfo, Error> {
        self.inner()?.tokenizer_info(model)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn before_the_model_is_there_everything_is_refused_with_a_time_to_come_back() {
        let gate: Gate<tinderbox_engine::Service> = Gate::default();
        assert_eq!(gate.health().phase, Phase::Loading);
        assert!(gate.models().is_empty());
        let answer = futures::executor::block_on(gate.generate(Request::default()));
        assert!(matches!(
            answer.err(),
            Some(Error::Unavailable { retry_after, .. }) if retry_after > Duration::ZERO
        ));
        assert!(gate.decode("m", &[1]).is_err());
    }
}
