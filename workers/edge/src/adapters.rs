//! Adapters of the isolate's model. The operator names them, and they lie where the model does, under
//! `adapters/NAME/`.

use std::time::Duration;

use futures::FutureExt;
use futures::future::{BoxFuture, Either, ready, select};
use tinderbox_engine::{ADAPTER_FILES, AdapterFiles, AdapterStore};
use tinderbox_protocol::{AdapterSource, Error};
use wasm_bindgen_futures::spawn_local;
use worker::Delay;
use worker::send::SendWrapper;

use crate::packed::Store;

/// How long the reading of one may take: others wait for their turn.
const PATIENCE: Duration = Duration::from_secs(10);

/// The names in the variable `ADAPTERS`.
///
/// # Errors
/// One that would not be the name of a folder.
pub fn names(list: &str) -> Result<Vec<String>, String> {
    let fits = |name: &str| {
        let known = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
        name.bytes().all(known) && !name.starts_with('.')
    };
    let checked = list.split_whitespace().map(|name| match fits(name) {
        true => Ok(name.to_owned()),
        false => Err(format!(
            "ADAPTERS: `{name}` has other signs than letters, digits, `-`, `_` and `.`, or begins with a dot"
        )),
    });
    checked.collect()
}

/// What the operator offers.
pub struct Shelf {
    store: SendWrapper<Store>,
    names: Vec<String>,
}

impl Shelf {
    /// The adapters of these names.
    pub fn new(store: &Store, names: &[String]) -> Shelf {
        Shelf {
            store: SendWrapper::new(store.clone()),
            names: names.to_vec(),
        }
    }
}

impl AdapterStore for Shelf {
    fn fetch(
        &self,
        id: &str,
        source: AdapterSource,
        _: Option<&str>,
        most: u64,
    ) -> BoxFuture<'static, Result<AdapterFiles, Error>> {
        let is_near = matches!(source, AdapterSource::Named | AdapterSource::Local);
        let is_known = is_near && self.names.iter().any(|name| name == id);
        let (store, id) = (self.store.clone(), id.to_owned());
        if !is_known {
            return ready(Err(Error::AdapterNotFound { adapter: id })).boxed();
        }
        // On its own, as fast as it comes: whoever waits for it looks only now and then.
        let (reading, read) = async move {
            let read = std::pin::pin!(read(&store, &id, most));
            match select(read, Delay::from(PATIENCE)).await {
                Either::Left((files, _)) => files,
                Either::Right(_) => {
                    let seconds = PATIENCE.as_secs();
                    Err(failed(&id, format!("it was not read within {seconds} s")))
                }
            }
        }
        .remote_handle();
        spawn_local(reading);
        read.boxed()
    }

    fn names(&self) -> Vec<(String, AdapterSource)> {
        let names = self.names.iter().cloned();
        names.map(|name| (name, AdapterSource::Local)).collect()
    }

    /// What one request reads ends with that request.
    fn shares(&self) -> bool {
        false
    }
}

async fn read(store: &Store, id: &str, most: u64) -> Result<AdapterFiles, Error> {
    let (mut files, mut left) = (AdapterFiles::new(), most);
    for name in ADAPTER_FILES {
        let read = store.whole(&format!("adapters/{id}/{name}"), left).await;
        if let Some(bytes) = read.map_err(|error| failed(id, error.to_string()))? {
            left -= bytes.len() as u64;
            files.insert(name, bytes);
        }
    }
    match files.is_empty() {
        true => Err(Error::AdapterNotFound {
            adapter: id.to_owned(),
        }),
        false => Ok(files),
    }
}

fn failed(id: &str, reason: String) -> Error {
    Error::AdapterMismatch {
        adapter: id.to_owned(),
        reason,
    }
}
