//! Where a checkpoint's bytes lie: a file, memory, later a range request or browser storage.

use std::io;

use burn::tensor::Bytes;
use futures::FutureExt;
use futures::future::LocalBoxFuture;

use crate::Error;

/// Random access to the bytes of one file.
pub trait Storage {
    /// Name for messages, as in `model.gguf`.
    fn name(&self) -> &str;

    /// Length in bytes.
    fn len(&self) -> u64;

    /// Whether there is nothing to read.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Reads exactly `len` bytes from `offset`.
    ///
    /// Callers keep to [`len`](Storage::len); a range beyond it is an error of kind
    /// `UnexpectedEof`.
    fn read(&self, offset: u64, len: usize) -> LocalBoxFuture<'_, io::Result<Vec<u8>>>;

    /// The same bytes without a copy of them, where that is possible.
    fn map(&self, _offset: u64, _len: usize) -> Option<Bytes> {
        None
    }
}

/// Reads a range, with the file's name on a failure.
pub(crate) async fn read(storage: &dyn Storage, offset: u64, len: usize) -> Result<Vec<u8>, Error> {
    storage
        .read(offset, len)
        .await
        .map_err(|source| io_error(storage.name(), source))
}

pub(crate) fn io_error(file: &str, source: io::Error) -> Error {
    Error::Io {
        file: file.to_owned(),
        source,
    }
}

/// A file that is wholly in memory.
#[derive(Clone, Debug)]
pub struct MemoryStorage {
    name: String,
    bytes: Vec<u8>,
}

impl MemoryStorage {
    /// Bytes under a name.
    pub fn new(name: impl Into<String>, bytes: Vec<u8>) -> Self {
        MemoryStorage {
            name: name.into(),
            bytes,
        }
    }
}

impl Storage for MemoryStorage {
    fn name(&self) -> &str {
        &self.name
    }

    fn len(&self) -> u64 {
        self.bytes.len() as u64
    }

    fn read(&self, offset: u64, len: usize) -> LocalBoxFuture<'_, io::Result<Vec<u8>>> {
        let range = usize::try_from(offset)
            .ok()
            .and_then(|at| self.bytes.get(at..at.checked_add(len)?));
        let found = range
            .map(<[u8]>::to_vec)
            .ok_or_else(|| io::ErrorKind::UnexpectedEof.into());
        async move { found }.boxed_local()
    }
}

#[cfg(not(target_arch = "wasm32"))]
pub use native::FileStorage;

#[cfg(not(target_arch = "wasm32"))]
mod native {
    use std::fs::File;
    use std::io;
    use std::path::Path;

    use futures::FutureExt;
    use futures::future::LocalBoxFuture;

    #[cfg(target_os = "linux")]
    use burn::tensor::{AllocationProperty, Bytes};

    use super::{Storage, io_error};
    use crate::Error;

    /// A file on disk, read by position: no seek pointer is shared. On Linux it can be mapped, too. It must not be written to
    /// as long as what was mapped is there: other bytes would be other weights, and fewer would end the process.
    #[derive(Debug)]
    pub struct FileStorage {
        name: String,
        file: File,
        len: u64,
        /// All of it, once a part was asked for.
        #[cfg(target_os = "linux")]
        mapped: std::cell::OnceCell<Option<bytes::Bytes>>,
    }

    impl FileStorage {
        /// Opens a file.
        ///
        /// # Errors
        /// Where it cannot be opened or is a folder.
        pub fn open(path: &Path) -> Result<Self, Error> {
            let open = || {
                let file = File::open(path)?;
                let meta = file.metadata()?;
                if meta.is_dir() {
                    return Err(io::ErrorKind::IsADirectory.into());
                }
                Ok((file, meta.len()))
            };
            let (file, len) = open().map_err(|e| io_error(&path.display().to_string(), e))?;
            let name = path
                .file_name()
                .unwrap_or(path.as_os_str())
                .to_string_lossy()
                .into_owned();
            Ok(FileStorage {
                name,
                file,
                len,
                #[cfg(target_os = "linux")]
                mapped: Default::default(),
            })
        }

        #[cfg(target_os = "linux")]
        fn mapped(&self) -> Option<&bytes::Bytes> {
            let map = || {
                // SAFETY: it is only read, and pages live as long as the mapping, which the bytes own. That nobody writes to
                // the file meanwhile is what the type's documentation asks for; our own files come by a rename, whole.
                let map = unsafe { memmap2::Mmap::map(&self.file) }.ok()?;
                // Nothing is lost where the system does not read ahead.
                let _ = map.advise(memmap2::Advice::WillNeed);
                Some(bytes::Bytes::from_owner(map))
            };
            self.mapped.get_or_init(map).as_ref()
        }

        #[cfg(unix)]
        fn fill(&self, offset: u64, bytes: &mut [u8]) -> io::Result<()> {
            std::os::unix::fs::FileExt::read_exact_at(&self.file, bytes, offset)
        }

        #[cfg(windows)]
        fn fill(&self, mut offset: u64, mut bytes: &mut [u8]) -> io::Result<()> {
            use std::os::windows::fs::FileExt;
            while !bytes.is_empty() {
                match self.file.seek_read(bytes, offset)? {
                    0 => return Err(io::ErrorKind::UnexpectedEof.into()),
                    n => {
                        bytes = &mut bytes[n..];
                        offset += n as u64;
                    }
                }
            }
            Ok(())
        }
    }

    impl Storage for FileStorage {
        fn name(&self) -> &str {
            &self.name
        }

        fn len(&self) -> u64 {
            self.len
        }

        fn read(&self, offset: u64, len: usize) -> LocalBoxFuture<'_, io::Result<Vec<u8>>> {
            let mut bytes = vec![0; len];
            let done = self.fill(offset, &mut bytes).map(|()| bytes);
            async move { done }.boxed_local()
        }

        #[cfg(target_os = "linux")]
        fn map(&self, offset: u64, len: usize) -> Option<Bytes> {
            let from = usize::try_from(offset).ok()?;
            let to = from.checked_add(len)?;
            let all = self.mapped().filter(|all| to <= all.len())?;
            Some(Bytes::from_shared(
                all.slice(from..to),
                AllocationProperty::File,
            ))
        }
    }
}

#[cfg(test)]
mod tests {
    use futures::executor::block_on;

    use super::*;

    #[test]
    fn memory_gives_the_range_asked_for_and_refuses_one_beyond_the_end() {
        let storage = MemoryStorage::new("x", vec![1, 2, 3, 4]);
        assert_eq!(block_on(storage.read(1, 2)).unwrap(), [2, 3]);
        for (offset, len) in [(3, 2), (u64::MAX, 1), (0, usize::MAX)] {
            let error = block_on(storage.read(offset, len)).unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof);
        }
        assert!(storage.map(1, 2).is_none());
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn a_file_shows_what_it_reads_and_nothing_beyond_its_end() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x");
        let all: Vec<u8> = (0..10_000).map(|i| (i % 251) as u8).collect();
        std::fs::write(&path, &all).unwrap();
        let storage = FileStorage::open(&path).unwrap();
        for (offset, len) in [(0, 10_000), (4097, 5), (10_000, 0)] {
            let read = block_on(storage.read(offset, len)).unwrap();
            assert_eq!(storage.map(offset, len).as_deref(), Some(&*read));
        }
        for (offset, len) in [(9_999, 2), (u64::MAX, 1), (1, usize::MAX)] {
            assert!(storage.map(offset, len).is_none());
        }
        let path = folder.path().join("empty");
        std::fs::write(&path, []).unwrap();
        let empty = FileStorage::open(&path).unwrap();
        assert_eq!(empty.map(0, 0).as_deref(), Some(&[][..]));
        assert!(empty.map(0, 1).is_none());
    }
}
