//! `tinderbox serve`

use std::io::IsTerminal;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use axum::Router;
use axum::extract::{Request, State};
use axum::http::{StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use subtle::ConstantTimeEq;
use tinderbox_api::{Context, DEFAULT_BODY_LIMIT, REQUEST_ID};
use tinderbox_engine::{Handle, Service};
use tokio::net::TcpListener;
use tower_http::cors::CorsLayer;
use tower_http::trace::TraceLayer;
use tracing_subscriber::EnvFilter;

use crate::gate::Gate;
use crate::runtime::{Serving, unix_seconds};
use crate::settings::{LogFormat, Settings};

/// Serves until SIGTERM or SIGINT.
pub async fn run(settings: &Settings) -> anyhow::Result<ExitCode> {
    log_to_stderr(settings.log_format);
    let place = (settings.host, settings.port);
    let listener = TcpListener::bind(place).await.with_context(|| {
        format!(
            "{}:{}: cannot listen there (choose another --port)",
            place.0, place.1
        )
    })?;
    let address = listener.local_addr()?;

    // Probes are answered while the model is fetched and loaded.
    let gate = Arc::new(Gate::default());
    let router = router(gate.clone(), settings);
    let (stop, mut stopped) = tokio::sync::watch::channel(false);
    let server = tokio::spawn({
        let stopped = async move {
            // An error means that the sender is gone, which stops the server as well.
            let _ = stopped.wait_for(|stop| *stop).await;
        };
        axum::serve(listener, router)
            .with_graceful_shutdown(stopped)
            .into_future()
    });

    let serving = tokio::select! {
        serving = load(settings) => serving?,
        signal = signal() => {
            tracing::info!(signal, "stopped while loading");
            return Ok(ExitCode::SUCCESS);
        }
    };
    announce(&address.to_string(), &serving);
    gate.open(serving.service.clone());

    tracing::info!(signal = signal().await, "finishing what runs");
    serving.handle.stop();
    let finished = finish(serving.handle.clone(), settings.shutdown_timeout);
    tokio::select! {
        () = finished => {}
        signal = signal() => {
            tracing::warn!(signal, "stopped at once");
            return Ok(ExitCode::FAILURE);
        }
    }
    // A receiver that is gone has stopped already.
    let _ = stop.send(true);
    // Answers that are complete still have to reach their readers; idle connections do not count.
    let _ = tokio::time::timeout(Duration::from_secs(2), server).await;
    tokio::task::spawn_blocking(move || serving.join()).await?;
    Ok(ExitCode::SUCCESS)
}

async fn load(settings: &Settings) -> anyhow::Result<Serving> {
    let local = super::model(settings).await?;
    let settings = settings.clone();
    tokio::task::spawn_blocking(move || Serving::start(&settings, &local)).await?
}

/// Returns when nothing runs any more, and ends what still runs after `seconds`.
async fn finish(handle: Handle, seconds: u64) {
    let mut ticks = tokio::time::interval(Duration::from_millis(20));
    let deadline = tokio::time::Instant::now() + Duration::from_secs(seconds);
    let mut aborted = false;
    loop {
        ticks.tick().await;
        let stats = handle.stats();
        if stats.running + stats.waiting == 0 {
            return;
        }
        if !aborted && tokio::time::Instant::now() > deadline {
            tracing::warn!(
                running = stats.running,
                "out of time: ending what still runs"
            );
            handle.abort();
            aborted = true;
        }
    }
}

/// The dialects, and this place's own policies around them; the last layer is the outermost.
fn router(gate: Arc<Gate<Service>>, settings: &Settings) -> Router {
    let context = Context {
        inference: gate,
        now: unix_seconds,
        new_id: || uuid::Uuid::new_v4().simple().to_string(),
        body_limit: DEFAULT_BODY_LIMIT,
    };
    // A 503 while loading is no fault; `log_answer` tells every status.
    let trace = TraceLayer::new_for_http()
        .on_response(log_answer)
        .on_failure(());
    let mut router = tinderbox_api::router(context).layer(trace);
    if let Some(key) = &settings.api_key {
        router = router.layer(middleware::from_fn_with_state(
            Arc::<str>::from(key.as_str()),
            check_key,
        ));
    }
    router.layer(CorsLayer::permissive())
}

/// One line an answer; its time is that to the first byte.
fn log_answer(response: &Response, latency: Duration, _: &tracing::Span) {
    let id = response
        .headers()
        .get(REQUEST_ID)
        .and_then(|id| id.to_str().ok());
    let (status, milliseconds) = (response.status().as_u16(), latency.as_millis() as u64);
    tracing::info!(request_id = id, status, milliseconds, "answered");
}

/// Lets a request through that has the key. Health stays open for probes.
async fn check_key(State(key): State<Arc<str>>, request: Request, next: Next) -> Response {
    let given = request
        .headers()
        .get(header::AUTHORIZATION)
        .and_then(|v| v.to_str().ok());
    let given = given
        .and_then(|value| value.strip_prefix("Bearer "))
        .unwrap_or_default();
    let right = bool::from(given.as_bytes().ct_eq(key.as_bytes()));
    if right || request.uri().path() == "/health" {
        return next.run(request).await;
    }
    let error = serde_json::json!({ "error": {
        "message": "Missing or wrong API key: send it as `Authorization: Bearer KEY`.",
        "type": "authentication_error", "param": null, "code": "invalid_api_key",
    }});
    (StatusCode::UNAUTHORIZED, axum::Json(error)).into_response()
}

fn announce(address: &str, serving: &Serving) {
    let cards = tinderbox_protocol::Inference::models(&serving.service);
    let Some(card) = cards.first() else { return };
    println!(
        "Tinderbox is ready.

  address  http://{address}
  model    {} ({} tokens of context)
  device   {} ({})

Try:
  curl http://{address}/v1/chat/completions -H 'Content-Type: application/json' \\
    -d '{{\"model\": \"{}\", \"messages\": [{{\"role\": \"user\", \"content\": \"What is the capital of France?\"}}]}}'
",
        card.id, card.context_length, serving.device, serving.reason, card.id
    );
}

fn log_to_stderr(format: LogFormat) {
    let filter = EnvFilter::try_from_default_env();
    // cubecl and wgpu tell their inner life at the level of information.
    let filter = filter.unwrap_or_else(|_| EnvFilter::new("warn,tinderbox=info,tower_http=info"));
    let log = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_ansi(std::io::stderr().is_terminal())
        .with_writer(std::io::stderr);
    // A second subscriber (a test in the same process) is refused, and the first goes on.
    let _ = match format {
        LogFormat::Text => log.try_init(),
        LogFormat::Json => log.json().try_init(),
    };
}

/// Waits for a signal to stop, and answers with its name.
async fn signal() -> &'static str {
    let interrupt = async {
        if tokio::signal::ctrl_c().await.is_err() {
            std::future::pending::<()>().await;
        }
        "SIGINT"
    };
    #[cfg(unix)]
    {
        use tokio::signal::unix::{SignalKind, signal};
        let terminate = async {
            match signal(SignalKind::terminate()) {
                Ok(mut stream) => stream.recv().await,
                Err(_) => std::future::pending().await,
            };
            "SIGTERM"
        };
        tokio::select! { name = interrupt => name, name = terminate => name }
    }
    #[cfg(not(unix))]
    interrupt.await
}
