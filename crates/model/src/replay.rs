//! Steps of answers that a GPU has recorded: handing over each of a token's two or three hundred operations takes a host
//! longer than a fast GPU computes them.

use std::collections::HashMap;

use tinderbox_kernels::{Recording, on_cpu, overwrite, profile};

use crate::decoder::Answer;
use crate::rows::{Numbers, Rows};
use crate::{Decoder, Error, Want};

/// The steps of a decoder that are recorded. They read its weights and its cache.
#[derive(Default)]
pub(crate) struct Replays {
    steps: HashMap<Shape, Replay>,
    /// The device records nothing.
    refused: bool,
}

/// What steps have in common that are one recording.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
struct Shape {
    rows: usize,
    longest: usize,
    want: Want,
}

struct Replay {
    recording: Recording,
    /// What it reads, and what is in there.
    rows: Rows,
    numbers: Numbers,
    /// What it writes.
    answer: Answer,
}

impl Decoder {
    /// Shapes of steps that the device has recorded.
    pub fn recordings(&self) -> usize {
        self.replays.steps.len()
    }

    /// Does a step as it was recorded, or records it. Nothing where a step is not of the kind that comes again and again,
    /// or the device cannot.
    pub(crate) fn replay(
        &mut self,
        numbers: &Numbers,
        want: Want,
    ) -> Result<Option<Answer>, Error> {
        let usual = numbers.only_answers() && !on_cpu(&self.device) && !profile::is_on();
        if !usual || self.replays.refused {
            return Ok(None);
        }
        let shape = Shape {
            rows: numbers.tokens.len(),
            longest: numbers.longest,
            want,
        };
        let mut replay = match self.replays.steps.remove(&shape) {
            Some(replay) => replay,
            None => match self.record(numbers, want) {
                Some(replay) => replay,
                None => {
                    self.replays.refused = true;
                    return Ok(None);
                }
            },
        };
        replay.overwrite(numbers);
        // SAFETY: what it was given are the decoder's weights and cache, which live as long as it does, and `replay.rows`;
        // a step has the decoder for itself.
        unsafe { replay.recording.run() }.map_err(Error::Device)?;
        let answer = replay.answer.clone();
        self.replays.steps.insert(shape, replay);
        Ok(Some(answer))
    }

    fn record(&mut self, numbers: &Numbers, want: Want) -> Option<Replay> {
        let device = self.device.clone();
        let rows = Rows::new(numbers, &device);
        let recorded = Recording::of(&device, || self.compute(&rows, want));
        let (recording, answer) = recorded
            .inspect_err(|reason| tracing::warn!(reason, "the device records no steps"))
            .ok()??;
        Some(Replay {
            recording,
            answer: answer?,
            rows,
            numbers: numbers.clone(),
        })
    }
}

impl Replay {
    /// Sends what is not there yet: a sequence's blocks change seldom.
    fn overwrite(&mut self, numbers: &Numbers) {
        let Replay {
            rows,
            numbers: there,
            ..
        } = self;
        if there.tokens != numbers.tokens {
            overwrite(&rows.tokens, &numbers.tokens);
        }
        if there.places != numbers.places {
            overwrite(&rows.places, &numbers.places);
        }
        if there.tables != numbers.tables {
            overwrite(&rows.tables, &numbers.tables);
        }
        if let Some(positions) = rows
            .positions
            .as_ref()
            .filter(|_| there.positions != numbers.positions)
        {
            overwrite(positions, &numbers.positions);
        }
        *there = numbers.clone();
    }
}
