//! Steps of answers that a GPU has recorded: handing over each of a token's two or three hundred operations takes a host
//! longer than a fast GPU computes them.

use std::collections::HashMap;

use tinderbox_kernels::{Recorder, Recording, profile, together};

use crate::decoder::Answer;
use crate::rows::{Numbers, Rows};
use crate::{Decoder, Error, Want};

/// The steps of a decoder that are recorded. They read its weights and its cache.
pub(crate) type Replays = HashMap<Shape, Replay>;

/// What steps have in common that are one recording.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Shape {
    rows: usize,
    blocks: usize,
    longest: usize,
    want: Want,
    draws: bool,
}

impl Shape {
    /// Of a step that is recorded: prompts keep a device busy for longer than it takes to hand them over, and profiles are
    /// of operations.
    pub fn of(numbers: &Numbers, want: Want) -> Option<Shape> {
        let shape = Shape {
            rows: numbers.tokens.len(),
            blocks: numbers.blocks,
            longest: numbers.longest,
            want,
            draws: !numbers.draws.is_empty(),
        };
        (numbers.only_answers() && !profile::is_on()).then_some(shape)
    }
}

pub(crate) struct Replay {
    recording: Recording,
    /// What it reads.
    rows: Rows,
    /// What it writes.
    answer: Answer,
}

/// A step that is done for the first time, to be recorded when its answer has been read.
pub(crate) struct First {
    recorder: Recorder,
    shape: Shape,
    rows: Rows,
}

impl Decoder {
    /// Shapes of steps that the device has recorded.
    pub fn recordings(&self) -> usize {
        self.replays.len()
    }

    /// Does a step of a shape that is recorded with other numbers. `chosen`: its tokens are those that the one before leaves in their place.
    pub(crate) fn replay(
        &mut self,
        shape: Shape,
        numbers: Numbers,
        chosen: bool,
    ) -> Result<Answer, Error> {
        let replay = self.replays.get_mut(&shape).expect("it is recorded");
        replay.rows.overwrite(numbers, chosen);
        // SAFETY: what it was given are the decoder's weights and cache, which live as long as it does, and
        // `replay.rows`; a step has the decoder for itself.
        unsafe { replay.recording.run() }.map_err(Error::Device)?;
        Ok(replay.answer.clone())
    }

    /// Hands each operation of a step to the device. What it answers with, where it has output rows.
    pub(crate) fn compute_first(
        &mut self,
        numbers: Numbers,
        want: Want,
        shape: Option<Shape>,
    ) -> (Option<Answer>, Option<First>) {
        let device = self.device.clone();
        let recorder = shape.and_then(|_| Recorder::prepare(&device));
        let rows = Rows::new(numbers, &device);
        let answer = together(&device, || self.compute(&rows, want));
        let first = recorder.zip(shape).map(|(recorder, shape)| First {
            recorder,
            shape,
            rows,
        });
        (answer, first)
    }

    /// Records a step of which nothing is there any more but what it was given.
    pub(crate) fn record(&mut self, first: First) -> Result<(), Error> {
        let First {
            recorder,
            shape,
            rows,
        } = first;
        let recorded = recorder.record(|| self.compute(&rows, shape.want));
        let (recording, answer) = recorded.map_err(Error::Device)?;
        if let Some(answer) = answer {
            let replay = Replay {
                recording,
                rows,
                answer,
            };
            self.replays.insert(shape, replay);
        }
        Ok(())
    }
}
