//! The browser tab as the router sees it.

use std::time::Duration;

use js_sys::Date;
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
