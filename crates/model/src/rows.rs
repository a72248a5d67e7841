//! A step's numbers, and where they lie on a device.

use std::collections::BTreeSet;

use burn::tensor::{DType, Device, Int, Tensor, TensorData};
use tinderbox_kernels::{Draw, on_cpu, overwrite, shared_from};

use crate::layer::Adapted;
use crate::{Decoder, Step};

/// Rows a GPU gets: 1, 2, 4 or 8, and beyond them whole quarters of a product's tile. Whole tiles would cost a GPU in
/// software, which computes row by row, four times as much.
pub(crate) const FEW: usize = 8;
pub(crate) const TILE: usize = 16;

/// A step as a device gets it. So that steps have few shapes, and what is kept for each does not grow with a chat, a GPU
/// gets whole tiles of rows: its products take as long for a part of one.
pub(crate) struct Numbers {
    /// `[rows]`.
    pub tokens: Vec<i32>,
    /// `[rows]`; empty where positions are not learned.
    pub positions: Vec<i32>,
    /// `[rows, 3]`: position, slot and sequence.
    pub places: Vec<i32>,
    /// `[sequences, blocks]`: block ids, padded with zeros to what a sequence can have.
    pub tables: Vec<i32>,
    /// Output rows.
    pub outputs: Vec<i32>,
    /// `[n, 2]`: rows that have an adapter, and its slot.
    pub adapted: Vec<i32>,
    /// `[outputs, 5]`, or empty where each takes the best token.
    pub draws: Vec<i32>,
    /// Blocks a sequence can have.
    pub blocks: usize,
    /// No two rows are of one sequence, those that fill a tile aside.
    pub alone: bool,
    /// Tokens of the longest row's sequence so far, or somewhat more; 0 where the device does not care.
    pub longest: usize,
}

impl Numbers {
    /// Of a step that the decoder has checked.
    pub fn new(step: &Step, decoder: &Decoder) -> Numbers {
        let block = decoder.block_size;
        let blocks = decoder.context.div_ceil(block);
        let count = step.tokens.len();
        let whole = match count {
            _ if on_cpu(&decoder.device) => count,
            0..=FEW => count.next_power_of_two(),
            _ => count.next_multiple_of(TILE),
        };
        let alone = step.sequences.iter().collect::<BTreeSet<_>>().len() == count;
        let longest = step.positions.iter().max().map_or(0, |last| last + 1) as usize;
        // The last row fills the tile, again and again, and writes what it wrote.
        let rows = || (0..whole).map(|row| row.min(count - 1));

        let places = rows().flat_map(|row| {
            let (position, sequence) = (step.positions[row] as usize, step.sequences[row]);
            let table = &step.tables[sequence as usize];
            let slot = table[position / block] as usize * block + position % block;
            [position as i32, slot as i32, sequence as i32]
        });
        let longest_table = step.tables.iter().map(Vec::len).fold(blocks, usize::max);
        // As many as rows, where each has one.
        let sequences = if alone { whole } else { step.tables.len() };
        let mut tables = vec![0; sequences * longest_table];
        for (padded, table) in tables.chunks_mut(longest_table.max(1)).zip(&step.tables) {
            for (to, from) in padded.iter_mut().zip(table) {
                *to = *from as i32;
            }
        }
        let all = alone && step.outputs.iter().copied().eq(0..count as u32);
        let adapted = rows().enumerate().filter_map(|(at, row)| {
            let slot = step.adapters.get(step.sequences[row] as usize);
            Some([at as i32, (*slot?)? as i32])
        });
        let outputs: Vec<i32> = match all {
            true => (0..whole as i32).collect(),
            false => step.outputs.iter().map(|row| *row as i32).collect(),
        };
        // Rows that fill a tile up draw as the last one does.
        let draws = (0..outputs.len()).filter_map(|at| step.draws.get(at).or(step.draws.last()));
        Numbers {
            tokens: rows().map(|row| step.tokens[row] as i32).collect(),
            positions: match decoder.positions {
                Some(_) => rows().map(|row| step.positions[row] as i32).collect(),
                None => Vec::new(),
            },
            places: places.collect(),
            tables,
            draws: draws.flat_map(Draw::words).collect(),
            outputs,
            adapted: adapted.flatten().collect(),
            blocks: longest_table,
            alone,
            longest: shared_from(&decoder.device)
                .map_or(0, |from| longest.next_power_of_two().max(from)),
        }
    }

    /// Whether each row answers, and nothing else is in the step.
    pub fn only_answers(&self) -> bool {
        self.alone && self.outputs.len() == self.tokens.len() && self.adapted.is_empty()
    }
}

/// A step's numbers on a device.
pub(crate) struct Rows {
    pub tokens: Tensor<1, Int>,
    pub positions: Option<Tensor<1, Int>>,
    pub places: Tensor<2, Int>,
    pub tables: Tensor<2, Int>,
    pub outputs: Outputs,
    pub adapted: Adapted,
    pub draws: Option<Tensor<2, Int>>,
    /// What is in all these, though a step that chooses tokens leaves them in place of its own.
    pub numbers: Numbers,
}

/// Rows that answer.
pub(crate) enum Outputs {
    All,
    Some(Box<Tensor<1, Int>>),
    None,
}

impl Rows {
    pub fn new(numbers: Numbers, device: &Device) -> Rows {
        let line = |values: &[i32]| -> Tensor<1, Int> {
            let data = TensorData::new(values.to_vec(), [values.len()]);
            Tensor::from_data(data, (device, DType::I32))
        };
        let grid = |values: &[i32], width: usize| -> Tensor<2, Int> {
            let data = TensorData::new(values.to_vec(), [values.len() / width, width]);
            Tensor::from_data(data, (device, DType::I32))
        };
        let some = |values: &[i32]| !values.is_empty();
        Rows {
            tokens: line(&numbers.tokens),
            positions: some(&numbers.positions).then(|| line(&numbers.positions)),
            places: grid(&numbers.places, 3),
            tables: grid(&numbers.tables, numbers.blocks),
            outputs: match &numbers.outputs[..] {
                [] => Outputs::None,
                rows if rows.iter().copied().eq(0..numbers.tokens.len() as i32) => Outputs::All,
                rows => Outputs::Some(Box::new(line(rows))),
            },
            adapted: some(&numbers.adapted).then(|| grid(&numbers.adapted, 2)),
            draws: some(&numbers.draws).then(|| grid(&numbers.draws, 5)),
            numbers,
        }
    }

    /// Sends those of a step of the same shape that are not there yet: a sequence's blocks change seldom. `chosen`: the step's
    /// tokens are those that the one before leaves there.
    pub fn overwrite(&mut self, numbers: Numbers, chosen: bool) {
        let there = std::mem::replace(&mut self.numbers, numbers);
        let Numbers {
            tokens,
            positions,
            places,
            tables,
            draws,
            ..
        } = &self.numbers;
        if !chosen {
            overwrite(&self.tokens, tokens);
        }
        if there.places != *places {
            overwrite(&self.places, places);
        }
        if there.tables != *tables {
            overwrite(&self.tables, tables);
        }
        if let Some(tensor) = &self.positions {
            overwrite(tensor, positions);
        }
        if let Some(tensor) = &self.draws {
            overwrite(tensor, draws);
        }
    }
}
