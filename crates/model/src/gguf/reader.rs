//! The header of a GGUF file, read front to back through a window that grows as it is needed.
//!
//! Every count is checked against the bytes that remain before anything is allocated for it, so
//! that a header of a few bytes cannot ask for gigabytes.

use super::value::{Array, Strings, Value};
use crate::Error;
use crate::storage::{self, Storage};

/// First read; a larger field takes one read of its own.
const WINDOW: usize = 256 << 10;
/// Longest key or tensor name, as the specification has it.
const NAME_LIMIT: u64 = 65_535;
/// Longest string value. Chat templates and licences stay below 1 MiB.
const STRING_LIMIT: u64 = 16 << 20;
/// Arrays in arrays.
const DEPTH_LIMIT: usize = 4;

/// A position in a storage and the bytes after it.
pub(super) struct Reader<'a> {
    storage: &'a dyn Storage,
    window: Vec<u8>,
    /// Offset of `window[0]`.
    start: u64,
    /// Consumed bytes of the window.
    used: usize,
}

impl<'a> Reader<'a> {
    pub fn new(storage: &'a dyn Storage) -> Self {
        Reader {
            storage,
            window: Vec::new(),
            start: 0,
            used: 0,
        }
    }

    pub fn file(&self) -> &str {
        self.storage.name()
    }

    pub fn offset(&self) -> u64 {
        self.start + self.used as u64
    }

    pub fn remaining(&self) -> u64 {
        self.storage.len() - self.offset()
    }

    pub fn malformed(&self, place: &str, reason: impl Into<String>) -> Error {
        let place = format!("{place} (offset {})", self.offset());
        Error::Malformed {
            file: self.storage.name().to_owned(),
            place,
            reason: reason.into(),
        }
    }

    /// The next `len` bytes.
    async fn take(&mut self, len: usize, place: &str) -> Result<&[u8], Error> {
        if self.window.len() - self.used < len {
            let left = self.remaining();
            if (len as u64) > left {
                let reason = format!("the file ends: {len} bytes wanted, {left} left");
                return Err(self.malformed(place, reason));
            }
            let want = left.min(len.max(WINDOW) as u64) as usize;
            let start = self.offset();
            self.window = storage::read(self.storage, start, want).await?;
            (self.start, self.used) = (start, 0);
        }
        self.used += len;
        Ok(&self.window[self.used - len..self.used])
    }

    async fn array<const N: usize>(&mut self, place: &str) -> Result<[u8; N], Error> {
        let bytes = self.take(N, place).await?;
        Ok(std::array::from_fn(|i| bytes[i]))
    }

    pub async fn u32(&mut self, place: &str) -> Result<u32, Error> {
        Ok(u32::from_le_bytes(self.array(place).await?))
    }

    pub async fn u64(&mut self, place: &str) -> Result<u64, Error> {
        Ok(u64::from_le_bytes(self.array(place).await?))
    }

    /// A count of things of at least `least` bytes each.
    pub async fn count(&mut self, place: &str, least: u64) -> Result<usize, Error> {
        let count = self.u64(place).await?;
        let most = self.remaining() / least;
        if count > most {
            let reason = format!("count {count}, but the rest of the file holds at most {most}");
            return Err(self.malformed(place, reason));
        }
        usize::try_from(count)
            .map_err(|_| self.malformed(place, format!("count {count} is too large")))
    }

    pub async fn name(&mut self, place: &str) -> Result<String, Error> {
        Ok(self.text(place, NAME_LIMIT).await?.to_owned())
    }

    async fn text(&mut self, place: &str, limit: u64) -> Result<&str, Error> {
        let len = self.u64(place).await?;
        if len > limit {
            let reason = format!("string of {len} bytes, at most {limit} are allowed");
            return Err(self.malformed(place, reason));
        }
        let at = self.offset();
        let file = self.storage.name();
        std::str::from_utf8(self.take(len as usize, place).await?).map_err(|_| Error::Malformed {
            file: file.to_owned(),
            place: format!("{place} (offset {at})"),
            reason: "the string is no UTF-8".to_owned(),
        })
    }

    /// A value of the type with this number.
    pub async fn value(&mut self, kind: u32, place: &str) -> Result<Value, Error> {
        Ok(match kind {
            0 => Value::U8(u8::from_le_bytes(self.array(place).await?)),
            1 => Value::I8(i8::from_le_bytes(self.array(place).await?)),
            2 => Value::U16(u16::from_le_bytes(self.array(place).await?)),
            3 => Value::I16(i16::from_le_bytes(self.array(place).await?)),
            4 => Value::U32(self.u32(place).await?),
            5 => Value::I32(i32::from_le_bytes(self.array(place).await?)),
            6 => Value::F32(f32::from_le_bytes(self.array(place).await?)),
            7 => Value::Bool(self.array::<1>(place).await? != [0]),
            8 => Value::String(self.text(place, STRING_LIMIT).await?.to_owned()),
            9 => Value::Array(self.elements(place, 0).await?),
            10 => Value::U64(self.u64(place).await?),
            11 => Value::I64(i64::from_le_bytes(self.array(place).await?)),
            12 => Value::F64(f64::from_le_bytes(self.array(place).await?)),
            _ => return Err(self.malformed(place, format!("value type {kind} is unknown"))),
        })
    }

    async fn elements(&mut self, place: &str, depth: usize) -> Result<Array, Error> {
        if depth == DEPTH_LIMIT {
            return Err(self.malformed(place, format!("arrays nested deeper than {DEPTH_LIMIT}")));
        }
        let kind = self.u32(place).await?;
        Ok(match kind {
            0 => Array::U8(self.numbers(place, u8::from_le_bytes).await?),
            1 => Array::I8(self.numbers(place, i8::from_le_bytes).await?),
            2 => Array::U16(self.numbers(place, u16::from_le_bytes).await?),
            3 => Array::I16(self.numbers(place, i16::from_le_bytes).await?),
            4 => Array::U32(self.numbers(place, u32::from_le_bytes).await?),
            5 => Array::I32(self.numbers(place, i32::from_le_bytes).await?),
            6 => Array::F32(self.numbers(place, f32::from_le_bytes).await?),
            7 => Array::Bool(self.numbers(place, |byte| byte != [0]).await?),
            8 => {
                let mut strings = Strings::default();
                for _ in 0..self.count(place, 8).await? {
                    if !strings.push(self.text(place, STRING_LIMIT).await?) {
                        return Err(self.malformed(place, "more than 4 GiB of text"));
                    }
                }
                Array::String(strings)
            }
            9 => {
                let mut arrays = Vec::new();
                for _ in 0..self.count(place, 12).await? {
                    arrays.push(Box::pin(self.elements(place, depth + 1)).await?);
                }
                Array::Array(arrays)
            }
            10 => Array::U64(self.numbers(place, u64::from_le_bytes).await?),
            11 => Array::I64(self.numbers(place, i64::from_le_bytes).await?),
            12 => Array::F64(self.numbers(place, f64::from_le_bytes).await?),
            _ => return Err(self.malformed(place, format!("array type {kind} is unknown"))),
        })
    }

    async fn numbers<T, const N: usize>(
        &mut self,
        place: &str,
        parse: impl Fn([u8; N]) -> T,
    ) -> Result<Vec<T>, Error> {
        let count = self.count(place, N as u64).await?;
        let mut numbers = Vec::with_capacity(count);
        let step = (WINDOW / N).max(1);
        while numbers.len() < count {
            let now = step.min(count - numbers.len());
            let bytes = self.take(now * N, place).await?;
            numbers.extend(
                bytes
                    .chunks_exact(N)
                    .map(|c| parse(std::array::from_fn(|i| c[i]))),
            );
        }
        Ok(numbers)
    }
}
