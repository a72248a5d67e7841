//! What a GPU does before the first request.

use std::ops::Range;

use tinderbox_kernels::{Draw, read_now, shared_from, together};

use crate::decoder::Answer;
use crate::rows::{FEW, Numbers, Rows, TILE};
use crate::{Decoder, Error, Step, Want};

impl Decoder {
    /// Runs a step of each shape there is, so that a GPU compiles its kernels now and no request waits for them; those of
    /// adapters come with the first one. What it writes to the cache is of no sequence.
    ///
    /// # Errors
    /// A failed device.
    pub async fn warm_up(&mut self) -> Result<(), Error> {
        let most = self.context.min(self.blocks * self.block_size);
        let single = self.rows_of_one(0..1, 1);
        // The last row alone, as of a prompt.
        let last = self.rows_of_one(0..most.min(2), 1);
        // A token of an answer after a long one, where that takes other kernels.
        let long = shared_from(&self.device).map(|from| {
            let end = most.min(2 * from);
            self.rows_of_one(end - 1..end, 1)
        });
        let drawn = self.draws().then(|| Step {
            draws: vec![Draw {
                temperature: 1.0,
                top_k: 0,
                top_p: 1.0,
                min_p: 0.0,
                unit: 0.5,
            }],
            ..single.clone()
        });
        let prompts = [2, 4, FEW, TILE].map(|rows| self.rows_of_one(0..rows.min(most), rows));
        // In full, since it is recorded.
        self.forward(&single, Want::Tokens).await?;
        // The others are there for their kernels, and a GPU in software takes seconds for all layers.
        let (layers, device) = (self.unlike_layers(), self.device.clone());
        for step in prompts.into_iter().chain([last]).chain(long).chain(drawn) {
            let rows = Rows::new(Numbers::new(&step, self), &device);
            let compute = || self.compute_through(layers.iter().copied(), &rows, Want::Tokens);
            if let Some(Answer::Tokens(tokens)) = together(&device, compute) {
                read_now(&tokens).await.map_err(Error::Device)?;
            }
        }
        Ok(())
    }

    /// Rows of one sequence, of which so many answer.
    fn rows_of_one(&self, positions: Range<usize>, outputs: usize) -> Step {
        let rows = positions.len() as u32;
        Step {
            tokens: vec![0; rows as usize],
            tables: vec![(0..positions.end.div_ceil(self.block_size) as u32).collect()],
            positions: positions.map(|position| position as u32).collect(),
            sequences: vec![0; rows as usize],
            // In another order than theirs: rows of several prompts are selected.
            outputs: (0..rows).rev().take(outputs).collect(),
            ..Step::default()
        }
    }

    /// The layers whose kernels no earlier one takes.
    fn unlike_layers(&self) -> Vec<usize> {
        let mut kinds = Vec::new();
        let mut unlike = Vec::new();
        for (index, layer) in self.layers.iter().enumerate() {
            let matrices = layer.products().into_iter().flat_map(|it| &it.parts);
            let layouts: Vec<_> = matrices.map(|(matrix, ..)| matrix.layout()).collect();
            let kind = (layouts, self.config.layers[index]);
            if !kinds.contains(&kind) {
                kinds.push(kind);
                unlike.push(index);
            }
        }
        unlike
    }
}
