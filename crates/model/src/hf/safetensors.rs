//! The header of a safetensors file; tensors are read later, one range each.

use safetensors::Dtype;
use safetensors::tensor::Metadata;
use tinderbox_kernels::Format;

use crate::Error;
use crate::storage::{self, Storage};

/// Longest header, as the format's own reader has it.
const HEADER_LIMIT: u64 = 100_000_000;

/// A tensor of the file.
pub(crate) struct Entry {
    pub name: String,
    pub dtype: Dtype,
    pub shape: Vec<usize>,
    /// Offset in the file.
    pub offset: u64,
    /// Length in bytes.
    pub len: usize,
}

/// Reads the header and checks that every tensor lies inside the file.
pub(crate) async fn read(file: &dyn Storage) -> Result<Vec<Entry>, Error> {
    let fail = |place: &str, reason: String| Error::Malformed {
        file: file.name().to_owned(),
        place: place.to_owned(),
        reason,
    };
    if file.len() < 8 {
        return Err(fail(
            "header length",
            format!("the file has {} bytes", file.len()),
        ));
    }
    let start = storage::read(file, 0, 8).await?;
    let len = u64::from_le_bytes(std::array::from_fn(|i| start[i]));
    let most = HEADER_LIMIT.min(file.len() - 8);
    if len > most {
        let reason = format!("a header of {len} bytes, at most {most} are possible");
        return Err(fail("header length", reason));
    }
    let header = storage::read(file, 8, len as usize).await?;
    let header: Metadata =
        serde_json::from_slice(&header).map_err(|e| fail("header", e.to_string()))?;

    let data = 8 + len;
    let mut entries = Vec::new();
    for (name, info) in header.tensors() {
        let (start, end) = info.data_offsets;
        let inside = start <= end && end as u64 <= file.len() - data;
        if !inside {
            let reason = format!(
                "bytes {start} to {end} of the tensor data end beyond the file of {} bytes; \
                 the file is cut short",
                file.len()
            );
            return Err(fail(&name, reason));
        }
        let (dtype, shape) = (info.dtype, info.shape.clone());
        let (offset, len) = (data + start as u64, end - start);
        entries.push(Entry {
            name,
            dtype,
            shape,
            offset,
            len,
        });
    }
    Ok(entries)
}

/// How a tensor's numbers are stored, where a kernel reads that.
pub(crate) fn format(file: &dyn Storage, entry: &Entry) -> Result<Format, Error> {
    let format = match entry.dtype {
        Dtype::F32 => Format::F32,
        Dtype::F16 => Format::F16,
        Dtype::BF16 => Format::BF16,
        other => {
            return Err(Error::TensorType {
                file: file.name().to_owned(),
                name: entry.name.clone(),
                found: format!("{other:?}"),
                supported: "F32, F16, BF16".to_owned(),
            });
        }
    };
    let elements = entry
        .shape
        .iter()
        .try_fold(1_usize, |n, size| n.checked_mul(*size));
    let bytes = elements.and_then(|n| n.checked_mul(format.block_bytes()));
    if bytes != Some(entry.len) || entry.shape.is_empty() || entry.len == 0 {
        let (file, place) = (file.name().to_owned(), entry.name.clone());
        let reason = format!(
            "shape {:?} of {format} does not fill {} bytes",
            entry.shape, entry.len
        );
        return Err(Error::Malformed {
            file,
            place,
            reason,
        });
    }
    Ok(format)
}
