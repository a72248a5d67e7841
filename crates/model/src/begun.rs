//! A step on its way: handed to the device, and later asked for its answer. On a GPU the next step can be handed over in
//! between, so that the device has work while a host reads.

use burn::tensor::Tensor;
use tinderbox_kernels::profile::{Entered, Track, enter};
use tinderbox_kernels::{Reading, flush, read_now};

use crate::decoder::Answer;
use crate::replay::{First, Shape};
use crate::rows::Numbers;
use crate::{Decoder, Error, Output, Step, Want};

/// A step that the device was given.
pub(crate) struct Begun {
    pending: Pending,
    want: Want,
    /// Rows that fill a tile up answer, too, after these.
    outputs: usize,
    /// The recording that did it.
    replayed: Option<Shape>,
    /// To be recorded when the answer has been read.
    first: Option<First>,
    _span: Entered,
}

enum Pending {
    Nothing,
    Logits(Box<Tensor<2>>),
    Tokens(Reading),
}

impl Decoder {
    /// Runs one step: writes the rows' keys and values, and answers for its output rows.
    ///
    /// # Errors
    /// As [`Decoder::begin`] and [`Decoder::answer`].
    pub async fn forward(&mut self, step: &Step, want: Want) -> Result<Output, Error> {
        self.begin(step, want)?;
        self.answer().await
    }

    /// Hands one step to the device. Earlier ones whose answers nobody asked for are forgotten.
    ///
    /// # Errors
    /// A step whose parts do not fit together (nothing is written then), or a failed device.
    pub fn begin(&mut self, step: &Step, want: Want) -> Result<(), Error> {
        self.check(step)?;
        self.begun.clear();
        let numbers = Numbers::new(step, self);
        let count = numbers.tokens.len();
        let span = enter(Track::Host, || format!("step of {count}"));
        let _queue = enter(Track::Host, || "layers".into());
        let shape = Shape::of(&numbers, want);
        let (answer, replayed, first) = match shape.filter(|shape| self.replays.contains_key(shape))
        {
            Some(shape) => (Some(self.replay(shape, numbers, false)?), Some(shape), None),
            None => {
                let (answer, first) = self.compute_first(numbers, want, shape);
                (answer, None, first)
            }
        };
        self.begun.push_back(Begun {
            pending: Pending::of(answer),
            want,
            outputs: step.outputs.len(),
            replayed,
            first,
            _span: span,
        });
        Ok(())
    }

    /// Hands over the step after the one that was begun last, before that one's answer is known: its tokens are what
    /// that one will answer, row by row, and `step.tokens` is not looked at. `false` where the device does not do that: it
    /// takes a recording, and both steps of one shape.
    ///
    /// # Errors
    /// As [`Decoder::begin`].
    pub fn follow(&mut self, step: &Step) -> Result<bool, Error> {
        self.check(step)?;
        let numbers = Numbers::new(step, self);
        let last = self.begun.back().and_then(|begun| begun.replayed);
        let shape = Shape::of(&numbers, Want::Tokens).filter(|shape| last == Some(*shape));
        let Some(shape) = shape else {
            return Ok(false);
        };
        let span = enter(Track::Host, || "following step".into());
        let answer = self.replay(shape, numbers, true)?;
        self.begun.push_back(Begun {
            pending: Pending::of(Some(answer)),
            want: Want::Tokens,
            outputs: step.outputs.len(),
            replayed: Some(shape),
            first: None,
            _span: span,
        });
        Ok(true)
    }

    /// The answer of the step that was begun first of those that have not answered.
    ///
    /// # Errors
    /// A failed device, or no step.
    pub async fn answer(&mut self) -> Result<Output, Error> {
        let begun = self.begun.pop_front();
        let begun = begun.ok_or_else(|| Error::Step("no step was begun".into()))?;
        let reading = enter(Track::Host, || "answer".into());
        let output = match begun.pending {
            Pending::Nothing => {
                // Nothing is read back: what waits for the device would keep the memory of every chunk of a prompt.
                flush(&self.device).map_err(Error::Device)?;
                match begun.want {
                    Want::Logits => Output::Logits(Vec::new()),
                    Want::Tokens => Output::Tokens(Vec::new()),
                }
            }
            Pending::Logits(logits) => {
                let data = logits.into_data_async().await.map_err(Error::device)?;
                let mut logits = data.try_into_vec::<f32>().map_err(Error::device)?;
                logits.truncate(begun.outputs * self.config.vocab);
                Output::Logits(logits)
            }
            Pending::Tokens(reading) => {
                let tokens = reading.await.map_err(Error::Device)?;
                let tokens = tokens.into_iter().take(begun.outputs);
                Output::Tokens(tokens.map(|token| u32::try_from(token).ok()).collect())
            }
        };
        drop(reading);
        if let Some(first) = begun.first {
            self.record(first)?;
        }
        Ok(output)
    }
}

impl Pending {
    /// Tokens are on their way from now on, before another step can write over them.
    fn of(answer: Option<Answer>) -> Pending {
        match answer {
            None => Pending::Nothing,
            Some(Answer::Logits(logits)) => Pending::Logits(Box::new(logits)),
            Some(Answer::Tokens(tokens)) => Pending::Tokens(read_now(&tokens)),
        }
    }
}
