//! Memory on a device: a model's matrices, on a Linux host side by side in pages of 2 MiB, and tensors to be written.
//!
//! A token reads all of the weights once. With pages of 4 KiB each of them costs a walk through the tables of memory,
//! through two layers of them in a virtual machine, and at its end the processor stops to fetch ahead. Linux gives large
//! pages to what asks for them (its documentation, "Transparent Hugepage Support"), in pieces of 2 MiB, which most matrices
//! are smaller than.

use burn::tensor::{Bytes, DType, Device, Tensor, TensorData};

use tinderbox_cpu::{PANEL_ROWS, pack_into, packed_bytes, stays};

use crate::device::largest_buffer;
use crate::matrix::{pad_blocks, padded_block};
use crate::{Layout, Matrix, MatrixError, on_cpu};

/// Takes matrices one by one. What it holds is freed when the last of them is.
#[derive(Debug)]
pub struct Arena {
    device: Device,
    pages: pages::Pages,
    /// Bytes of the largest buffer.
    pub(crate) largest: usize,
}

impl Arena {
    /// For about so many bytes of weights; any number of them works.
    pub fn new(device: &Device, bytes: usize) -> Arena {
        Arena {
            device: device.clone(),
            pages: pages::Pages::new(bytes),
            largest: largest_buffer(device),
        }
    }

    /// Puts a `[rows, columns]` matrix, given in the file's own bytes, on the device: there in the order
    /// that its twin reads, in as many buffers as it takes.
    ///
    /// # Errors
    /// Where bytes and shape do not match.
    pub fn matrix(&mut self, layout: Layout, bytes: Vec<u8>) -> Result<Matrix, MatrixError> {
        MatrixError::check(layout, bytes.len())?;
        let mut filling = self.begin(layout)?;
        filling.add(bytes);
        self.finish(filling)
    }

    /// Begins a matrix whose bytes come piece by piece.
    ///
    /// # Errors
    /// Where a row is no whole number of blocks.
    pub fn begin(&mut self, layout: Layout) -> Result<Filling, MatrixError> {
        let expected = MatrixError::expected(layout)?;
        let room = on_cpu(&self.device).then(|| self.pages.room(packed_bytes(layout, expected)));
        Ok(Filling {
            layout,
            expected,
            found: 0,
            bytes: Vec::new(),
            room: room.flatten(),
        })
    }

    /// Whether the device takes a matrix as its file has it, so that [`Arena::keep`] needs no copy.
    pub fn keeps(&self, layout: Layout) -> bool {
        on_cpu(&self.device) && stays(layout)
    }

    /// A matrix that [`Arena::keeps`], of bytes that stay where they are.
    ///
    /// # Errors
    /// As [`Arena::matrix`].
    pub fn keep(&self, layout: Layout, bytes: Bytes) -> Result<Matrix, MatrixError> {
        MatrixError::check(layout, bytes.len())?;
        Ok(self.of_a_host(layout, bytes))
    }

    /// The matrix, now that all of its bytes have come.
    ///
    /// # Errors
    /// Where these are not those of its shape.
    pub fn finish(&self, filling: Filling) -> Result<Matrix, MatrixError> {
        let layout = filling.layout;
        MatrixError::check(layout, filling.found)?;
        let put = |words| Tensor::from_data(words, (&self.device, DType::U32));
        if on_cpu(&self.device) {
            return Ok(self.of_a_host(layout, filling.packed()));
        }
        let bytes = filling.bytes;
        let step = self.rows_of_a_part(layout);
        let part = |bytes| put(pad_blocks(layout.format, bytes));
        let parts = match step < layout.rows {
            true => {
                let bytes = bytes.chunks(bytes.len() / layout.rows * step);
                bytes.map(|bytes| part(bytes.to_vec())).collect()
            }
            false => vec![part(bytes)],
        };
        Ok(Matrix {
            layout,
            parts,
            step,
        })
    }

    fn of_a_host(&self, layout: Layout, bytes: Bytes) -> Matrix {
        let words = bytes.len() / 4;
        let words = TensorData::from_bytes(bytes, [words], DType::U32);
        Matrix {
            layout,
            parts: vec![Tensor::from_data(words, (&self.device, DType::U32))],
            step: layout.rows.max(1),
        }
    }

    /// Equal shares of the rows, each of whole words and no larger than a buffer.
    fn rows_of_a_part(&self, layout: Layout) -> usize {
        // Rows of a buffer and of a part: that many are whole words in every format.
        const WHOLE: usize = 4;
        let Layout {
            format,
            rows,
            columns,
        } = layout;
        let row = columns / format.block() * padded_block(format);
        let most = (self.largest / row.max(1) / WHOLE * WHOLE).max(WHOLE);
        let parts = rows.div_ceil(most).max(1);
        rows.div_ceil(parts).max(1).next_multiple_of(WHOLE)
    }
}

/// A matrix whose bytes are coming.
#[derive(Debug)]
pub struct Filling {
    layout: Layout,
    /// Bytes of the shape, and how many have come.
    expected: usize,
    found: usize,
    /// Those that wait: all of them, or less than a panel's.
    bytes: Vec<u8>,
    /// Where panels are made of the others.
    room: Option<pages::Room>,
}

impl Filling {
    /// About how many bytes are best added at once: they stay in a cache until they are packed. All where they are packed in
    /// place.
    pub fn piece(&self) -> usize {
        match self.room {
            Some(_) => 2 << 20,
            None => usize::MAX,
        }
    }

    /// Adds the bytes that come next.
    pub fn add(&mut self, bytes: Vec<u8>) {
        self.found = self.found.saturating_add(bytes.len());
        match self.bytes.is_empty() {
            true => self.bytes = bytes,
            false => self.bytes.extend(bytes),
        }
        // What is too much is refused in the end.
        if let Some(room) = &mut self.room
            && self.found <= self.expected
        {
            let panel = (self.expected / self.layout.rows.max(1) * PANEL_ROWS).max(1);
            let panels = self.bytes.len() / panel;
            let layout = Layout {
                rows: panels * PANEL_ROWS,
                ..self.layout
            };
            let whole = panels * panel;
            let done = self.found - self.bytes.len();
            let to = &mut room[done..][..whole];
            pack_into(layout, &self.bytes[..whole], to);
            self.bytes.drain(..whole);
        }
    }

    /// All of it in panels.
    fn packed(mut self) -> Bytes {
        match self.room {
            Some(mut room) => {
                let layout = Layout {
                    rows: self.layout.rows % PANEL_ROWS,
                    ..self.layout
                };
                let done = self.found - self.bytes.len();
                pack_into(layout, &self.bytes, &mut room[done..]);
                pages::bytes(room)
            }
            None => {
                tinderbox_cpu::pack(self.layout, &mut self.bytes);
                Bytes::from_bytes_vec(self.bytes)
            }
        }
    }
}

/// A tensor that is written before it is read. On the CPU the system backs only the pages that are written, where burn's
/// own would be copied once.
pub fn unwritten<const D: usize>(shape: [usize; D], dtype: DType, device: &Device) -> Tensor<D> {
    if !on_cpu(device) {
        return Tensor::empty(shape, (device, dtype));
    }
    let bytes = shape.iter().product::<usize>() * dtype.size();
    let words = vec![0u128; bytes.div_ceil(size_of::<u128>())];
    let data = TensorData::from_bytes(Bytes::from_elems(words), shape, dtype);
    Tensor::from_data(data, (device, dtype))
}

#[cfg(target_os = "linux")]
mod pages {
    use burn::tensor::AllocationProperty;
    use bytes::BytesMut;

    use super::Bytes;

    /// A piece of memory.
    pub type Room = BytesMut;

    /// Bytes of a large page.
    const LARGE: usize = 2 << 20;
    /// Bytes of a line of the cache: where a matrix begins, so that its vectors do not lie across two.
    const LINE: usize = 64;

    #[derive(Debug)]
    pub struct Pages {
        expected: usize,
        /// What is left of the last piece of memory.
        open: BytesMut,
    }

    impl Pages {
        pub fn new(expected: usize) -> Pages {
            Pages {
                expected,
                open: BytesMut::new(),
            }
        }

        /// Room for so many bytes, of which none is taken.
        pub fn room(&mut self, bytes: usize) -> Option<Room> {
            if self.open.len() < bytes + LINE {
                // Zeros that the system makes when they are touched.
                self.open = BytesMut::zeroed(self.expected.max(bytes) + LINE);
                self.expected = 0;
                ask_for_large(&mut self.open);
            }
            let begin = self.open.as_ptr().align_offset(LINE);
            Some(self.open.split_to(begin + bytes).split_off(begin))
        }
    }

    pub fn bytes(room: Room) -> Bytes {
        Bytes::from_shared(room.freeze(), AllocationProperty::Native)
    }

    /// Nothing is lost where the system does not give them.
    fn ask_for_large(memory: &mut [u8]) {
        if memory.len() < LARGE {
            return;
        }
        let first = memory.as_ptr().align_offset(LARGE);
        let len = memory.len().saturating_sub(first) / LARGE * LARGE;
        // SAFETY: whole pages inside memory that is ours. The advice changes how addresses are mapped, not what is there.
        unsafe {
            libc::madvise(
                memory.as_mut_ptr().wrapping_add(first).cast(),
                len,
                libc::MADV_HUGEPAGE,
            );
        }
    }
}

/// Elsewhere matrices are packed where they were read, and memory is as burn takes it.
#[cfg(not(target_os = "linux"))]
mod pages {
    use super::Bytes;

    pub type Room = Vec<u8>;

    #[derive(Debug)]
    pub struct Pages;

    impl Pages {
        pub fn new(_expected: usize) -> Pages {
            Pages
        }

        pub fn room(&mut self, _bytes: usize) -> Option<Room> {
            None
        }
    }

    pub fn bytes(room: Room) -> Bytes {
        Bytes::from_bytes_vec(room)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Format;

    /// Bytes of memory that the process has.
    #[cfg(target_os = "linux")]
    fn resident() -> usize {
        let statm = std::fs::read_to_string("/proc/self/statm").unwrap();
        4096 * statm.split(' ').nth(1).unwrap().parse::<usize>().unwrap()
    }

    #[test]
    fn matrices_of_an_arena_keep_their_bytes_whatever_comes_after_them() {
        let device = Device::flex();
        // Of five matrices two fit what is expected; a line of the cache lies between some.
        let mut arena = Arena::new(&device, 40_000);
        let matrices =
            [(16, 3), (32, 256), (16, 1), (48, 64), (1024, 1024)].map(|(rows, columns)| {
                let layout = Layout {
                    format: Format::F32,
                    rows,
                    columns,
                };
                let bytes: Vec<u8> = (0..4 * rows * columns).map(|i| (i % 251) as u8).collect();
                (arena.matrix(layout, bytes.clone()).unwrap(), bytes)
            });
        drop(arena);
        for (matrix, bytes) in matrices {
            assert_eq!(matrix.parts[0].clone().into_data().as_bytes(), bytes);
        }
    }

    #[test]
    fn a_matrix_that_is_kept_stays_where_it_was() {
        let arena = Arena::new(&Device::flex(), 0);
        let layout = |format, rows| Layout {
            format,
            rows,
            columns: 256,
        };
        let kept = layout(Format::F16, 32);
        assert!(arena.keeps(kept));
        for copied in [layout(Format::F16, 31), layout(Format::Q8_0, 32)] {
            assert!(!arena.keeps(copied));
        }
        let bytes = Bytes::from_bytes_vec(vec![7; 2 * 32 * 256]);
        let place = bytes.as_ptr();
        let mut matrix = arena.keep(kept, bytes).unwrap();
        let data = matrix.parts.remove(0).into_data();
        assert_eq!(data.as_bytes().as_ptr(), place);
        let short = arena.keep(kept, Bytes::from_bytes_vec(vec![7; 100]));
        assert!(matches!(short, Err(MatrixError::Length { found: 100, .. })));
    }

    #[test]
    fn a_matrix_that_comes_in_pieces_is_the_whole_one() {
        for (format, rows) in [(Format::Q5_K, 37), (Format::F16, 16), (Format::Q4_0, 100)] {
            let layout = Layout {
                format,
                rows,
                columns: 512,
            };
            let bytes: Vec<u8> = (0..rows * format.row_bytes(512).unwrap())
                .map(|i| (i * 7 % 253) as u8)
                .collect();
            let mut arena = Arena::new(&Device::flex(), 1 << 20);
            let whole = arena.matrix(layout, bytes.clone()).unwrap();
            // Pieces that end within rows and within panels, and some that hold several of these.
            for size in [1, 1000, 9_999, 40_000] {
                let mut filling = arena.begin(layout).unwrap();
                bytes
                    .chunks(size)
                    .for_each(|piece| filling.add(piece.to_vec()));
                let found = arena.finish(filling).unwrap();
                let of = |matrix: &Matrix| matrix.parts[0].clone().into_data();
                assert_eq!(
                    of(&found).as_bytes(),
                    of(&whole).as_bytes(),
                    "{format}, {size}"
                );
            }
            for wrong in [bytes.len() - 1, bytes.len() + 1] {
                let mut filling = arena.begin(layout).unwrap();
                filling.add(vec![1; wrong]);
                let error = arena.finish(filling).unwrap_err();
                assert!(matches!(error, MatrixError::Length { found, .. } if found == wrong));
            }
        }
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn an_unwritten_tensor_takes_no_memory() {
        const BYTES: usize = 1 << 30;
        let before = resident();
        let tensor = unwritten([2, BYTES / 8, 2], DType::F16, &Device::flex());
        let taken = resident().saturating_sub(before);
        assert_eq!(tensor.dims(), [2, BYTES / 8, 2]);
        // Half, since other tests take memory, too; a copy would take all.
        assert!(taken < BYTES / 2, "{taken} bytes");
    }
}
