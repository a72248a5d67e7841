//! One sequence: its tokens, where it stands, and the events it sends.

use std::collections::BTreeSet;
use std::time::Duration;

use async_channel::Sender;
use tinderbox_protocol::{
    Error, Event, Finish, FinishReason, Logprob, Started, Token, TokenLogprob,
};

use tinderbox_model::Draw;

use crate::Submission;
use crate::adapters::{Lease, Words};
use crate::blocks::{Blocks, Content};
use crate::constraint::Walk;
use crate::draft::draft;
use crate::logprobs::LogSoftmax;
use crate::sampler::{Candidate, Sampler};
use crate::shared::Place;
use crate::text::TextStream;

/// What the engine needs of a tokenizer.
pub trait Vocabulary: Send + Sync {
    /// A token's bytes as text, those of special tokens too; empty where it has none.
    fn bytes(&self, id: u32) -> Vec<u8>;

    /// Whether a token is a mark rather than text.
    fn is_special(&self, id: u32) -> bool;

    /// Tokens that end an answer.
    fn end_tokens(&self) -> &[u32];
}

/// One sequence from admission to its last event.
pub(crate) struct Sequence {
    pub id: String,
    /// Prompt and answer so far.
    pub tokens: Vec<u32>,
    /// The first tokens whose keys and values are in the KV cache.
    pub cached: usize,
    /// KV blocks that hold them, and room for the pending ones.
    pub table: Vec<u32>,
    adapter: Option<u64>,
    /// Keeps its adapter in memory.
    pub lease: Option<Lease>,
    /// Where on the device that adapter is; `None` before it is there.
    pub slot: Option<u32>,
    prompt: usize,
    /// Prompt tokens no step was taken for so far.
    found: usize,
    max_tokens: usize,
    min_tokens: usize,
    ignore_eos: bool,
    /// Tokens to guess ahead: more after each right guess, as many as were right after a wrong one.
    reach: usize,
    ends: BTreeSet<u32>,
    include_stop: bool,
    show_special: bool,
    logprobs: Option<usize>,
    prompt_logprobs: Option<usize>,
    /// Prompt token whose score is the next to come.
    next_score: usize,
    sampler: Sampler,
    /// Through what the answer must look like.
    walk: Option<Walk>,
    seed: u64,
    text: TextStream,
    /// Kept until the prompt has been read.
    started: Option<Started>,
    /// The first step has begun.
    begun: bool,
    events: Sender<Result<Event, Error>>,
    place: Place,
}

/// A step's answer to one sequence.
#[derive(Clone, Copy)]
pub(crate) enum Answer<'a> {
    /// A row of logits for each output.
    Logits(&'a [f32]),
    /// The token of each output.
    Tokens(&'a [Option<u32>]),
}

/// What sequences use in turn.
pub(crate) struct Desk<'a> {
    pub vocabulary: &'a dyn Vocabulary,
    /// Number of token ids.
    pub vocab: usize,
    pub candidates: Vec<Candidate>,
}

impl Sequence {
    /// # Errors
    /// Whatever is wrong with the submission.
    pub fn new(
        mut submission: Submission,
        (context, vocab): (usize, usize),
        seed: u64,
        vocabulary: &dyn Vocabulary,
        place: Place,
        events: Sender<Result<Event, Error>>,
    ) -> Result<Sequence, Error> {
        let (max_tokens, truncated) = submission.settle(context, vocab)?;
        let Submission {
            id,
            tokens,
            adapter,
            sampling,
            stop,
            guide,
            logprobs,
            prompt_logprobs,
            ..
        } = submission;
        let mut ends: BTreeSet<u32> = stop.tokens.into_iter().collect();
        if !stop.ignore_eos {
            ends.extend(vocabulary.end_tokens());
        }
        let mut started = Started {
            prompt_tokens: tokens.len(),
            truncated,
            ..Started::default()
        };
        if prompt_logprobs.is_some() && !submission.added_bos {
            // Nothing comes before the first token, so nothing can say how likely it was.
            let (id, bytes) = (tokens[0], vocabulary.bytes(tokens[0]));
            started.prompt.push(TokenLogprob {
                id,
                bytes,
                logprob: None,
                top: Vec::new(),
            });
        }
        Ok(Sequence {
            id,
            cached: 0,
            table: Vec::new(),
            adapter,
            lease: None,
            slot: None,
            prompt: tokens.len(),
            found: tokens.len(),
            max_tokens,
            min_tokens: stop.min_tokens,
            ignore_eos: stop.ignore_eos,
            reach: 1,
            ends,
            include_stop: stop.include_in_text,
            show_special: stop.show_special_tokens,
            logprobs,
            prompt_logprobs,
            next_score: 1,
            sampler: Sampler::new(sampling, seed, &tokens),
            walk: guide.map(|guide| guide.start()),
            seed,
            text: TextStream::new(stop.strings, stop.include_in_text)?,
            started: Some(started),
            begun: false,
            events,
            tokens,
            place,
        })
    }

    /// A step on it begins; the first ends its time in the queue.
    pub fn begin(&mut self, now: Duration) {
        if let Some(started) = self.started.as_mut().filter(|_| !self.begun) {
            started.queued = now.saturating_sub(self.place.taken);
        }
        self.begun = true;
    }

    /// Tokens that must be computed before the next one can be chosen.
    pub fn pending(&self) -> usize {
        self.tokens.len() - self.cached
    }

    /// Tokens of the prompt.
    pub fn prompt(&self) -> usize {
        self.prompt
    }

    /// Tokens generated so far.
    pub fn generated(&self) -> usize {
        self.tokens.len() - self.prompt
    }

    /// The prompt has not been read yet.
    pub fn is_reading(&self) -> bool {
        self.started.is_some()
    }

    /// Nobody reads the events any more.
    pub fn is_cancelled(&self) -> bool {
        self.events.is_closed()
    }

    /// Prompt tokens that were found in the cache, once the prompt has been read.
    pub fn found(&self) -> usize {
        self.found
    }

    /// The adapter under whose number its blocks are known.
    fn adapter_number(&self) -> Option<u64> {
        self.adapter
    }

    /// The first `tokens` tokens.
    pub fn content(&self, tokens: usize) -> Content<'_> {
        Content {
            adapter: self.adapter_number(),
            tokens: &self.tokens[..tokens],
        }
    }

    /// Tokens that need not be computed where they are in the cache: all but the last, and none from
    /// the first on that still scores another.
    pub fn reusable(&self) -> usize {
        let scores = self.scored(self.pending());
        match scores.is_empty() {
            true => self.tokens.len() - 1,
            false => scores.start,
        }
    }

    /// Takes what others left in the cache.
    pub fn reuse(&mut self, blocks: &mut Blocks) {
        let content = Content {
            adapter: self.adapter_number(),
            tokens: &self.tokens[..self.reusable()],
        };
        self.cached = blocks.find(&mut self.table, content, self.cached);
    }

    /// Leaves to others what was computed beyond the first `before` tokens.
    pub fn keep(&mut self, before: usize, blocks: &mut Blocks) {
        let content = Content {
            adapter: self.adapter_number(),
            tokens: &self.tokens[..self.cached],
        };
        blocks.learn(&mut self.table, content, before);
    }

    /// Gives its blocks back, to be computed again from the tokens.
    pub fn forget(&mut self, blocks: &mut Blocks) {
        self.cached = 0;
        blocks.release(&mut self.table);
    }

    /// Of the next `rows` rows, those that score the prompt token after them.
    pub fn scored(&self, rows: usize) -> std::ops::Range<usize> {
        if self.prompt_logprobs.is_none() {
            return 0..0;
        }
        let first = self.next_score - 1;
        let end = (self.cached + rows).min(self.prompt - 1);
        first..end.max(first)
    }

    /// Whether the last of the next `rows` rows chooses a token.
    pub fn chooses(&self, rows: usize) -> bool {
        rows == self.pending() && self.max_tokens > 0
    }

    /// How a device chooses the token after the next `ahead` ones; `drawn` where it does more than take the best. `None` where
    /// choosing takes all logits.
    pub fn draw(&self, drawn: bool, ahead: usize) -> Option<Draw> {
        let alone = self.walk.is_none() && self.logprobs.is_none();
        self.sampler.draw(drawn, ahead).filter(|_| alone)
    }

    /// Whether the next token may be followed by another.
    pub fn goes_on(&self) -> bool {
        self.generated() + 1 < self.max_tokens
    }

    /// At most `most` guesses at the next tokens, one less than may still come: the last row chooses
    /// another. None where a constraint says what comes.
    pub fn draft(&self, most: usize) -> Vec<u32> {
        if self.walk.is_some() {
            return Vec::new();
        }
        let left = self.max_tokens.saturating_sub(self.generated() + 1);
        draft(&self.tokens, self.reach.min(most).min(left))
    }

    /// Ends with an error.
    pub fn fail(self, error: Error) {
        self.send(Err(error));
    }

    /// Takes in a step over the next `rows` rows and those of `draft`. Answers whether the sequence
    /// is finished. Each guess that is the sampler's own choice is a token as any other, and the row
    /// after it another choice; what follows a wrong one is dropped.
    ///
    /// # Errors
    /// Logits that are no distribution, a constraint that cannot be followed.
    pub fn advance(
        &mut self,
        rows: usize,
        draft: &[u32],
        answer: Answer,
        desk: &mut Desk,
    ) -> Result<bool, Error> {
        let scored = self.scored(rows).len();
        if let Answer::Logits(logits) = answer {
            for row in logits.chunks_exact(desk.vocab).take(scored) {
                self.score(row, desk)?;
            }
        }
        self.cached += rows;
        if self.started.is_some() {
            self.found = self.found.saturating_sub(rows);
        }
        if self.pending() > 0 {
            return Ok(false);
        }
        if let Some(mut started) = self.started.take() {
            started.cached_tokens = self.found;
            self.send(Ok(Event::Started(started)));
        }
        if self.max_tokens == 0 {
            return Ok(self.finish(FinishReason::Length));
        }
        for right in 0..=draft.len() {
            let (id, logprob) = self.choose(answer, scored + right, desk)?;
            if self.accept(id, logprob, desk.vocabulary)? {
                return Ok(true);
            }
            if draft.get(right) != Some(&id) {
                if !draft.is_empty() {
                    self.reach = match right == draft.len() {
                        true => self.reach.max(2 * right),
                        false => right.max(1),
                    };
                }
                break;
            }
            // Its row is computed.
            self.cached += 1;
        }
        Ok(false)
    }

    fn score(&mut self, row: &[f32], desk: &Desk) -> Result<(), Error> {
        let count = self.prompt_logprobs.unwrap_or(0);
        let words = Words::of(desk.vocabulary, self.lease.as_ref());
        let entry = entry(row, self.tokens[self.next_score], count, &words)?;
        self.next_score += 1;
        if let Some(started) = &mut self.started {
            started.prompt.push(entry);
        }
        Ok(())
    }

    /// The choice at an output of the step.
    fn choose(
        &mut self,
        answer: Answer,
        output: usize,
        desk: &mut Desk,
    ) -> Result<(u32, Option<TokenLogprob>), Error> {
        let row = match answer {
            Answer::Tokens(ids) => {
                let id = ids.get(output).copied().ok_or_else(no_answer)?;
                return Ok((id.ok_or_else(no_distribution)?, None));
            }
            Answer::Logits(logits) => logits.chunks_exact(desk.vocab).nth(output),
        };
        let row = row.ok_or_else(no_answer)?;
        let may_end = self.generated() >= self.min_tokens && !self.ignore_eos;
        let mask = self.walk.as_mut().map(|walk| walk.mask(may_end));
        let id = self
            .sampler
            .choose(row, mask.transpose()?, &mut desk.candidates)
            .ok_or_else(no_distribution)?;
        let words = Words::of(desk.vocabulary, self.lease.as_ref());
        let logprob = self.logprobs.map(|count| entry(row, id, count, &words));
        Ok((id, logprob.transpose()?))
    }

    /// Adds a generated token. Answers whether it was the last.
    fn accept(
        &mut self,
        id: u32,
        logprob: Option<TokenLogprob>,
        vocabulary: &dyn Vocabulary,
    ) -> Result<bool, Error> {
        self.tokens.push(id);
        self.sampler.record(id);
        let generated = self.generated();
        let may_stop = generated > self.min_tokens;
        let ends = may_stop && self.ends.contains(&id);
        let words = Words::of(vocabulary, self.lease.as_ref());
        let special = words.is_special(id);
        let shown = match special {
            true => self.show_special,
            false => !ends || self.include_stop,
        };
        let bytes = if shown { words.bytes(id) } else { Vec::new() };
        let piece = self.text.push(&bytes, may_stop);
        self.send(Ok(Event::Token(Token {
            id,
            special,
            text: piece.text,
            logprob,
        })));
        let reason = if ends {
            FinishReason::EndToken(id)
        } else if let Some(stop) = piece.stop {
            FinishReason::StopString(stop)
        } else if let Some(walk) = &mut self.walk
            && walk.take(id)?
        {
            FinishReason::Complete
        } else if generated == self.max_tokens {
            FinishReason::Length
        } else {
            return Ok(false);
        };
        Ok(self.finish(reason))
    }

    /// Ends with the tokens there are, as if no more were asked for.
    ///
    /// # Errors
    /// [`Error::Unavailable`] where there is none.
    pub fn cut(&mut self) -> Result<(), Error> {
        if self.generated() == 0 {
            return Err(Error::Unavailable {
                reason: "the time for computing ended before the first token".into(),
                retry_after: Duration::from_secs(1),
            });
        }
        self.finish(FinishReason::Length);
        Ok(())
    }

    fn finish(&mut self, reason: FinishReason) -> bool {
        let text = self.text.finish();
        let completion_tokens = self.generated();
        let finish = Finish {
            reason,
            text,
            completion_tokens,
            seed: self.seed,
        };
        self.send(Ok(Event::Finished(finish)));
        true
    }

    fn send(&self, event: Result<Event, Error>) {
        // A closed channel is a cancelled sequence; the scheduler drops it before the next step.
        let _ = self.events.try_send(event);
    }
}

fn entry(
    row: &[f32],
    id: u32,
    count: usize,
    words: &dyn Vocabulary,
) -> Result<TokenLogprob, Error> {
    let row = LogSoftmax::new(row).ok_or_else(no_distribution)?;
    let top = (row.top(count).into_iter())
        .map(|(id, logprob)| Logprob {
            id,
            bytes: words.bytes(id),
            logprob,
        })
        .collect();
    Ok(TokenLogprob {
        id,
        bytes: words.bytes(id),
        logprob: Some(row.of(id)),
        top,
    })
}

fn no_answer() -> Error {
    Error::Internal("the model answered no token".into())
}

fn no_distribution() -> Error {
    Error::Internal("the model's logits are no numbers".into())
}
