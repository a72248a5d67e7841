//! Which rows the next step computes.
//!
//! Every running sequence with one pending token (an answer being written) gets its row in every
//! step; prompts share what is left of the step, oldest first, so that reading a long prompt does
//! not stop the answers. Where an answer needs a block and none is free, the youngest sequence
//! gives its blocks back and waits to be computed again from its tokens. The oldest one therefore
//! always advances, and since the context is no larger than all blocks together, it always fits.
//!
//! What is in the cache is not computed. Of several prompts that go on with the same block, the
//! oldest computes it and the others wait for the next step, which finds it.
//!
//! Rows that would serve more sequences than there are check guesses at the answers' next tokens.

use std::collections::{HashSet, VecDeque};
use std::ops::Range;

use tinderbox_model::{Draw, Step, Want};
use tinderbox_protocol::Error;

use crate::Limits;
use crate::blocks::Blocks;
use crate::sequence::{Answer, Desk, Sequence};

/// All sequences, and the KV blocks they hold.
pub(crate) struct Scheduler {
    pub blocks: Blocks,
    /// Oldest first; all of `running` is older than all of `waiting`.
    pub running: Vec<Sequence>,
    pub waiting: VecDeque<Sequence>,
    /// The step that is with the runner before its tokens are known.
    pub following: Option<Plan>,
    /// Times a sequence gave its blocks back.
    pub preempted: u64,
    max_sequences: usize,
    /// Most rows of prompts in a step.
    prefill_rows: usize,
    /// Most rows of a step.
    max_rows: usize,
    /// Most rows of a step that score prompt tokens, and so bring back logits.
    score_rows: usize,
    /// Most guesses for one sequence in a step.
    speculate: usize,
}

/// The next step, and whose its rows are.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    pub step: Step,
    pub want: Want,
    pub parts: Vec<Part>,
}

/// The rows of one sequence.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Part {
    /// Index among the running sequences; they stay in place until the step is taken in.
    pub sequence: usize,
    /// Its next rows in the step.
    pub rows: usize,
    /// Guesses at what comes after them, a row each.
    pub draft: Vec<u32>,
    /// Its outputs in the step.
    pub outputs: Range<usize>,
}

impl Scheduler {
    /// A scheduler over `blocks` for a model with `vocab` tokens and steps of `max_rows` rows.
    pub fn new(limits: &Limits, blocks: Blocks, max_rows: usize, vocab: usize) -> Scheduler {
        let row_bytes = vocab.max(1) * size_of::<f32>();
        let max_rows = max_rows.max(1);
        Scheduler {
            blocks,
            running: Vec::new(),
            waiting: VecDeque::new(),
            following: None,
            preempted: 0,
            // An answer's row is never put off, so there are no more answers than rows.
            max_sequences: limits.max_sequences.clamp(1, max_rows),
            prefill_rows: limits.prefill_rows.max(1),
            max_rows,
            score_rows: (limits.logit_bytes / row_bytes).max(1),
            speculate: limits.speculate,
        }
    }

    /// Most sequences that run at once.
    pub fn max_sequences(&self) -> usize {
        self.max_sequences
    }

    /// Nothing runs and nothing waits.
    pub fn is_idle(&self) -> bool {
        self.running.is_empty() && self.waiting.is_empty()
    }

    /// Drops the sequences nobody listens to.
    pub fn drop_cancelled(&mut self) {
        self.waiting.retain(|sequence| !sequence.is_cancelled());
        for index in (0..self.running.len()).rev() {
            if self.running[index].is_cancelled() {
                let sequence = self.remove(index);
                tracing::debug!(id = sequence.id, "cancelled");
            }
        }
    }

    /// Takes a running sequence out and its blocks back. A step that is on its way may still write to these: whoever
    /// gets them writes later.
    pub fn remove(&mut self, index: usize) -> Sequence {
        if let Some(plan) = &mut self.following {
            plan.leave(index);
        }
        let mut sequence = self.running.remove(index);
        sequence.forget(&mut self.blocks);
        sequence
    }

    /// Takes in the answer to a part of the step, and what its rows left in the cache. Answers
    /// whether the sequence is finished.
    ///
    /// # Errors
    /// As [`Sequence::advance`].
    pub fn advance(&mut self, part: &Part, answer: Answer, desk: &mut Desk) -> Result<bool, Error> {
        let sequence = &mut self.running[part.sequence];
        let before = sequence.cached;
        let finished = sequence.advance(part.rows, &part.draft, answer, desk)?;
        sequence.keep(before, &mut self.blocks);
        Ok(finished)
    }

    /// Ends every sequence with an error.
    pub fn fail_all(&mut self, error: &Error) {
        while !self.running.is_empty() {
            self.remove(self.running.len() - 1).fail(error.clone());
        }
        self.waiting
            .drain(..)
            .for_each(|sequence| sequence.fail(error.clone()));
    }

    /// The next step; `None` only when idle. `drawn` where the runner draws tokens.
    pub fn plan(&mut self, drawn: bool) -> Option<Plan> {
        self.make_room();
        self.admit();
        for sequence in &mut self.running {
            sequence.reuse(&mut self.blocks);
        }
        if self.running.is_empty() {
            return None;
        }
        let mut plan = Plan {
            step: Step::default(),
            want: Want::Tokens,
            parts: Vec::new(),
        };
        let answers = self.running.iter().filter(|s| s.pending() == 1).count();
        let mut guesses_left = self.max_rows.saturating_sub(self.prefill_rows + answers);
        for (index, sequence) in self.running.iter().enumerate() {
            if sequence.pending() == 1 {
                // No block is taken for a guess: somebody may need it.
                let room = self.blocks.room(&sequence.table) - sequence.tokens.len();
                let draft = sequence.draft(self.speculate.min(guesses_left).min(room));
                guesses_left -= draft.len();
                plan.add(index, sequence, 1, draft, drawn);
            }
        }
        let mut rows_left = self
            .prefill_rows
            .min(self.max_rows - plan.step.tokens.len());
        let mut scores_left = self.score_rows;
        // Blocks this step fills.
        let mut coming = HashSet::new();
        for (index, sequence) in self.running.iter().enumerate() {
            let mut rows = sequence.pending().min(rows_left);
            if sequence.pending() == 1 || rows == 0 {
                continue;
            }
            let next = |content| self.blocks.next(&sequence.table, content, sequence.cached);
            if next(sequence.content(sequence.reusable())).is_some_and(|key| coming.contains(&key))
            {
                continue;
            }
            let scored = sequence.scored(rows);
            if scored.len() > scores_left {
                rows = scored.start + scores_left - sequence.cached;
            }
            if rows > 0 {
                scores_left -= sequence.scored(rows).len();
                rows_left -= rows;
                coming.extend(next(sequence.content(sequence.cached + rows)));
                plan.add(index, sequence, rows, Vec::new(), drawn);
            }
        }
        if plan.step.adapters.iter().all(Option::is_none) {
            plan.step.adapters.clear();
        }
        plan.settle();
        Some(plan)
    }

    /// The step after `plan`, before the tokens of that one are known. `None` where more than these decides what comes.
    pub fn follow(&mut self, plan: &Plan, drawn: bool) -> Option<Plan> {
        let rows = plan.step.tokens.len();
        let answers = [
            plan.parts.len(),
            plan.step.outputs.len(),
            self.running.len(),
        ];
        // Whoever waits and has room comes into the next step.
        let full = self.waiting.is_empty() || self.running.len() == self.max_sequences;
        if answers != [rows; 3] || !full || plan.want == Want::Logits || self.speculate > 0 {
            return None;
        }
        let mut next = plan.clone();
        let step = &mut next.step;
        step.draws.clear();
        for (part, table) in next.parts.iter().zip(&mut step.tables) {
            let sequence = &mut self.running[part.sequence];
            step.draws.push(sequence.draw(drawn, 1)?);
            let room = sequence.tokens.len() + 1;
            if !sequence.goes_on() || !self.blocks.grow(&mut sequence.table, room) {
                return None;
            }
            table.clone_from(&sequence.table);
        }
        step.positions
            .iter_mut()
            .for_each(|position| *position += 1);
        next.settle();
        Some(next)
    }

    /// Gives every running sequence blocks for its pending tokens, the oldest first.
    fn make_room(&mut self) {
        let mut index = 0;
        while index < self.running.len() {
            let sequence = &mut self.running[index];
            if self.blocks.grow(&mut sequence.table, sequence.tokens.len()) {
                index += 1;
            } else {
                tracing::debug!("the youngest sequence gives its blocks back");
                self.preempted += 1;
                self.put_back();
            }
        }
    }

    /// Puts every sequence back to be computed again from its tokens: the KV cache is gone.
    pub fn forget_all(&mut self) {
        self.following = None;
        while !self.running.is_empty() {
            self.put_back();
        }
        self.blocks.forget();
    }

    /// Puts the youngest running sequence back in front of those that wait.
    fn put_back(&mut self) {
        if let Some(mut youngest) = self.running.pop() {
            youngest.forget(&mut self.blocks);
            self.waiting.push_front(youngest);
        }
    }

    /// Lets waiting sequences in, in their order, while there are places and blocks.
    fn admit(&mut self) {
        while self.running.len() < self.max_sequences
            && let Some(next) = self.waiting.front_mut()
        {
            next.reuse(&mut self.blocks);
            let needed = self.blocks.missing(&next.table, next.tokens.len());
            // Each running sequence may soon need a block; without these to spare the newcomer
            // would give its own back after a step or two.
            let spare = self.running.len();
            if needed + spare > self.blocks.free()
                || !self.blocks.grow(&mut next.table, next.tokens.len())
            {
                next.forget(&mut self.blocks);
                break;
            }
            self.running.extend(self.waiting.pop_front());
        }
    }
}

impl Plan {
    fn add(
        &mut self,
        index: usize,
        sequence: &Sequence,
        rows: usize,
        draft: Vec<u32>,
        drawn: bool,
    ) {
        let step = &mut self.step;
        let place = step.tables.len() as u32;
        let (row, output) = (step.tokens.len(), step.outputs.len());
        let range = sequence.cached..sequence.cached + rows;
        let all = range.start..range.end + draft.len();

        step.tables.push(sequence.table.clone());
        step.adapters.push(sequence.slot);
        step.tokens.extend(&sequence.tokens[range.clone()]);
        step.tokens.extend(&draft);
        step.positions
            .extend(all.clone().map(|position| position as u32));
        step.sequences.extend(all.clone().map(|_| place));

        let scored = sequence.scored(rows);
        if !scored.is_empty() {
            self.want = Want::Logits;
        }
        let row_of = |position: usize| (row + position - range.start) as u32;
        step.outputs.extend(scored.map(row_of));
        if sequence.chooses(rows) {
            step.outputs.extend((range.end - 1..all.end).map(row_of));
            for ahead in 0..=draft.len() {
                match sequence.draw(drawn, ahead) {
                    Some(draw) => step.draws.push(draw),
                    None => self.want = Want::Logits,
                }
            }
        }
        self.parts.push(Part {
            sequence: index,
            rows,
            draft,
            outputs: output..step.outputs.len(),
        });
    }

    /// Without draws where nobody draws.
    fn settle(&mut self) {
        let draws = &mut self.step.draws;
        if self.want == Want::Logits || draws.iter().all(Draw::is_best) {
            draws.clear();
        }
    }

    /// A running sequence is taken out: its rows are nobody's any more.
    fn leave(&mut self, index: usize) {
        self.parts.retain(|part| part.sequence != index);
        for part in &mut self.parts {
            part.sequence -= usize::from(part.sequence > index);
        }
    }
}

#[cfg(test)]
#[path = "scheduler_tests.rs"]
mod tests;
