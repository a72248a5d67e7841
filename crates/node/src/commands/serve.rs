//! `tinderbox serve`

use std::io::{IsTerminal, Write};
use std::net::SocketAddr;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use axum::Router;
use axum::extract::{ConnectInfo, Request};
use axum::http::HeaderValue;
use axum::middleware::{self, Next};
use axum::response::Response;
use axum::serve::ListenerExt;
use tinderbox_api::{ClientAddress, Context, Gpu, Keys, Limits, REQUEST_ID};
use tinderbox_kernels::{Selected, select};
use tinderbox_protocol::Inference;
use tokio::net::TcpListener;
use tower_http::cors::{AllowHeaders, CorsLayer};
use tracing_subscriber::EnvFilter;

use crate::host::Host;
use crate::models::Models;
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

    // Before the model is fetched, so that a wrong device is told at once.
    let selected = select(settings.device.parse()?)?;
    let host = Host::new(gpus(&selected));
    let models = Models::new(settings.clone(), budget(settings, &host, &selected))?;

    // Probes are answered while the model is fetched and loaded.
    let router = router(models.clone(), host, settings)?;
    let (stop, mut stopped) = tokio::sync::watch::channel(false);
    let server = tokio::spawn({
        let stopped = async move {
            // An error means that the sender is gone, which stops the server as well.
            let _ = stopped.wait_for(|stop| *stop).await;
        };
        let service = router.into_make_service_with_connect_info::<SocketAddr>();
        // A token is sent when it is there, not with the next one or 40 ms later (RFC 896).
        let listener = listener.tap_io(|connection| {
            if let Err(error) = connection.set_nodelay(true) {
                tracing::debug!(%error, "a connection keeps its delay");
            }
        });
        axum::serve(listener, service)
            .with_graceful_shutdown(stopped)
            .into_future()
    });

    tokio::select! {
        loaded = load(settings, &models) => loaded?,
        signal = signal() => {
            tracing::info!(signal, "stopped while loading");
            return Ok(ExitCode::SUCCESS);
        }
    };
    announce(&address.to_string(), &models);

    // Not inside the macro, which leaves its arguments alone where the level is not logged.
    let signal_name = signal().await;
    tracing::info!(signal = signal_name, "finishing what runs");
    models.stop();
    let finished = finish(models.clone(), settings.shutdown_timeout);
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
    tokio::task::spawn_blocking(move || models.join()).await?;
    Ok(ExitCode::SUCCESS)
}

/// Fetches the model of the settings where it is not here, and loads it.
async fn load(settings: &Settings, models: &Models) -> anyhow::Result<()> {
    let local = match models.candidate(&settings.model) {
        Some(local) => local,
        None => super::model(settings).await?,
    };
    models.add(local.clone());
    models.load(&local.name).await?;
    Ok(())
}

fn gpus(selected: &Selected) -> Vec<Gpu> {
    let name = selected.description.clone();
    let gpu = (!selected.is_cpu()).then_some(Gpu { name, memory: None });
    gpu.into_iter().collect()
}

/// Bytes that all loaded models may take.
fn budget(settings: &Settings, host: &Host, selected: &Selected) -> u64 {
    match settings.memory {
        Some(mib) => mib << 20,
        None if selected.is_cpu() => host.memory() / 4 * 3,
        None => u64::MAX,
    }
}

/// Returns when nothing runs any more, and ends what still runs after `seconds`.
async fn finish(models: Models, seconds: u64) {
    let mut ticks = tokio::time::interval(Duration::from_millis(20));
    let deadline = tokio::time::Instant::now() + Duration::from_secs(seconds);
    let mut aborted = false;
    loop {
        ticks.tick().await;
        let busy = models.busy();
        if busy == 0 {
            return;
        }
        if !aborted && tokio::time::Instant::now() > deadline {
            tracing::warn!(busy, "out of time: ending what still runs");
            models.abort();
            aborted = true;
        }
    }
}

/// The dialects, and this place's own policies around them; the last layer is the outermost.
fn router(models: Models, host: Host, settings: &Settings) -> anyhow::Result<Router> {
    let context = Context {
        inference: Arc::new(models),
        place: Arc::new(host),
        keys: Arc::new(keys(settings)?),
        limits: Arc::new(Limits::per_minute(settings.locallab_rate)),
        body_limit: (settings.body_limit as usize) << 20,
        metrics: Arc::default(),
        litellm_echo: settings.litellm_echo,
    };
    let cors = cors(&settings.cors)?;
    let router = tinderbox_api::router_with(context, |router| router.layer(cors))
        .layer(middleware::from_fn(tell_address))
        .layer(middleware::from_fn(log_answer));
    Ok(router)
}

/// Tells the router who asks.
async fn tell_address(
    ConnectInfo(address): ConnectInfo<SocketAddr>,
    mut request: Request,
    next: Next,
) -> Response {
    let address = ClientAddress(address.ip().to_canonical());
    request.extensions_mut().insert(address);
    next.run(request).await
}

/// The keys of variable, flag and file.
fn keys(settings: &Settings) -> anyhow::Result<Keys> {
    let mut keys = Keys::default();
    if let Some(sum) = &settings.api_key {
        keys.add_hash(sum)?;
    }
    let Some(path) = &settings.api_keys else {
        return Ok(keys);
    };
    let text = std::fs::read_to_string(path);
    let text = text.with_context(|| format!("{}: cannot read the keys", path.display()))?;
    for (number, line) in (1..).zip(text.lines()) {
        match line.trim() {
            "" => {}
            comment if comment.starts_with('#') => {}
            line => match line.strip_prefix("sha256:") {
                None => keys.add(line),
                // The line is not shown: it may be a key after all.
                Some(sum) => keys.add_hash(sum).with_context(|| {
                    let place = format!("{}:{number}", path.display());
                    format!("{place}: `sha256:` needs 64 hexadecimal digits behind it")
                })?,
            },
        }
    }
    let none = "no key in it would let everybody in";
    anyhow::ensure!(!keys.is_empty(), "{}: {none}", path.display());
    Ok(keys)
}

/// Who may call from a page.
fn cors(origins: &str) -> anyhow::Result<CorsLayer> {
    // A list of headers that says `*` leaves out the key (the Fetch standard).
    let any = CorsLayer::permissive().allow_headers(AllowHeaders::mirror_request());
    if origins == "*" {
        return Ok(any);
    }
    let origins = origins.split(',').map(|origin| {
        let origin = origin.trim();
        HeaderValue::from_str(origin).with_context(|| format!("cors: `{origin}` is no origin"))
    });
    let origins = origins.collect::<anyhow::Result<Vec<_>>>()?;
    Ok(any.allow_origin(origins))
}

/// One line an answer; its time is that to the first byte. The query is left out, and so are
/// headers: they may hold what is nobody's business.
async fn log_answer(request: Request, next: Next) -> Response {
    let start = Instant::now();
    let (method, path) = (request.method().clone(), request.uri().path().to_owned());
    let response = next.run(request).await;
    let id = response.headers().get(REQUEST_ID);
    tracing::info!(
        request_id = id.and_then(|id| id.to_str().ok()),
        %method,
        path,
        status = response.status().as_u16(),
        milliseconds = start.elapsed().as_millis() as u64,
        "answered"
    );
    response
}

fn announce(address: &str, models: &Models) {
    let (cards, device) = (models.models(), models.device());
    let (Some(card), Some((device, reason))) = (cards.first(), device) else {
        return;
    };
    let ready = format!(
        "Tinderbox is ready.

  address  http://{address}
  model    {} ({} tokens of context)
  device   {device} ({reason})

Try:
  curl http://{address}/v1/chat/completions -H 'Content-Type: application/json' \\
    -d '{{\"model\": \"{}\", \"messages\": [{{\"role\": \"user\", \"content\": \"What is the capital of France?\"}}]}}'
",
        card.id, card.context_length, card.id
    );
    // Whoever started us may have stopped reading; that is no reason to stop serving.
    let _ = writeln!(std::io::stdout(), "{ready}");
}

fn log_to_stderr(format: LogFormat) {
    let filter = EnvFilter::try_from_default_env();
    // cubecl and wgpu tell their inner life at the level of information.
    let filter = filter.unwrap_or_else(|_| EnvFilter::new("warn,tinderbox=info"));
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
