//! Model files that the worker opened.

use std::cell::Cell;
use std::io;
use std::rc::Rc;

use futures::FutureExt;
use futures::future::LocalBoxFuture;
use js_sys::{Function, Uint8Array};
use tinderbox_model::Storage;
use wasm_bindgen::prelude::*;

#[wasm_bindgen]
extern "C" {
    /// `ModelFile` of `js/wasm.ts`.
    #[derive(Clone)]
    pub type ModelFile;

    #[wasm_bindgen(method, getter)]
    pub fn name(this: &ModelFile) -> String;

    #[wasm_bindgen(method, getter)]
    pub fn size(this: &ModelFile) -> f64;

    #[wasm_bindgen(method, catch)]
    fn read(this: &ModelFile, offset: f64, length: f64) -> Result<Uint8Array, JsValue>;
}

/// Tells the page how many bytes were read.
pub struct Meter {
    told: Function,
    read: Cell<u64>,
    total: u64,
}

impl Meter {
    /// A meter for all of the files; `told` takes the bytes read and those of all files.
    pub fn new(files: &[ModelFile], told: Function) -> Rc<Meter> {
        Rc::new(Meter {
            told,
            read: Cell::new(0),
            total: files.iter().map(|file| file.size() as u64).sum(),
        })
    }

    fn add(&self, bytes: usize) {
        // Headers are read more than once.
        let read = (self.read.get() + bytes as u64).min(self.total);
        self.read.set(read);
        let (read, total) = (JsValue::from(read as f64), JsValue::from(self.total as f64));
        // What the page does with it is its own affair.
        let _ = self.told.call2(&JsValue::NULL, &read, &total);
    }
}

/// All bytes of a file.
///
/// # Errors
/// What the browser says.
pub fn whole(file: &ModelFile) -> Result<Vec<u8>, String> {
    let bytes = file.read(0.0, file.size());
    bytes
        .map(|bytes| bytes.to_vec())
        .map_err(|error| message(&error))
}

/// A file as the checkpoint's readers see it.
pub struct WorkerFile {
    name: String,
    size: u64,
    file: ModelFile,
    meter: Rc<Meter>,
}

impl WorkerFile {
    /// The file, its reads counted.
    pub fn new(file: ModelFile, meter: Rc<Meter>) -> WorkerFile {
        WorkerFile {
            name: file.name(),
            size: file.size() as u64,
            file,
            meter,
        }
    }

    fn bytes(&self, offset: u64, len: usize) -> io::Result<Vec<u8>> {
        // Sizes of files are far below 2^53, above which a double is inexact.
        let bytes = self.file.read(offset as f64, len as f64);
        let bytes = bytes.map_err(|error| io::Error::other(message(&error)))?;
        if bytes.length() as usize != len {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        self.meter.add(len);
        Ok(bytes.to_vec())
    }
}

impl Storage for WorkerFile {
    fn name(&self) -> &str {
        &self.name
    }

    fn len(&self) -> u64 {
        self.size
    }

    fn read(&self, offset: u64, len: usize) -> LocalBoxFuture<'_, io::Result<Vec<u8>>> {
        let done = self.bytes(offset, len);
        async move { done }.boxed_local()
    }
}

/// What a thrown value says.
fn message(thrown: &JsValue) -> String {
    let text = js_sys::Reflect::get(thrown, &"message".into())
        .ok()
        .and_then(|message| message.as_string());
    text.unwrap_or_else(|| format!("{thrown:?}"))
}
