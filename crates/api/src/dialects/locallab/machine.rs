//! The machine, in the shapes of the server's answers. What cannot be seen is null.

use serde::Serialize;
use utoipa::ToSchema;

use crate::{Machine, Space};

/// A GPU.
#[derive(Serialize, ToSchema)]
#[schema(as = LocalLabGpu)]
pub(super) struct Gpu {
    index: usize,
    name: String,
    total_memory_mb: Option<u64>,
}

/// The machine, in short.
#[derive(Serialize, ToSchema)]
#[schema(as = LocalLabSummary)]
pub(super) struct Summary {
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

/// The processor.
#[derive(Serialize, ToSchema)]
#[schema(as = LocalLabCpu)]
pub(super) struct Cpu {
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
pub(super) struct Memory {
    total: Option<u64>,
    available: Option<u64>,
    used: Option<u64>,
    percent: Option<f64>,
}

/// The disk that holds the models, in bytes.
#[derive(Serialize, ToSchema)]
#[schema(as = LocalLabDisk)]
pub(super) struct Disk {
    total: Option<u64>,
    free: Option<u64>,
    used: Option<u64>,
    percent: Option<f64>,
}

impl From<&Machine> for Summary {
    fn from(machine: &Machine) -> Self {
        let memory = machine.memory;
        let gpu_info = gpus(machine);
        Summary {
            ram_gb: memory.map(|m| gibibytes(m.total)),
            ram_available_gb: memory.map(|m| gibibytes(m.available)),
            ram_used_percent: memory.map(percent),
            cpu_count: machine.threads,
            cpu_usage: machine.cpu_usage,
            gpu_available: !gpu_info.is_empty(),
            gpu_info,
        }
    }
}

impl From<&Machine> for Cpu {
    fn from(machine: &Machine) -> Self {
        Cpu {
            cores: machine.cores,
            threads: machine.threads,
            usage: machine.cpu_usage,
            frequency: machine.cpu_frequency,
        }
    }
}

impl From<Option<Space>> for Memory {
    fn from(space: Option<Space>) -> Self {
        Memory {
            total: space.map(|s| s.total),
            available: space.map(|s| s.available),
            used: space.map(used),
            percent: space.map(percent),
        }
    }
}

impl From<Option<Space>> for Disk {
    fn from(space: Option<Space>) -> Self {
        Disk {
            total: space.map(|s| s.total),
            free: space.map(|s| s.available),
            used: space.map(used),
            percent: space.map(percent),
        }
    }
}

/// The GPUs in use.
pub(super) fn gpus(machine: &Machine) -> Vec<Gpu> {
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
pub(super) fn percent(space: Space) -> f64 {
    let share = used(space) as f64 / space.total.max(1) as f64;
    (share * 1000.0).round() / 10.0
}

fn gibibytes(bytes: u64) -> f64 {
    bytes as f64 / f64::from(1 << 30)
}
