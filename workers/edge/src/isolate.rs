//! The model in this isolate.
//!
//! A Worker must not touch in one request what belongs to another, not even its timers: a loop that
//! one request started stops with it. So the engine has no loop of its own here. Whoever waits for an
//! answer gives the engine turns, each on a timer of its own request; a turn computes one step for
//! all sequences, whoever gives it.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context as TaskContext, Poll, Waker};
use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::http::{Request, Response};
use futures::future::LocalBoxFuture;
use futures::stream::unfold;
use futures::{FutureExt, Stream, StreamExt};
use tinderbox_api::{Context, DEFAULT_BODY_LIMIT, Keys, Limits, Metrics, router};
use tinderbox_engine::{AdapterStore, Limits as EngineLimits, Service, Setup};
use tinderbox_kernels::{Choice, select};
use tinderbox_model::{Checkpoint, Decoder, Storage};
use tinderbox_protocol::{AdapterCard, Inference, ModelCard};
use tower::ServiceExt;
use worker::signal::is_near_cpu_limit;
use worker::{Delay, console_warn};

use crate::adapters::Shelf;
use crate::gone::{Client, UntilGone};
use crate::packed::{Asset, Store};
use crate::place::Local;
use crate::world::{Isolated, now};

/// Sequences generated at once; they share the cache of one context.
const SEQUENCES: usize = 4;
/// Requests that wait beyond those.
const QUEUE: usize = 16;
/// Prompt rows of one turn: bounds how long others wait, and the memory of a step.
const PREFILL_ROWS: usize = 32;
/// How often a request looks whether another has loaded the model.
const LOOK_AGAIN: Duration = Duration::from_millis(20);
/// How often it looks again while nothing is computed: an adapter is read.
const IDLE: Duration = Duration::from_millis(5);
/// After that a request no longer counts as loading it: the runtime may drop one without a word.
const LOST: Duration = Duration::from_secs(60);

/// A loaded model.
pub struct Isolate {
    router: Router,
    service: Service,
    engine: RefCell<LocalBoxFuture<'static, ()>>,
}

/// What there is of it.
#[derive(Default)]
enum Slot {
    #[default]
    Empty,
    /// By a request that is under way, since then.
    Loading(Duration),
    Ready(Rc<Isolate>),
}

thread_local! {
    static SLOT: RefCell<Slot> = RefCell::default();
}

/// Empties the slot again unless the model came, or another request loads it by now.
struct Loading(Duration);

impl Drop for Loading {
    fn drop(&mut self) {
        SLOT.with_borrow_mut(|slot| match slot {
            Slot::Loading(since) if *since == self.0 => *slot = Slot::Empty,
            _ => {}
        });
    }
}

/// The router over what answers, from then on.
pub fn mount(inference: Arc<dyn Inference>, since: Duration) -> Router {
    router(Context {
        inference,
        place: Arc::new(Isolated { since }),
        // The edge has seen to both before it asks.
        keys: Arc::new(Keys::default()),
        limits: Arc::new(Limits::none()),
        litellm_echo: false,
        body_limit: DEFAULT_BODY_LIMIT,
        metrics: Arc::new(Metrics::default()),
    })
}

impl Isolate {
    /// The model, loaded by the first who asks.
    ///
    /// # Errors
    /// Why it cannot be loaded, in words. The next who asks tries again.
    pub async fn get(store: &Store, local: &Local) -> Result<Rc<Isolate>, String> {
        loop {
            let start = now();
            let found = SLOT.with_borrow_mut(|slot| match slot {
                Slot::Ready(isolate) => Some(Some(isolate.clone())),
                Slot::Loading(since) if start.saturating_sub(*since) < LOST => Some(None),
                Slot::Loading(_) | Slot::Empty => {
                    *slot = Slot::Loading(start);
                    None
                }
            });
            match found {
                Some(Some(isolate)) => return Ok(isolate),
                Some(None) => Delay::from(LOOK_AGAIN).await,
                None => {
                    let loading = Loading(start);
                    let isolate = Rc::new(Isolate::load(store, local).await?);
                    SLOT.set(Slot::Ready(isolate.clone()));
                    drop(loading);
                    return Ok(isolate);
                }
            }
        }
    }

    /// The model, where it is loaded.
    pub fn loaded() -> Option<Rc<Isolate>> {
        SLOT.with_borrow(|slot| match slot {
            Slot::Ready(isolate) => Some(isolate.clone()),
            _ => None,
        })
    }

    async fn load(store: &Store, local: &Local) -> Result<Isolate, String> {
        let since = now();
        let files = store.manifest(&local.model).await?.files.into_iter();
        let files = files.map(|file| {
            Box::new(Asset::new(store.clone(), &local.model, file)) as Box<dyn Storage>
        });
        let checkpoint = Checkpoint::from_gguf(files.collect()).await;
        let checkpoint = checkpoint.map_err(|error| error.to_string())?;
        let selected = select(Choice::Cpu).map_err(|error| error.to_string())?;
        let setup = Setup {
            name: local.model.clone(),
            context: local.context,
            kv: None,
            cache_bytes: 0,
            limits: EngineLimits {
                max_sequences: SEQUENCES,
                max_queue: QUEUE,
                prefill_rows: PREFILL_ROWS,
                ..EngineLimits::default()
            },
            adapters: (!local.adapters.is_empty()).then(|| {
                let shelf: Arc<dyn AdapterStore> = Arc::new(Shelf::new(store, &local.adapters));
                (shelf, local.adapter_bytes)
            }),
            clock: Arc::new(move || now().saturating_sub(since)),
            entropy: uuid::Uuid::new_v4().as_u64_pair().0,
            now: since.as_secs(),
        };
        let (plan, _) = setup.plan(&checkpoint, &selected.device);
        let decoder = Decoder::load(&checkpoint, &selected.device, plan).await;
        let decoder = decoder.map_err(|error| error.to_string())?;
        let description = selected.description;
        let (engine, service) = setup.engine(decoder, checkpoint, description, None);
        // It ends when every handle is gone, and the service keeps one.
        let engine = engine.run().map(drop).boxed_local();
        Ok(Isolate {
            router: mount(Arc::new(service.clone()), since),
            service,
            engine: RefCell::new(engine),
        })
    }

    /// What is served.
    pub fn card(&self) -> &ModelCard {
        self.service.card()
    }

    /// Its adapters, in memory or not.
    pub fn adapters(&self) -> Vec<AdapterCard> {
        self.service.adapters()
    }

    /// What the router counted, as Prometheus reads it.
    ///
    /// # Errors
    /// In words.
    pub async fn metrics(&self) -> Result<String, String> {
        let request = Request::get("/metrics").body(Body::empty());
        let request = request.map_err(|error| error.to_string())?;
        let Ok(response) = self.router.clone().oneshot(request).await;
        let body = axum::body::to_bytes(response.into_body(), usize::MAX).await;
        let body = body.map_err(|error| error.to_string())?;
        String::from_utf8(body.into()).map_err(|error| error.to_string())
    }

    /// Asks the router. The body of the answer gives turns as it is read. `None` where the client
    /// went first; its sequences are dropped as soon as that is known, by a turn that nobody else may give.
    pub async fn answer(
        self: Rc<Self>,
        request: Request<Body>,
        client: Client,
    ) -> Option<Response<impl Stream<Item = Result<Bytes, axum::Error>>>> {
        let turn = {
            let isolate = self.clone();
            move || isolate.turn()
        };
        let asked = self.router.clone().oneshot(request).boxed_local();
        let asked = UntilGone::new(asked, client.clone(), turn.clone());
        let response = self.wait_for(|cx| asked.poll(|asked| asked.poll_unpin(cx)));
        let response = match response.await? {
            Ok(response) => response,
            // A router never fails: its error type has no values.
            Err(never) => match never {},
        };
        drop(asked);
        Some(response.map(|body| {
            let chunks = UntilGone::new(body.into_data_stream(), client, turn);
            unfold((self, chunks), |(isolate, chunks)| async move {
                let next = isolate.wait_for(|cx| chunks.poll(|chunks| chunks.poll_next_unpin(cx)));
                let chunk = next.await.flatten()?;
                Some((chunk, (isolate, chunks)))
            })
        }))
    }

    /// Computes a step for all sequences, but those that nobody waits for any more.
    fn turn(&self) {
        // Nobody needs to be woken: whoever waits looks again after each turn.
        let mut context = TaskContext::from_waker(Waker::noop());
        let _ = self.engine.borrow_mut().as_mut().poll(&mut context);
    }

    /// Gives turns until there is an answer.
    async fn wait_for<T>(&self, mut poll: impl FnMut(&mut TaskContext) -> Poll<T>) -> T {
        let mut context = TaskContext::from_waker(Waker::noop());
        loop {
            if let Poll::Ready(value) = poll(&mut context) {
                return value;
            }
            if is_near_cpu_limit() {
                // What comes after the limit is lost, and the module's state with it.
                console_warn!("near the CPU limit: what runs is cut short");
                self.service.handle().cut_short();
            }
            self.turn();
            // Aborts, and the other requests of the isolate.
            let computes = self.service.handle().stats().running > 0;
            Delay::from(if computes { Duration::ZERO } else { IDLE }).await;
        }
    }
}
