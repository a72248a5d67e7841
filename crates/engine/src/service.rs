//! The engine behind `trait Inference`: text in, text out.

use std::collections::BTreeMap;
use std::sync::Arc;

use futures::FutureExt;
use futures::future::BoxFuture;
use tinderbox_model::{ChatTemplate, Config, Tokenizer};
use tinderbox_protocol::{
    Adapter, AdapterCard, Available, Encoded, Error, EventStream, Health, Inference, Loaded,
    ModelCard, Phase, Prompt, Request, Stats, TokenizerInfo, ToolFormat,
};

use crate::adapters::{self, AdapterStore, Lease, Pool};
use crate::prompts::Prompts;
use crate::{Guides, Handle, Submission, Vocabulary};

/// One model, served by an engine in this process.
#[derive(Clone)]
pub struct Service {
    handle: Handle,
    prompts: Arc<Prompts>,
    guides: Arc<Guides>,
    card: ModelCard,
    aliases: Vec<String>,
    memory: BTreeMap<&'static str, u64>,
    adapters: Option<Pool>,
}

impl Vocabulary for Tokenizer {
    fn bytes(&self, id: u32) -> Vec<u8> {
        self.token_bytes(id).unwrap_or_default()
    }

    fn is_special(&self, id: u32) -> bool {
        Tokenizer::is_special(self, id)
    }

    fn end_tokens(&self) -> &[u32] {
        self.eos()
    }
}

impl Service {
    /// Serves the model behind `handle` under the card's id and its `aliases`. The engine's own
    /// bounds replace those on the card; `memory` is what the model holds, bytes by kind.
    pub fn new(
        handle: Handle,
        tokenizer: Arc<Tokenizer>,
        template: Option<ChatTemplate>,
        card: ModelCard,
        aliases: Vec<String>,
        memory: BTreeMap<&'static str, u64>,
    ) -> Service {
        let card = ModelCard {
            context_length: handle.context(),
            vocab_size: handle.vocab_size(),
            ..card
        };
        let guides = Guides::new(tokenizer.clone(), handle.vocab_size());
        Service {
            handle,
            guides: Arc::new(guides),
            prompts: Arc::new(Prompts::new(tokenizer, template)),
            card,
            aliases,
            memory,
            adapters: None,
        }
    }

    /// Serves adapters, too: those that `store` finds, `budget` bytes of them in memory at most.
    /// They must fit `model`.
    pub fn with_adapters(
        self,
        store: Arc<dyn AdapterStore>,
        budget: u64,
        model: Config,
    ) -> Service {
        let tokenizer = self.prompts.tokenizer.clone();
        Service {
            adapters: Some(Pool::new(store, budget, model, tokenizer)),
            ..self
        }
    }

    /// The way to the engine.
    pub fn handle(&self) -> &Handle {
        &self.handle
    }

    /// What is served.
    pub fn card(&self) -> &ModelCard {
        &self.card
    }

    /// What the model holds: bytes by kind.
    pub fn memory(&self) -> &BTreeMap<&'static str, u64> {
        &self.memory
    }

    fn check_model(&self, model: &str) -> Result<(), Error> {
        if model.is_empty() || model == self.card.id || self.aliases.iter().any(|a| a == model) {
            return Ok(());
        }
        Err(Error::ModelNotFound {
            model: model.into(),
            known: self.card.id.clone(),
        })
    }

    /// The adapter a request names, in memory.
    async fn adapter(&self, adapter: Option<&Adapter>) -> Result<Option<Lease>, Error> {
        match (adapter, &self.adapters) {
            (None, _) => Ok(None),
            (Some(adapter), Some(pool)) => pool.lease(adapter).await.map(Some),
            (Some(adapter), None) => Err(Error::AdapterNotFound {
                adapter: adapters::name(adapter),
            }),
        }
    }

    async fn start(&self, request: Request) -> Result<EventStream, Error> {
        self.check_model(&request.model)?;
        // Whoever waits for an adapter is in the house.
        let place = self.handle.enter()?;
        let lease = self.adapter(request.adapter.as_ref()).await?;
        let resident = lease.as_ref().map(|lease| &*lease.resident);
        let tokens = self.prompts.encode_within(
            request.prompt,
            resident.map(|resident| &resident.own),
            self.handle.context(),
            request.max_tokens,
            request.truncate_prompt,
        )?;
        let guide = request
            .constraint
            .map(|constraint| self.guides.guide(&constraint));
        let submission = Submission {
            id: request.id,
            tokens: tokens.ids,
            added_bos: tokens.added_bos,
            adapter: resident.map(|resident| resident.number),
            max_tokens: request.max_tokens,
            sampling: request.sampling,
            stop: request.stop,
            guide: guide.transpose()?,
            logprobs: request.logprobs,
            prompt_logprobs: request.prompt_logprobs,
            truncate_prompt: request.truncate_prompt,
        };
        self.handle.start(place, submission, lease)
    }
}

impl Inference for Service {
    fn models(&self) -> Vec<ModelCard> {
        vec![self.card.clone()]
    }

    fn available(&self) -> Vec<Available> {
        vec![Available {
            id: self.card.id.clone(),
            description: String::new(),
            progress: 1.0,
        }]
    }

    fn adapters(&self) -> Vec<AdapterCard> {
        let pool = self.adapters.as_ref();
        pool.map_or_else(Vec::new, |pool| adapters::cards(pool, &self.card.id))
    }

    fn load(&self, model: &str) -> BoxFuture<'static, Result<Loaded, Error>> {
        let known = self.check_model(model).map(|()| Loaded::Already);
        async { known }.boxed()
    }

    /// An engine has one model for as long as it lives.
    fn unload(&self, model: &str) -> BoxFuture<'static, Result<Option<String>, Error>> {
        let refused = self.check_model(model).and_then(|()| {
            Err(Error::Invalid {
                field: "model".into(),
                reason: "the only model of this server cannot be unloaded".into(),
            })
        });
        async { refused }.boxed()
    }

    fn stats(&self) -> Vec<Stats> {
        let stats = self.handle.stats();
        let mut memory = self.memory.clone();
        let (adapters, bytes) = self.adapters.as_ref().map(Pool::size).unwrap_or_default();
        memory.insert("adapters", bytes);
        vec![Stats {
            model: self.card.id.clone(),
            running: stats.running,
            waiting: stats.waiting,
            capacity: self.handle.capacity(),
            used_blocks: stats.blocks - stats.free_blocks,
            blocks: stats.blocks,
            adapters,
            memory,
        }]
    }

    fn health(&self) -> Health {
        let stats = self.handle.stats();
        let phase = match self.handle.failure() {
            Some(reason) => Phase::Failed(reason.into()),
            None if self.handle.is_stopped() => Phase::Stopping,
            None => Phase::Ready,
        };
        let mut details = BTreeMap::from([
            ("device".into(), self.card.device.clone()),
            ("running".into(), stats.running.to_string()),
            ("waiting".into(), stats.waiting.to_string()),
            (
                "kv_blocks".into(),
                format!("{} of {} free", stats.free_blocks, stats.blocks),
            ),
            (
                "tokens_per_second".into(),
                format!("{:.1}", stats.tokens_per_second),
            ),
        ]);
        if stats.guessed_tokens > 0 {
            let (right, all) = (stats.accepted_tokens, stats.guessed_tokens);
            details.insert("guessed_tokens".into(), format!("{right} of {all} right"));
        }
        Health { phase, details }
    }

    fn generate(&self, request: Request) -> BoxFuture<'static, Result<EventStream, Error>> {
        let service = self.clone();
        // Tokenizing and compiling run where the future is polled: the caller's thread, never the engine's.
        async move { service.start(request).await }.boxed()
    }

    fn encode(&self, model: &str, prompt: &Prompt) -> BoxFuture<'static, Result<Encoded, Error>> {
        let (service, model, prompt) = (self.clone(), model.to_owned(), prompt.clone());
        async move {
            service.check_model(&model)?;
            let tokens = service.prompts.encode(prompt)?.ids;
            let pieces = tokens.iter();
            let pieces = pieces.map(|id| service.prompts.tokenizer.bytes(*id));
            Ok(Encoded {
                pieces: pieces.collect(),
                tokens,
            })
        }
        .boxed()
    }

    fn decode(&self, model: &str, tokens: &[u32]) -> BoxFuture<'static, Result<String, Error>> {
        let (service, model, tokens) = (self.clone(), model.to_owned(), tokens.to_vec());
        async move { service.text(&model, &tokens) }.boxed()
    }

    fn tokenizer_info(&self, model: &str) -> BoxFuture<'static, Result<TokenizerInfo, Error>> {
        let info = self.check_model(model).map(|()| self.info());
        async { info }.boxed()
    }
}

impl Service {
    fn text(&self, model: &str, tokens: &[u32]) -> Result<String, Error> {
        self.check_model(model)?;
        let vocab = self.handle.vocab_size();
        if let Some(index) = tokens.iter().position(|id| *id as usize >= vocab) {
            return Err(Error::Invalid {
                field: format!("tokens[{index}]"),
                reason: format!(
                    "token id {} is outside the vocabulary of {vocab}",
                    tokens[index]
                ),
            });
        }
        Ok(self.prompts.tokenizer.decode(tokens))
    }

    fn info(&self) -> TokenizerInfo {
        let tokenizer = &self.prompts.tokenizer;
        let text = |id: Option<u32>| id.and_then(|id| tokenizer.token_text(id));
        TokenizerInfo {
            class: tokenizer.class().into(),
            bos_token: text(tokenizer.bos()),
            eos_token: text(tokenizer.eos().first().copied()),
            pad_token: text(tokenizer.pad()),
            chat_template: self
                .prompts
                .template
                .as_ref()
                .map(|t| t.source().to_owned()),
            add_bos: tokenizer.add_bos(),
            special_tokens: self.prompts.special_tokens(),
            tool_format: (self.prompts.template.as_ref())
                .map_or_else(ToolFormat::default, |template| template.tool_format()),
        }
    }
}
