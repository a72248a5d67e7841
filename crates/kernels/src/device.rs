//! Which device a node computes on, and what there is to choose from.

use std::fmt;
use std::str::FromStr;

use burn::tensor::Device;

use crate::{Format, SelfTest, self_test};

/// What the user asked for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Choice {
    /// A real GPU where there is one, else the CPU.
    #[default]
    Auto,
    /// The CPU twin.
    Cpu,
    /// The best GPU on any graphics API; a software GPU where there is nothing else.
    Gpu,
    /// The best GPU on Vulkan.
    Vulkan,
    /// The best GPU on Metal.
    Metal,
    /// The best GPU on Direct3D 12.
    Dx12,
    /// The browser's GPU.
    Webgpu,
}

const CHOICES: [(Choice, &str); 7] = [
    (Choice::Auto, "auto"),
    (Choice::Cpu, "cpu"),
    (Choice::Gpu, "gpu"),
    (Choice::Vulkan, "vulkan"),
    (Choice::Metal, "metal"),
    (Choice::Dx12, "dx12"),
    (Choice::Webgpu, "webgpu"),
];

impl fmt::Display for Choice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = CHOICES
            .iter()
            .find(|(choice, _)| choice == self)
            .map_or("", |(_, name)| name);
        f.write_str(name)
    }
}

impl FromStr for Choice {
    type Err = DeviceError;

    fn from_str(text: &str) -> Result<Self, DeviceError> {
        let found = CHOICES
            .iter()
            .find(|(_, name)| name.eq_ignore_ascii_case(text.trim()));
        found
            .map(|(choice, _)| *choice)
            .ok_or_else(|| DeviceError::Unknown(text.to_owned()))
    }
}

/// Why there is no such device.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DeviceError {
    /// No choice of that name.
    #[error("no device is called {0:?} (choose auto, cpu, gpu, vulkan, metal, dx12 or webgpu)")]
    Unknown(String),
    /// The machine has no such adapter.
    #[error(
        "no adapter for device {choice} (adapters found: {found}); use --device cpu, or install a driver"
    )]
    Missing {
        /// What was asked for.
        choice: Choice,
        /// The adapters there are, or `none`.
        found: String,
    },
    /// This build cannot do it.
    #[error("device {choice} is not in this build: {reason}")]
    Unsupported {
        /// What was asked for.
        choice: Choice,
        /// What would have to change.
        reason: &'static str,
    },
    /// A kernel computes wrong numbers there.
    #[error(
        "{adapter} computes wrong numbers ({kernel}: {detail}); update its driver, or use --device cpu"
    )]
    Wrong {
        /// The adapter's name.
        adapter: String,
        /// The first kernel that failed.
        kernel: &'static str,
        /// What it computed.
        detail: String,
    },
    /// The driver refused.
    #[error("{adapter} did not start: {reason}")]
    Start {
        /// The adapter's name.
        adapter: String,
        /// The driver's words.
        reason: String,
    },
}

/// What an adapter is made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// A card with its own memory.
    Discrete,
    /// A GPU on the CPU's memory.
    Integrated,
    /// A share of a GPU in a virtual machine.
    Virtual,
    /// The driver does not say.
    Other,
    /// A software GPU: correct, and slower than the CPU twin.
    Cpu,
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Kind::Discrete => "discrete GPU",
            Kind::Integrated => "integrated GPU",
            Kind::Virtual => "virtual GPU",
            Kind::Other => "GPU of unknown kind",
            Kind::Cpu => "software GPU",
        })
    }
}

/// A GPU as its driver describes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Adapter {
    /// As in `NVIDIA H100 80GB HBM3`.
    pub name: String,
    /// The graphics API: `vulkan`, `metal`, `dx12` or `webgpu`.
    pub backend: &'static str,
    /// What it is made of.
    pub kind: Kind,
    /// The driver and its version.
    pub driver: String,
    /// Optional features that kernels can use: `f16`, `subgroups`, `timestamps`.
    pub features: Vec<&'static str>,
    /// Bytes of the largest buffer a kernel can bind.
    pub binding_bytes: u64,
    /// Buffers a kernel can bind.
    pub bindings: u32,
    /// Bytes of a workgroup's shared memory.
    pub workgroup_bytes: u32,
    /// Invocations of a workgroup.
    pub workgroup_units: u32,
    /// Which of the adapters of its kind and API.
    index: usize,
}

impl fmt::Display for Adapter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({}, {}", self.name, self.kind, self.backend)?;
        match self.driver.as_str() {
            // A browser does not say.
            "" => write!(f, ")"),
            driver => write!(f, ", {driver})"),
        }
    }
}

/// A device ready to hold tensors.
#[derive(Clone, Debug)]
pub struct Selected {
    /// Where tensors are made.
    pub device: Device,
    /// What it is, for a log line.
    pub description: String,
    /// Why it was chosen.
    pub reason: String,
    /// A software GPU: only by explicit choice.
    pub software: bool,
}

impl Selected {
    /// Whether it is the CPU twin.
    pub fn is_cpu(&self) -> bool {
        self.device == Device::flex()
    }

    /// Runs every kernel once before the device is trusted, those on weights in the `formats` of
    /// a model. A wrong one gives its place to another where there is one; where there is none,
    /// [`Choice::Auto`] falls back to the CPU twin.
    ///
    /// # Errors
    /// [`DeviceError::Wrong`] where the GPU was asked for.
    pub async fn tested(
        self,
        choice: Choice,
        formats: &[Format],
    ) -> Result<(Selected, Vec<SelfTest>), DeviceError> {
        let tests = self_test(&self.device, formats).await;
        Ok((self.trusted(choice, &tests)?, tests))
    }

    fn trusted(self, choice: Choice, tests: &[SelfTest]) -> Result<Selected, DeviceError> {
        let Some(wrong) = tests.iter().find(|test| test.is_fatal()) else {
            return Ok(self);
        };
        let error = DeviceError::Wrong {
            adapter: self.description,
            kernel: wrong.kernel,
            detail: wrong.detail.clone(),
        };
        match choice {
            Choice::Auto => Ok(cpu(error.to_string())),
            _ => Err(error),
        }
    }
}

fn cpu(reason: impl Into<String>) -> Selected {
    Selected {
        device: Device::flex(),
        description: format!("CPU ({})", crate::cpu_description()),
        reason: reason.into(),
        software: false,
    }
}

/// Whether the device can hold an `f16` cache; else it must be `f32`.
pub fn supports_f16(device: &Device) -> bool {
    crate::on_cpu(device) || gpu::supports_f16(device)
}

/// Bytes of the largest tensor that the device can hold; a [`Matrix`](crate::Matrix) may be larger.
pub fn largest_buffer(device: &Device) -> usize {
    gpu::largest_buffer(device)
}

/// Sends what was written to the device on its way and frees the host's copies, which a GPU's queue
/// keeps until then.
///
/// # Errors
/// What the device says.
pub fn flush(device: &Device) -> Result<(), String> {
    gpu::flush(device)
}

/// Tokens beyond which the device shares contexts between workgroups, by kernels of their own; `None` where it never does.
pub fn shared_from(device: &Device) -> Option<usize> {
    gpu::shared_from(device)
}

/// Takes out the kernel that makes products of so many rows, because it is wrong on the device.
/// Answers with the one that takes its place; `None` where there is no other.
pub(crate) fn fall_back(device: &Device, rows: usize) -> Option<String> {
    gpu::fall_back(device, rows)
}

/// Whether the device is to draw tokens itself ([`choose`](crate::choose)); elsewhere a host does it faster.
pub fn draws(device: &Device) -> bool {
    gpu::draws(device)
}

/// The device's recordings are wrong: it makes none any more.
pub(crate) fn give_up_recording(device: &Device) {
    gpu::give_up_recording(device);
}

/// The device's kernel of [`turning_attention`](crate::turning_attention) is wrong: there are two in its place.
pub(crate) fn give_up_turning(device: &Device) {
    gpu::give_up_turning(device);
}

/// The device's draws are wrong: they are left to the host.
pub(crate) fn give_up_drawing(device: &Device) {
    gpu::give_up_drawing(device);
}

/// Waits for all that was queued on the device.
///
/// # Errors
/// What the device says.
#[cfg(not(target_arch = "wasm32"))]
pub(crate) async fn sync(device: &Device) -> Result<(), String> {
    gpu::sync(device).await
}

/// The GPUs of this machine, best first.
pub fn adapters() -> Vec<Adapter> {
    native::adapters()
}

/// Starts the device asked for.
///
/// # Errors
/// Where there is no such adapter, or its driver refuses.
pub fn select(choice: Choice) -> Result<Selected, DeviceError> {
    if choice == Choice::Cpu {
        return Ok(cpu("asked for"));
    }
    let adapters = adapters();
    match pick(choice, &adapters) {
        Some(adapter) => native::start(adapter, choice),
        None if choice == Choice::Auto && adapters.is_empty() => Ok(cpu("no GPU was found")),
        None if choice == Choice::Auto => {
            let names = list(&adapters);
            Ok(cpu(format!(
                "no real GPU was found, and the CPU is faster than {names}"
            )))
        }
        None if choice == Choice::Webgpu => Err(DeviceError::Unsupported {
            choice,
            reason: "WebGPU is the browser's; use gpu",
        }),
        None if cfg!(not(feature = "gpu")) => Err(DeviceError::Unsupported {
            choice,
            reason: "it was built without the feature `gpu`",
        }),
        None => Err(DeviceError::Missing {
            choice,
            found: list(&adapters),
        }),
    }
}

/// The best adapter for a choice; `adapters` are best first.
fn pick(choice: Choice, adapters: &[Adapter]) -> Option<&Adapter> {
    let name = choice.to_string();
    adapters.iter().find(|adapter| match choice {
        Choice::Cpu => false,
        Choice::Auto => adapter.kind != Kind::Cpu,
        Choice::Gpu => true,
        _ => adapter.backend == name,
    })
}

fn list(adapters: &[Adapter]) -> String {
    if adapters.is_empty() {
        return "none".to_owned();
    }
    adapters
        .iter()
        .map(Adapter::to_string)
        .collect::<Vec<_>>()
        .join(", ")
}

#[cfg(feature = "gpu")]
mod gpu;
#[cfg(all(feature = "gpu", not(target_arch = "wasm32")))]
mod native;
#[cfg(all(feature = "gpu", target_arch = "wasm32"))]
mod web;
#[cfg(all(feature = "gpu", target_arch = "wasm32"))]
pub use web::select_webgpu;

/// Without GPUs, or where they start asynchronously.
#[cfg(not(all(feature = "gpu", not(target_arch = "wasm32"))))]
mod native {
    use super::{Adapter, Choice, DeviceError, Selected};

    pub fn adapters() -> Vec<Adapter> {
        Vec::new()
    }

    pub fn start(_: &Adapter, choice: Choice) -> Result<Selected, DeviceError> {
        Err(DeviceError::Unsupported {
            choice,
            reason: "GPUs start asynchronously here",
        })
    }
}

#[cfg(not(feature = "gpu"))]
mod gpu {
    use burn::tensor::Device;

    pub fn supports_f16(_: &Device) -> bool {
        false
    }

    pub fn largest_buffer(_: &Device) -> usize {
        usize::MAX
    }

    #[cfg(not(target_arch = "wasm32"))]
    pub async fn sync(_: &Device) -> Result<(), String> {
        Ok(())
    }

    pub fn shared_from(_: &Device) -> Option<usize> {
        None
    }

    pub fn flush(_: &Device) -> Result<(), String> {
        Ok(())
    }

    pub fn fall_back(_: &Device, _: usize) -> Option<String> {
        None
    }

    pub fn draws(_: &Device) -> bool {
        false
    }

    pub fn give_up_recording(_: &Device) {}

    pub fn give_up_drawing(_: &Device) {}

    pub fn give_up_turning(_: &Device) {}
}

#[cfg(test)]
mod tests {
    use super::*;

    fn adapter(name: &str, backend: &'static str, kind: Kind) -> Adapter {
        Adapter {
            name: name.to_owned(),
            backend,
            kind,
            driver: String::new(),
            features: Vec::new(),
            binding_bytes: 1 << 27,
            bindings: 8,
            workgroup_bytes: 1 << 14,
            workgroup_units: 256,
            index: 0,
        }
    }

    #[test]
    fn auto_never_picks_a_software_gpu() {
        let software = adapter("llvmpipe", "vulkan", Kind::Cpu);
        assert_eq!(pick(Choice::Auto, std::slice::from_ref(&software)), None);
        assert_eq!(
            pick(Choice::Gpu, std::slice::from_ref(&software)),
            Some(&software)
        );
        assert_eq!(pick(Choice::Metal, &[software]), None);
    }

    #[test]
    fn auto_picks_the_first_real_gpu() {
        let card = adapter("card", "vulkan", Kind::Discrete);
        let adapters = [card.clone(), adapter("llvmpipe", "vulkan", Kind::Cpu)];
        assert_eq!(pick(Choice::Auto, &adapters), Some(&card));
    }

    #[test]
    fn names_of_choices_read_back_and_others_are_explained() {
        for (choice, name) in CHOICES {
            assert_eq!(name.parse(), Ok(choice));
            assert_eq!(choice.to_string(), name);
        }
        let error = "cuda".parse::<Choice>().unwrap_err().to_string();
        assert!(
            error.contains("cuda") && error.contains("vulkan"),
            "{error}"
        );
    }

    #[test]
    fn a_wrong_kernel_sends_auto_to_the_cpu_and_stops_who_asked_for_the_gpu() {
        let card = || Selected {
            description: "card".to_owned(),
            ..cpu("for the test")
        };
        let test = |passed| SelfTest {
            kernel: "embed",
            format: None,
            passed,
            error: 0.0,
            detail: "element 3".to_owned(),
            fallback: None,
        };
        let kept = card().trusted(Choice::Gpu, &[test(true)]).unwrap();
        assert_eq!(kept.description, "card");
        let replaced = SelfTest {
            fallback: Some("tiles".to_owned()),
            ..test(false)
        };
        let kept = card().trusted(Choice::Auto, &[replaced]).unwrap();
        assert_eq!(kept.description, "card");

        let wrong = [test(true), test(false)];
        let fallen = card().trusted(Choice::Auto, &wrong).unwrap();
        assert!(fallen.is_cpu() && fallen.reason.contains("card computes wrong numbers"));
        let refused = card().trusted(Choice::Vulkan, &wrong).unwrap_err();
        assert!(
            refused.to_string().contains("embed: element 3"),
            "{refused}"
        );
    }

    #[test]
    fn the_cpu_is_always_there() {
        let selected = select(Choice::Cpu).unwrap();
        assert!(crate::on_cpu(&selected.device) && !selected.software);
        assert!(matches!(
            select(Choice::Webgpu),
            Err(DeviceError::Unsupported { .. })
        ));
    }
}
