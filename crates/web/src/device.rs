//! Which of the tab's devices computes.

use js_sys::Reflect;
use tinderbox_kernels::{Adapter, Choice, DeviceError, Selected};
use wasm_bindgen::prelude::*;

#[wasm_bindgen]
extern "C" {
    #[derive(Clone)]
    type Gpus;

    /// Absent where the browser has no WebGPU.
    #[wasm_bindgen(thread_local_v2, js_namespace = navigator, js_name = gpu)]
    static GPUS: Option<Gpus>;

    #[wasm_bindgen(method, catch, js_name = requestAdapter)]
    async fn request_adapter(this: &Gpus) -> Result<JsValue, JsValue>;
}

/// What the browser calls its GPU, as in `google swiftshader`; empty where there is none.
async fn adapter_name() -> String {
    let Some(gpus) = GPUS.with(Clone::clone) else {
        return String::new();
    };
    let Ok(adapter) = gpus.request_adapter().await else {
        return String::new();
    };
    let info = Reflect::get(&adapter, &"info".into()).unwrap_or_default();
    let word = |key: &str| Reflect::get(&info, &key.into()).ok()?.as_string();
    match word("description").filter(|text| !text.is_empty()) {
        Some(description) => description,
        None => ["vendor", "architecture"]
            .map(|key| word(key).unwrap_or_default())
            .join(" "),
    }
}

/// Starts the device asked for, and describes the adapter that WebGPU has.
///
/// # Errors
/// As [`select_webgpu`](tinderbox_kernels::select_webgpu).
#[cfg(feature = "gpu")]
pub async fn select(choice: Choice) -> Result<(Selected, Option<Adapter>), DeviceError> {
    tinderbox_kernels::select_webgpu(choice, adapter_name().await).await
}

/// The CPU: the worker takes a module without GPU kernels where it is asked for, or where `auto` would
/// come to it.
///
/// # Errors
/// For any other choice.
#[cfg(not(feature = "gpu"))]
pub async fn select(choice: Choice) -> Result<(Selected, Option<Adapter>), DeviceError> {
    let mut selected = tinderbox_kernels::select(choice)?;
    if choice == Choice::Auto {
        selected.reason = match adapter_name().await.as_str() {
            "" => "this browser offers no WebGPU adapter".to_owned(),
            name => format!("the CPU is faster than the software GPU {name}"),
        };
    }
    Ok((selected, None))
}
