//! What adapters add to a product, a slot for each, on a device.

use std::collections::BTreeMap;
use std::ops::Range;

use burn::backend::Dispatch;
use burn::tensor::{DType, Device, Int, Tensor, TensorData};
use tinderbox_cpu::ENTRY;

use crate::{Factors, Input, Kernels, LowRankSpec, PARTS, With};

/// The adapters of a product: of one matrix, or of up to [`PARTS`] side by side that share their input.
/// Factors are `f32`, one buffer for all slots.
#[derive(Clone, Debug)]
pub struct LowRank {
    columns: usize,
    outputs: [usize; PARTS],
    device: Device,
    held: BTreeMap<u32, Held>,
    /// Slots that were named so far: rows may name them.
    slots: u32,
    /// All factors, and the table of [`Kernels::low_rank`]; none while no slot holds any.
    buffers: Option<(Tensor<1>, Tensor<2, Int>)>,
}

/// One slot's factors in the buffer.
#[derive(Clone, Debug)]
struct Held {
    start: usize,
    len: usize,
    ranks: usize,
    /// Of each part its ranks, and the length of its `B`.
    parts: [(Range<usize>, usize); PARTS],
}

impl LowRank {
    /// No adapters, for a product of `columns` inputs whose parts have `outputs`.
    pub fn new(columns: usize, outputs: [usize; PARTS], device: &Device) -> Self {
        LowRank {
            columns,
            outputs,
            device: device.clone(),
            held: BTreeMap::new(),
            slots: 0,
            buffers: None,
        }
    }

    /// Puts factors into a slot, in place of what was there. The buffer is made anew without the factors
    /// of slots that were emptied since: until then it keeps them.
    ///
    /// # Panics
    /// Where the shapes do not fit.
    pub fn put(&mut self, slot: u32, factors: Factors) {
        let ranks = factors.a.len() / self.columns;
        let fits = |(part, outputs): (&(Range<usize>, Vec<f32>), usize)| {
            part.0.end <= ranks && part.0.len() * outputs == part.1.len()
        };
        assert!(
            ranks * self.columns == factors.a.len()
                && factors.parts.iter().zip(self.outputs).all(fits),
            "low_rank: {ranks} ranks for {:?} of {} columns",
            self.outputs,
            self.columns
        );
        self.held.remove(&slot);
        self.slots = self.slots.max(slot + 1);
        let (mut pieces, mut start) = (Vec::new(), 0);
        if let Some((factors, _)) = self.buffers.take() {
            for held in self.held.values_mut() {
                pieces.push(factors.clone().narrow(0, held.start, held.len));
                held.start = start;
                start += held.len;
            }
        }
        let parts = factors.parts.each_ref();
        let parts = parts.map(|(ranks, b)| (ranks.clone(), b.len()));
        let mut values = factors.a;
        factors.parts.iter().for_each(|(_, b)| values.extend(b));
        let len = values.len();
        pieces.push(Tensor::from_data(
            TensorData::new(values, [len]),
            &self.device,
        ));
        let factors = Tensor::cat(pieces, 0);
        let held = Held {
            start,
            len,
            ranks,
            parts,
        };
        self.held.insert(slot, held);
        self.buffers = Some((factors, self.table()));
    }

    /// Empties a slot. Other slots, and rows of this one, stay valid: those add nothing.
    pub fn clear(&mut self, slot: u32) {
        self.held.remove(&slot);
        self.slots = self.slots.max(slot + 1);
        let factors = self.buffers.take().filter(|_| !self.held.is_empty());
        self.buffers = factors.map(|(factors, _)| (factors, self.table()));
    }

    /// Bytes on the device, those of emptied slots that are still kept included.
    pub fn bytes(&self) -> usize {
        let buffers = self.buffers.as_ref();
        buffers.map_or(0, |(factors, _)| factors.dims()[0] * size_of::<f32>())
    }

    /// Adds to the rows of `out` what their adapters say of the same rows of `x`: [`Kernels::low_rank`].
    /// `with` is what goes with the product itself. `rows` is `[n, 2]`: a row and its slot, rows ascending.
    ///
    /// # Panics
    /// Where the shapes do not fit.
    pub fn add(
        &self,
        out: Tensor<2>,
        x: &Tensor<2>,
        with: &With,
        rows: &Tensor<2, Int>,
    ) -> Tensor<2> {
        let Some((factors, table)) = &self.buffers else {
            return out;
        };
        let ranks = self.held.values().map(|held| held.ranks).max();
        let wide = match with.input {
            Input::Gated(_) => 2 * self.columns,
            _ => self.columns,
        };
        let (out_dims, x_dims) = (out.dims(), x.dims());
        assert!(
            x_dims == [out_dims[0], wide]
                && self.outputs.iter().sum::<usize>() <= out_dims[1]
                && rows.dims()[1] == 2,
            "low_rank: {x_dims:?} of {} columns into {out_dims:?}",
            self.columns
        );
        let spec = LowRankSpec {
            input: with.input,
            columns: self.columns,
            outputs: self.outputs,
            ranks: ranks.unwrap_or(1).max(1),
        };
        Tensor::from_dispatch(Dispatch::low_rank(
            out.into_dispatch(),
            &x.clone().into_dispatch(),
            &factors.clone().into_dispatch(),
            table.clone().into_dispatch(),
            rows.clone().into_dispatch(),
            &with.gains.clone().into_dispatch(),
            spec,
        ))
    }

    /// Says where everything is, for all slots.
    fn table(&self) -> Tensor<2, Int> {
        let slots = self.slots as usize;
        let mut table = vec![0i32; slots * ENTRY];
        for (slot, held) in &self.held {
            let entry = &mut table[*slot as usize * ENTRY..][..ENTRY];
            entry[0] = held.start as i32;
            entry[1] = held.ranks as i32;
            let mut b = held.start + held.ranks * self.columns;
            for (entry, (ranks, len)) in entry[2..].chunks_exact_mut(3).zip(&held.parts) {
                entry.copy_from_slice(&[ranks.start as i32, ranks.end as i32, b as i32]);
                b += len;
            }
        }
        let data = TensorData::new(table, [slots, ENTRY]);
        Tensor::from_data(data, (&self.device, DType::I32))
    }
}
