//! A packed model among the Worker's static assets.

use std::cell::Cell;
use std::io;

use futures::future::LocalBoxFuture;
use futures::{FutureExt, StreamExt};
use serde::Deserialize;
use tinderbox_model::Storage;
use worker::{ByteStream, Fetcher};

/// What `tinderbox pack` says of a model: `manifest.json`.
#[derive(Clone, Debug, Deserialize)]
pub struct Manifest {
    /// The files, in order.
    pub files: Vec<File>,
}

/// One file of a packed model.
#[derive(Clone, Debug, Deserialize)]
pub struct File {
    /// Its name, beside the manifest.
    pub name: String,
    /// Its length.
    pub bytes: u64,
}

/// Reads the manifest of a model.
///
/// # Errors
/// Where there is none, or it is broken: in words.
pub async fn manifest(assets: &Fetcher, model: &str) -> Result<Manifest, String> {
    let url = url(model, "manifest.json");
    let mut response = get(assets, &url).await.map_err(|error| error.to_string())?;
    let manifest = response.json().await;
    manifest.map_err(|error| format!("{url}: {error}"))
}

/// The assets' own host does not matter to the binding.
fn url(model: &str, file: &str) -> String {
    format!("http://assets/models/{model}/{file}")
}

async fn get(assets: &Fetcher, url: &str) -> io::Result<worker::Response> {
    let response = assets.fetch(url, None).await;
    let response = response.map_err(|error| io::Error::other(format!("{url}: {error}")))?;
    match response.status_code() {
        200 => Ok(response),
        status => Err(io::Error::other(format!("{url}: status {status}"))),
    }
}

/// A file that is read front to back as it streams in, so that it is never held whole. A step back
/// opens it again: assets know no ranges.
pub struct Asset {
    assets: Fetcher,
    url: String,
    file: File,
    open: Cell<Option<Cursor>>,
}

/// How far a file was read.
struct Cursor {
    stream: ByteStream,
    /// Offset of the first byte in `rest`.
    position: u64,
    /// Came with the last chunk and was not asked for yet.
    rest: Vec<u8>,
}

impl Asset {
    /// A file of a model.
    pub fn new(assets: Fetcher, model: &str, file: File) -> Asset {
        Asset {
            assets,
            url: url(model, &file.name),
            file,
            open: Cell::new(None),
        }
    }

    async fn bytes(&self, offset: u64, len: usize) -> io::Result<Vec<u8>> {
        let mut cursor = match self.open.take() {
            Some(cursor) if cursor.position <= offset => cursor,
            _ => Cursor {
                stream: get(&self.assets, &self.url)
                    .await?
                    .stream()
                    .map_err(|error| io::Error::other(error.to_string()))?,
                position: 0,
                rest: Vec::new(),
            },
        };
        while cursor.position < offset {
            cursor.fill().await?;
            let skipped = (offset - cursor.position).min(cursor.rest.len() as u64);
            cursor.rest.drain(..skipped as usize);
            cursor.position += skipped;
        }
        let mut bytes = Vec::with_capacity(len);
        while bytes.len() < len {
            cursor.fill().await?;
            let taken = (len - bytes.len()).min(cursor.rest.len());
            bytes.extend(cursor.rest.drain(..taken));
        }
        cursor.position += len as u64;
        self.open.set(Some(cursor));
        Ok(bytes)
    }
}

impl Cursor {
    /// Waits for a chunk where nothing is left of the last.
    async fn fill(&mut self) -> io::Result<()> {
        while self.rest.is_empty() {
            self.rest = match self.stream.next().await {
                Some(Ok(chunk)) => chunk,
                Some(Err(error)) => return Err(io::Error::other(error.to_string())),
                None => return Err(io::ErrorKind::UnexpectedEof.into()),
            };
        }
        Ok(())
    }
}

impl Storage for Asset {
    fn name(&self) -> &str {
        &self.file.name
    }

    fn len(&self) -> u64 {
        self.file.bytes
    }

    fn read(&self, offset: u64, len: usize) -> LocalBoxFuture<'_, io::Result<Vec<u8>>> {
        self.bytes(offset, len).boxed_local()
    }
}
