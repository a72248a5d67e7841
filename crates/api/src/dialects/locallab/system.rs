//! What the server says about itself and its machine. What cannot be seen is null, or 0 where
//! clients need a number.

use std::collections::BTreeMap;

use axum::extract::State;
use axum::http::{HeaderMap, header};
use axum::{Extension, Json};
use serde::Serialize;
use tinderbox_protocol::Phase;
use utoipa::ToSchema;

use super::models::current_id;
use crate::meter::RequestCount;
use crate::{Context, Machine, Space};

/// `GET /system/info`.
#[derive(Serialize, ToSchema)]
#[schema(as = LocalLabInfo)]
pub(super) struct Info {
    /// Percent.
    cpu_usage: f32,
    /// Percent.
    memory_usage: f64,
    gpu_info: Option<Vec<Gpu>>,
    active_model: Option<String>,
    /// Seconds.
    uptime: f64,
    request_count: u64,
}

/// A GPU.
#[derive(Serialize, ToSchema)]
#[schema(as = LocalLabGpu)]
pub(super) struct Gpu {
    index: usize,
    name: String,
    total_memory_mb: Option<u64>,
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

/// The machine, in short.
#[derive(Serialize, ToSchema)]
#[schema(as = LocalLabSummary)]
struct Summary {
    /// GiB.
    ram_gb: Option<f64>,
    /// GiB.
    ram_available_gb: Option<f64>,
    ram_used_percent: Option<f64>,
    /// Hardware threads.
    cpu_count: Option<usize>,
    /// Percent.
    cpu_usage: Option<f32>,
    gpu_available: bool,
    gpu_info: Vec<Gpu>,
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

/// The processor.
#[derive(Serialize, ToSchema)]
#[schema(as = LocalLabCpu)]
struct Cpu {
    cores: Option<usize>,
    threads: Option<usize>,
    /// Percent.
    usage: Option<f32>,
    /// MHz.
    frequency: Option<u64>,
}

/// Main memory, in bytes.
#[derive(Serialize, ToSchema)]
#[schema(as = LocalLabMemory)]
struct Memory {
    total: Option<u64>,
    available: Option<u64>,
    used: Option<u64>,
    percent: Option<f64>,
}

/// The disk that holds the models, in bytes.
#[derive(Serialize, ToSchema)]
#[schema(as = LocalLabDisk)]
struct Disk {
    total: Option<u64>,
    free: Option<u64>,
    used: Option<u64>,
    percent: Option<f64>,
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
    let machine = context.place.machine();
    let memory = machine.memory;
    let gpu_info = gpus(&machine);
    Json(Root {
        name: "LocalLab",
        server: "tinderbox",
        version: env!("CARGO_PKG_VERSION"),
        status: "running",
        model: current_id(&context),
        uptime: uptime(&context),
        resources: Summary {
            ram_gb: memory.map(|m| gibibytes(m.total)),
            ram_available_gb: memory.map(|m| gibibytes(m.available)),
            ram_used_percent: memory.map(percent),
            cpu_count: machine.threads,
            cpu_usage: machine.cpu_usage,
            gpu_available: !gpu_info.is_empty(),
            gpu_info,
        },
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
    let Machine { memory, disk, .. } = machine;
    Json(Resources {
        gpu: gpus(&machine),
        cpu: Cpu {
            cores: machine.cores,
            threads: machine.threads,
            usage: machine.cpu_usage,
            frequency: machine.cpu_frequency,
        },
        memory: Memory {
            total: memory.map(|m| m.total),
            available: memory.map(|m| m.available),
            used: memory.map(used),
            percent: memory.map(percent),
        },
        disk: Disk {
            total: disk.map(|d| d.total),
            free: disk.map(|d| d.available),
            used: disk.map(used),
            percent: disk.map(percent),
        },
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

fn gpus(machine: &Machine) -> Vec<Gpu> {
    let gpus = machine.gpus.iter().enumerate();
    let gpu = gpus.map(|(index, gpu)| Gpu {
        index,
        name: gpu.name.clone(),
        total_memory_mb: gpu.memory.map(|bytes| bytes >> 20),
    });
    gpu.collect()
}

fn used(space: Space) -> u64 {
    space.total.saturating_sub(space.available)
}

/// The used share, to one decimal.
fn percent(space: Space) -> f64 {
    let share = used(space) as f64 / space.total.max(1) as f64;
    (share * 1000.0).round() / 10.0
}

fn gibibytes(bytes: u64) -> f64 {
    bytes as f64 / f64::from(1 << 30)
}
