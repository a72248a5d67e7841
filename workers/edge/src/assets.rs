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

/// Bytes that are kept for a small step back: the reader of a header reads ahead, and the first tensor
/// begins in what it read. As much as it reads at once: memory is short.
const KEPT: usize = 256 << 10;

/// A file that is read front to back as it streams in, so that it is never held whole. A large step
/// back opens it again: assets know no ranges.
pub struct Asset {
    assets: Fetcher,
    url: String,
    file: File,
    open: Cell<Option<Cursor>>,
}

/// How far a file was read.
struct Cursor {
    stream: ByteStream,
    /// Offset of the first byte in `held`.
    start: u64,
    /// The last of what came.
    held: Vec<u8>,
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

    async fn open(&self) -> io::Result<Cursor> {
        let mut response = get(&self.assets, &self.url).await?;
        let stream = response.stream().map_err(io::Error::other)?;
        Ok(Cursor {
            stream,
            start: 0,
            held: Vec::new(),
        })
    }

    async fn bytes(&self, offset: u64, len: usize) -> io::Result<Vec<u8>> {
        let mut cursor = match self.open.take() {
            Some(cursor) if cursor.start <= offset => cursor,
            _ => self.open().await?,
        };
        let bytes = cursor.bytes(offset, len).await?;
        self.open.set(Some(cursor));
        Ok(bytes)
    }
}

impl Cursor {
    async fn chunk(&mut self) -> io::Result<Vec<u8>> {
        match self.stream.next().await {
            Some(chunk) => chunk.map_err(io::Error::other),
            None => Err(io::ErrorKind::UnexpectedEof.into()),
        }
    }

    /// Bytes from an offset at or behind `start`.
    async fn bytes(&mut self, offset: u64, len: usize) -> io::Result<Vec<u8>> {
        while self.start + (self.held.len() as u64) < offset {
            self.start += self.held.len() as u64;
            self.held = self.chunk().await?;
        }
        let skipped = (offset - self.start) as usize;
        if skipped + len > KEPT {
            self.held.drain(..skipped);
            self.start = offset;
        }
        let at = (offset - self.start) as usize;
        if len <= KEPT {
            self.held
                .reserve_exact((at + len).saturating_sub(self.held.len()));
            while self.held.len() < at + len {
                let chunk = self.chunk().await?;
                self.held.extend(chunk);
            }
            return Ok(self.held[at..at + len].to_vec());
        }
        // A large one is not held twice.
        let mut bytes = Vec::with_capacity(len);
        bytes.append(&mut self.held);
        while bytes.len() < len {
            bytes.extend(self.chunk().await?);
        }
        self.held = bytes.split_off(len);
        self.start = offset + len as u64;
        Ok(bytes)
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
