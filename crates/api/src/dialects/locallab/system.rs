//! What the server says about itself and its machine.

use std::collections::BTreeMap;

use axum::extract::State;
use axum::http::{HeaderMap, header};
use axum::{Extension, Json};
use serde::Serialize;
use tinderbox_protocol::Phase;
use utoipa::ToSchema;

use super::machine::{Cpu, Disk, Gpu, Memory, Summary, gpus, percent};
use super::models::current_id;
use crate::Context;
use crate::metrics::RequestCount;

/// `GET /system/info`.
#[derive(Serialize, ToSchema)]
#[schema(as = LocalLabInfo)]
pub(super) struct Info {
    /// Percent; 0 where it cannot be seen, because clients need a number.
    cpu_usage: f32,
    /// The same.
    memory_usage: f64,
    gpu_info: Option<Vec<Gpu>>,
    active_model: Option<String>,
    /// Seconds.
    uptime: f64,
    request_count: u64,
}

/// `GET /startup-status`.
#[derive(Serialize, ToSchema)]
#[schema(as = LocalLabStartup)]
pub(super) struct Startup {
    /// Whether requests are taken.
    server_ready: bool,
    model_loading: bool,
    current_model: Option<String>,
    /// Seconds.
    uptime: f64,
}

/// `GET /`.
#[derive(Serialize, ToSchema)]
#[schema(as = LocalLabRoot)]
pub(crate) struct Root {
    /// The API's name.
    name: &'static str,
    /// Who speaks it, in what version.
    server: &'static str,
    version: &'static str,
    status: &'static str,
    model: Option<String>,
    /// Seconds.
    uptime: f64,
    resources: Summary,
}

/// `GET /resources`.
#[derive(Serialize, ToSchema)]
#[schema(as = LocalLabResources)]
pub(super) struct Resources {
    cpu: Cpu,
    memory: Memory,
    gpu: Vec<Gpu>,
    disk: Disk,
    platform: String,
    /// Seconds.
    server_uptime: f64,
    api_requests: u64,
}

/// `GET /network`.
#[derive(Serialize, ToSchema)]
#[schema(as = LocalLabNetwork)]
pub(super) struct Network {
    /// Nobody outside is asked for it.
    public_ip: &'static str,
    /// The name this request was sent to.
    hostname: String,
    /// None are looked up.
    interfaces: BTreeMap<String, String>,
}

/// Tells how busy the machine is, what model is current and how many requests there were.
#[utoipa::path(get, path = "/system/info", tag = "locallab",
    responses((status = 200, body = Info)))]
pub(super) async fn info(
    State(context): State<Context>,
    Extension(RequestCount(request_count)): Extension<RequestCount>,
) -> Json<Info> {
    let machine = context.place.machine();
    let gpus = gpus(&machine);
    Json(Info {
        cpu_usage: machine.cpu_usage.unwrap_or_default(),
        memory_usage: machine.memory.map(percent).unwrap_or_default(),
        gpu_info: (!gpus.is_empty()).then_some(gpus),
        active_model: current_id(&context),
        uptime: uptime(&context),
        request_count,
    })
}

/// Tells whether requests are taken.
#[utoipa::path(get, path = "/startup-status", tag = "locallab",
    responses((status = 200, body = Startup)))]
pub(super) async fn startup_status(State(context): State<Context>) -> Json<Startup> {
    let phase = context.inference.health().phase;
    let mut models = context.inference.available().into_iter();
    let partly = models.any(|model| model.progress > 0.0 && model.progress < 1.0);
    Json(Startup {
        server_ready: phase == Phase::Ready,
        model_loading: phase == Phase::Loading || partly,
        current_model: current_id(&context),
        uptime: uptime(&context),
    })
}

/// Tells what this server is.
#[utoipa::path(get, path = "/", tag = "locallab", responses((status = 200, body = Root)))]
pub(crate) async fn root(State(context): State<Context>) -> Json<Root> {
    Json(Root {
        name: "LocalLab",
        server: "tinderbox",
        version: env!("CARGO_PKG_VERSION"),
        status: "running",
        model: current_id(&context),
        uptime: uptime(&context),
        resources: Summary::from(&context.place.machine()),
    })
}

/// Tells of the machine in full.
#[utoipa::path(get, path = "/resources", tag = "locallab",
    responses((status = 200, body = Resources)))]
pub(super) async fn resources(
    State(context): State<Context>,
    Extension(RequestCount(api_requests)): Extension<RequestCount>,
) -> Json<Resources> {
    let machine = context.place.machine();
    Json(Resources {
        cpu: Cpu::from(&machine),
        memory: machine.memory.into(),
        gpu: gpus(&machine),
        disk: machine.disk.into(),
        platform: machine.platform,
        server_uptime: uptime(&context),
        api_requests,
    })
}

/// Tells under what name the server was reached. No addresses are looked up.
#[utoipa::path(get, path = "/network", tag = "locallab",
    responses((status = 200, body = Network)))]
pub(super) async fn network(headers: HeaderMap) -> Json<Network> {
    let host = headers
        .get(header::HOST)
        .and_then(|host| host.to_str().ok());
    Json(Network {
        public_ip: "Unknown",
        hostname: host.unwrap_or("Unknown").into(),
        interfaces: BTreeMap::new(),
    })
}

fn uptime(context: &Context) -> f64 {
    context.place.uptime().as_secs_f64()
}
