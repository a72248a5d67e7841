//! A packed model: among the Worker's static assets, in an R2 bucket or in KV.

use std::cell::Cell;
use std::io;

use futures::future::LocalBoxFuture;
use futures::{FutureExt, StreamExt};
use serde::Deserialize;
use tinderbox_model::Storage;
use worker::kv::KvStore;
use worker::{Bucket, ByteStream, Env, Fetcher};

/// Most bytes of a manifest.
const MANIFEST: u64 = 1 << 20;

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

/// Where packed models are: the binding `MODELS`, a bucket or a KV namespace, or else the assets. All
/// keep a model's files under `models/NAME/`.
#[derive(Clone)]
pub enum Store {
    /// Static assets, at most 25 MiB each.
    Assets(Fetcher),
    /// R2, any size.
    Bucket(Bucket),
    /// KV, at most 25 MiB each.
    Kv(KvStore),
}

impl Store {
    /// What is bound; `None` where nothing is.
    pub fn of(env: &Env) -> Option<Store> {
        let bucket = env.bucket("MODELS").map(Store::Bucket);
        let kv = || env.kv("MODELS").map(Store::Kv);
        let assets = || env.assets("ASSETS").map(Store::Assets);
        bucket.or_else(|_| kv()).or_else(|_| assets()).ok()
    }

    /// Reads the manifest of a model.
    ///
    /// # Errors
    /// Where there is none, or it is broken: in words.
    pub async fn manifest(&self, model: &str) -> Result<Manifest, String> {
        let path = path(model, "manifest.json");
        let text = self.whole(&path, MANIFEST).await;
        let text = text.and_then(|text| text.ok_or_else(|| absent(&path)));
        let text = text.map_err(|error| error.to_string())?;
        serde_json::from_slice(&text).map_err(|error| format!("{path}: {error}"))
    }

    /// All of a file that has at most `most` bytes; `None` where there is none.
    ///
    /// # Errors
    /// It is longer, or cannot be read.
    pub async fn whole(&self, path: &str, most: u64) -> io::Result<Option<Vec<u8>>> {
        let Some(mut stream) = self.open(path).await? else {
            return Ok(None);
        };
        let failed = |reason: String| io::Error::other(format!("{path}: {reason}"));
        let mut bytes = Vec::new();
        while let Some(chunk) = stream.next().await {
            bytes.extend(chunk.map_err(|error| failed(error.to_string()))?);
            if bytes.len() as u64 > most {
                return Err(failed(format!(
                    "has more than the {most} bytes it may have"
                )));
            }
        }
        Ok(Some(bytes))
    }

    /// A file from its beginning; `None` where there is none.
    async fn open(&self, path: &str) -> io::Result<Option<ByteStream>> {
        let stream = match self {
            Store::Assets(assets) => asset(assets, path).await,
            Store::Bucket(bucket) => match bucket.get(path).execute().await {
                Ok(object) => object
                    .and_then(|object| Some(object.body()?.stream()))
                    .transpose()
                    .map_err(|error| error.to_string()),
                Err(error) => Err(error.to_string()),
            },
            Store::Kv(kv) => match kv.get(path).stream().await {
                Ok(stream) => Ok(stream.map(ByteStream::from)),
                Err(error) => Err(error.to_string()),
            },
        };
        stream.map_err(|error| io::Error::other(format!("{path}: {error}")))
    }
}

fn absent(path: &str) -> io::Error {
    io::Error::other(format!("{path}: not found"))
}

fn path(model: &str, file: &str) -> String {
    format!("models/{model}/{file}")
}

async fn asset(assets: &Fetcher, path: &str) -> Result<Option<ByteStream>, String> {
    // The host does not matter to the binding.
    let response = assets.fetch(format!("http://assets/{path}"), None).await;
    let mut response = response.map_err(|error| error.to_string())?;
    match response.status_code() {
        200 => response
            .stream()
            .map(Some)
            .map_err(|error| error.to_string()),
        404 => Ok(None),
        status => Err(format!("status {status}")),
    }
}

/// Bytes that are kept for a small step back: the reader of a header reads ahead, and the first tensor
/// begins in what it read. As much as it reads at once: memory is short.
const KEPT: usize = 256 << 10;

/// A file that is read front to back as it streams in, so that it is never held whole. A large step
/// back opens it again: not every store knows ranges.
pub struct Asset {
    store: Store,
    path: String,
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
    pub fn new(store: Store, model: &str, file: File) -> Asset {
        Asset {
            store,
            path: path(model, &file.name),
            file,
            open: Cell::new(None),
        }
    }

    async fn open(&self) -> io::Result<Cursor> {
        let opened = self.store.open(&self.path).await?;
        Ok(Cursor {
            stream: opened.ok_or_else(|| absent(&self.path))?,
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
