//! Where a host finds adapters: a folder, the hub, S3-compatible storage.

mod folder;
mod s3;

use std::path::{Path, PathBuf};

use futures::FutureExt;
use futures::future::BoxFuture;
use tinderbox_engine::{AdapterFiles, AdapterStore};
use tinderbox_protocol::{AdapterSource, Error};
use tokio::runtime::Handle;
use tokio::task::spawn_blocking;

use crate::pull::{Hub, PullError};
use crate::settings::Settings;

pub use s3::S3;

/// The sources of a host.
#[derive(Clone, Default)]
pub struct Sources {
    /// Has an adapter in each of its folders.
    pub folder: Option<PathBuf>,
    /// Keeps what came from the hub; without it nothing is kept.
    pub cache: Option<PathBuf>,
    /// The hub, where it is not the usual one.
    pub hub: Option<String>,
    /// Storage, where there are keys for one.
    pub s3: Option<S3>,
}

impl Sources {
    /// The sources of the settings and of the environment.
    ///
    /// # Errors
    /// An S3 endpoint that is none.
    pub fn new(settings: &Settings) -> anyhow::Result<Sources> {
        Ok(Sources {
            folder: settings.adapters.clone(),
            // Without a home folder there is none, and no need for one.
            cache: crate::commands::cache(settings).ok(),
            hub: None,
            s3: S3::from_env()?,
        })
    }

    async fn find(
        &self,
        id: &str,
        source: AdapterSource,
        token: Option<&str>,
        most: u64,
    ) -> Result<AdapterFiles, Error> {
        match (source, &self.folder, &self.s3) {
            (AdapterSource::Hub, ..) => self.ask_hub(id, token, most).await,
            (AdapterSource::Local | AdapterSource::Named, Some(folder), _) => {
                folder::read(folder, id, most)
            }
            (AdapterSource::Local | AdapterSource::Named, None, _) => Err(absent(id)),
            (AdapterSource::S3, _, Some(s3)) => s3.fetch(id, most).await,
            (AdapterSource::S3, _, None) => Err(failed(
                id,
                "this server has no AWS_ACCESS_KEY_ID to fetch it with",
            )),
        }
    }

    /// What is fetched with a caller's token is not kept: the cache is open to all callers.
    async fn ask_hub(
        &self,
        id: &str,
        token: Option<&str>,
        most: u64,
    ) -> Result<AdapterFiles, Error> {
        let hub = Hub::new(self.hub.as_deref(), token).map_err(|error| failed(id, error))?;
        let fetch = async |folder: &Path| {
            let fetched = hub.fetch_adapter(id, folder, most).await;
            let fetched = fetched.map_err(|error| match error {
                PullError::Absent { .. } => absent(id),
                error => failed(id, error),
            });
            folder::files(id, &fetched?, most)
        };
        match (&self.cache, token) {
            (Some(cache), None) => fetch(&cache.join("adapters")).await,
            _ => {
                let folder = tempfile::tempdir().map_err(|error| failed(id, error))?;
                fetch(folder.path()).await
            }
        }
    }
}

impl AdapterStore for Sources {
    fn fetch(
        &self,
        id: &str,
        source: AdapterSource,
        token: Option<&str>,
        most: u64,
    ) -> BoxFuture<'static, Result<AdapterFiles, Error>> {
        let (sources, id, token) = (self.clone(), id.to_owned(), token.map(str::to_owned));
        async move {
            // Files are read and locked on the way, which may block.
            let found = spawn_blocking(move || {
                Handle::current().block_on(sources.find(&id, source, token.as_deref(), most))
            });
            let found = found.await;
            found.unwrap_or_else(|panic| Err(Error::Internal(panic.to_string())))
        }
        .boxed()
    }

    fn names(&self) -> Vec<(String, AdapterSource)> {
        let names = self.folder.as_deref().map_or_else(Vec::new, folder::names);
        let local = names.into_iter().map(|name| (name, AdapterSource::Local));
        local.collect()
    }

    fn compute(&self, work: Box<dyn FnOnce() + Send>) {
        // It tells by itself what came of it.
        drop(spawn_blocking(work));
    }
}

fn absent(id: &str) -> Error {
    let adapter = id.to_owned();
    Error::AdapterNotFound { adapter }
}

fn failed(id: &str, reason: impl ToString) -> Error {
    Error::AdapterMismatch {
        adapter: id.to_owned(),
        reason: reason.to_string(),
    }
}

fn too_large(id: &str, most: u64) -> Error {
    let most = most >> 20;
    failed(
        id,
        format!("its files have more than the {most} MiB that all adapters may take"),
    )
}
