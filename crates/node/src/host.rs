//! The machine the server runs on.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use sysinfo::{CpuRefreshKind, Disks, MemoryRefreshKind, RefreshKind, System};
use tinderbox_api::{Gpu, Machine, Place, Space};

use crate::runtime::unix_seconds;

/// This host. The GPU is told by whoever opened it.
pub struct Host {
    start: Instant,
    system: Mutex<System>,
    gpus: Vec<Gpu>,
}

impl Host {
    /// Looks at the machine.
    pub fn new(gpus: Vec<Gpu>) -> Host {
        Host {
            start: Instant::now(),
            system: Mutex::new(System::new_with_specifics(what())),
            gpus,
        }
    }

    /// Bytes of the machine's memory.
    pub fn memory(&self) -> u64 {
        let system = self.system.lock().unwrap_or_else(PoisonError::into_inner);
        system.total_memory()
    }
}

fn what() -> RefreshKind {
    RefreshKind::nothing()
        .with_cpu(CpuRefreshKind::nothing().with_cpu_usage().with_frequency())
        .with_memory(MemoryRefreshKind::nothing().with_ram())
}

impl Place for Host {
    fn now(&self) -> u64 {
        unix_seconds()
    }

    fn uptime(&self) -> Duration {
        self.start.elapsed()
    }

    fn new_id(&self) -> String {
        uuid::Uuid::new_v4().simple().to_string()
    }

    /// The CPU's share is that since the call before.
    fn machine(&self) -> Machine {
        let mut system = self.system.lock().unwrap_or_else(PoisonError::into_inner);
        system.refresh_specifics(what());
        let disks = Disks::new_with_refreshed_list();
        let root = disks.iter().max_by_key(|disk| disk.total_space());
        Machine {
            platform: format!("{} {}", std::env::consts::OS, std::env::consts::ARCH),
            cores: System::physical_core_count(),
            threads: Some(system.cpus().len()),
            cpu_usage: Some(system.global_cpu_usage()),
            cpu_frequency: system.cpus().iter().map(|cpu| cpu.frequency()).max(),
            memory: Some(Space {
                total: system.total_memory(),
                available: system.available_memory(),
            }),
            disk: root.map(|disk| Space {
                total: disk.total_space(),
                available: disk.available_space(),
            }),
            gpus: self.gpus.clone(),
        }
    }
}
