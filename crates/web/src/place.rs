//! The browser tab as the router sees it.

use std::time::Duration;

use js_sys::{Date, Reflect};
use tinderbox_api::{Gpu, Machine, Place};
use wasm_bindgen::prelude::*;

#[wasm_bindgen]
extern "C" {
    /// Milliseconds since the worker started; never goes back.
    #[wasm_bindgen(js_namespace = performance, js_name = now)]
    fn performance_now() -> f64;
}

/// Time since the worker started.
pub fn uptime() -> Duration {
    Duration::from_secs_f64(performance_now() / 1000.0)
}

/// The time: Unix seconds.
pub fn now() -> u64 {
    (Date::now() / 1000.0) as u64
}

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
pub async fn adapter_name() -> String {
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

/// A browser tab: its clock, its identifiers, its GPU where it computes on one.
pub struct Tab {
    /// As its driver calls it.
    pub gpu: Option<String>,
}

impl Place for Tab {
    fn now(&self) -> u64 {
        now()
    }

    fn uptime(&self) -> Duration {
        uptime()
    }

    fn new_id(&self) -> String {
        uuid::Uuid::new_v4().simple().to_string()
    }

    fn machine(&self) -> Machine {
        let gpus = self.gpu.iter().map(|name| Gpu {
            name: name.clone(),
            memory: None,
        });
        Machine {
            platform: "browser wasm32".into(),
            gpus: gpus.collect(),
            ..Machine::default()
        }
    }
}
