//! Adapters that the page gave the worker. They are read when a request names them.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::future::ready;

use futures::FutureExt;
use futures::future::BoxFuture;
use send_wrapper::SendWrapper;
use tinderbox_engine::{ADAPTER_FILES, AdapterFiles, AdapterStore};
use tinderbox_protocol::{AdapterSource, Error};

use crate::files::{ModelFile, whole};

/// The page's adapters by name. A worker has one thread, whatever the engine asks of a store.
pub struct Shelf(SendWrapper<RefCell<BTreeMap<String, Vec<ModelFile>>>>);

impl Shelf {
    /// Nothing is on it yet.
    pub fn new() -> Shelf {
        Shelf(SendWrapper::new(RefCell::default()))
    }

    /// Keeps an adapter's files; false where the name is taken.
    pub fn put(&self, name: String, files: Vec<ModelFile>) -> bool {
        let mut shelf = self.0.borrow_mut();
        let free = !shelf.contains_key(&name);
        if free {
            shelf.insert(name, files);
        }
        free
    }

    fn read(&self, id: &str, most: u64) -> Result<AdapterFiles, Error> {
        let shelf = self.0.borrow();
        let adapter = id.to_owned();
        let Some(given) = shelf.get(id) else {
            return Err(Error::AdapterNotFound { adapter });
        };
        if given.iter().map(|file| file.size() as u64).sum::<u64>() > most {
            let reason =
                format!("its files have more than the {most} bytes that adapters may take");
            return Err(Error::AdapterMismatch { adapter, reason });
        }
        let mut files = AdapterFiles::new();
        for name in ADAPTER_FILES {
            if let Some(file) = given.iter().find(|file| file.name() == name) {
                let bytes = whole(file).map_err(|error| Error::AdapterMismatch {
                    adapter: id.to_owned(),
                    reason: format!("{name}: {error}"),
                })?;
                files.insert(name, bytes);
            }
        }
        Ok(files)
    }
}

impl AdapterStore for Shelf {
    fn fetch(
        &self,
        id: &str,
        _: AdapterSource,
        _: Option<&str>,
        most: u64,
    ) -> BoxFuture<'static, Result<AdapterFiles, Error>> {
        ready(self.read(id, most)).boxed()
    }

    fn names(&self) -> Vec<(String, AdapterSource)> {
        let names = self.0.borrow().keys().cloned().collect::<Vec<_>>();
        let named = names.into_iter();
        named.map(|name| (name, AdapterSource::Named)).collect()
    }
}
