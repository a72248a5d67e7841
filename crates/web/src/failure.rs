//! What went wrong, as the worker hears it.

use js_sys::Reflect;
use tinderbox_kernels::DeviceError;
use tinderbox_model::Error;
use wasm_bindgen::prelude::*;

/// Why a model did not load; `code` is one of `ErrorCode` in `js/types.ts`.
pub struct Failure {
    code: &'static str,
    /// For people.
    pub message: String,
}

impl From<DeviceError> for Failure {
    fn from(error: DeviceError) -> Failure {
        Failure {
            code: "unsupported",
            message: error.to_string(),
        }
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Failure {
        Failure {
            code: match error {
                Error::Device(_) => "device_lost",
                _ => "invalid_model",
            },
            message: error.to_string(),
        }
    }
}

impl From<Failure> for JsValue {
    fn from(Failure { code, message }: Failure) -> JsValue {
        let error = js_sys::Error::new(&message).into();
        // A fresh object takes any property.
        let _ = Reflect::set(&error, &"code".into(), &code.into());
        error
    }
}

/// Lets a panic leave the module as an error with its words, called `Panic`: the trap that would
/// follow says no more than `unreachable`.
pub fn throw_panics() {
    std::panic::set_hook(Box::new(|panic| {
        let error = js_sys::Error::new(&panic.to_string());
        error.set_name("Panic");
        wasm_bindgen::throw_val(error.into())
    }));
}
