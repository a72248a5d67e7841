//! The loop that owns the model.

use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use async_channel::Receiver;
use tinderbox_model::{Output, Want};
use tinderbox_protocol::Error;

use crate::adapters::Slots;
use crate::blocks::Blocks;
use crate::rate::Rate;
use crate::sampler::Candidate;
use crate::scheduler::{Plan, Scheduler};
use crate::sequence::{Answer, Desk, Sequence};
use crate::shared::Shared;
use crate::{Handle, Limits, Runner, RunnerError, Stats, Vocabulary};

/// Losses of the device an engine survives; one that is lost more often will be lost again.
const RECOVERIES: u64 = 2;

/// Time since some fixed moment. The engine has no clock of its own: a browser's differs from a
/// host's, and a test's is made up.
pub type Clock = Arc<dyn Fn() -> Duration + Send + Sync>;

/// What an engine is made with, besides the model.
#[derive(Clone)]
pub struct Options {
    /// How much is taken on at once.
    pub limits: Limits,
    /// Measures rates.
    pub clock: Clock,
    /// Random bits, from which requests without a seed get theirs.
    pub entropy: u64,
}

/// Owns the model and answers the submissions of its [`Handle`]s.
pub struct Engine<R> {
    runner: R,
    vocabulary: Arc<dyn Vocabulary>,
    scheduler: Scheduler,
    /// Which adapters are on the device.
    slots: Slots,
    submissions: Receiver<Sequence>,
    shared: Arc<Shared>,
    clock: Clock,
    /// Lent to one sampler after the other.
    candidates: Vec<Candidate>,
    stats: Stats,
    rows: Rate,
    tokens: Rate,
    finishes: Rate,
}

impl<R: Runner> Engine<R> {
    /// An engine and the first of its handles. Nothing happens until [`Engine::run`] is awaited.
    pub fn new(runner: R, vocabulary: Arc<dyn Vocabulary>, options: Options) -> (Self, Handle) {
        let blocks = Blocks::new(runner.blocks(), runner.block_size());
        let context = runner.context().min(blocks.tokens());
        let vocab = runner.vocab_size();
        let scheduler = Scheduler::new(&options.limits, blocks, runner.max_rows(), vocab);
        let capacity = scheduler.max_sequences() + options.limits.max_queue.max(1);

        let shared = Arc::new(Shared::new(
            context,
            vocab,
            capacity,
            options.entropy,
            options.clock.clone(),
        ));
        // `Shared` bounds how many sequences there are, so the channel needs no bound.
        let (sender, submissions) = async_channel::unbounded();
        let handle = Handle::new(shared.clone(), vocabulary.clone(), sender);
        let engine = Engine {
            runner,
            vocabulary,
            scheduler,
            slots: Slots::default(),
            submissions,
            shared,
            clock: options.clock,
            candidates: Vec::new(),
            stats: Stats::default(),
            rows: Rate::default(),
            tokens: Rate::default(),
            finishes: Rate::default(),
        };
        engine.publish();
        (engine, handle)
    }

    /// Answers submissions until the handles are stopped or gone and everything taken in is
    /// answered. Dropping the future ends all streams with an error.
    ///
    /// # Errors
    /// [`RunnerError::Lost`], where the runner does not recover or did so twice before: every
    /// sequence was told, later submissions are refused.
    pub async fn run(mut self) -> Result<(), RunnerError> {
        loop {
            if self.scheduler.is_idle() {
                self.publish();
                match self.submissions.recv().await {
                    Ok(sequence) => self.scheduler.waiting.push_back(sequence),
                    Err(_) => return Ok(()),
                }
            }
            self.take_submissions();
            if self.shared.is_aborted() {
                let reason = "the server stopped before the answer was complete".into();
                let retry_after = Duration::from_secs(1);
                self.scheduler.fail_all(&Error::Unavailable {
                    reason,
                    retry_after,
                });
            }
            self.scheduler.drop_cancelled();
            if self.shared.take_cut() {
                let running = self.scheduler.running.iter_mut().enumerate();
                let cut = running.map(|(index, sequence)| (index, sequence.cut().err()));
                let cut = cut.collect();
                self.end(cut);
            }
            self.put_adapters().await?;
            self.step().await?;
            self.publish();
            // Where one thread runs everything, the readers get their turn here.
            yield_now().await;
        }
    }

    fn take_submissions(&mut self) {
        while let Ok(sequence) = self.submissions.try_recv() {
            self.scheduler.waiting.push_back(sequence);
        }
    }

    /// Frees the slots of adapters that left memory, and puts those of new sequences on the device.
    async fn put_adapters(&mut self) -> Result<(), RunnerError> {
        for slot in self.slots.abandoned() {
            self.runner.drop_adapter(slot);
        }
        let mut index = 0;
        while let Some(sequence) = self.scheduler.waiting.get_mut(index) {
            let Some(lease) = sequence.lease.as_ref().filter(|_| sequence.slot.is_none()) else {
                index += 1;
                continue;
            };
            let resident = &lease.resident;
            let put = match self.slots.of(resident) {
                Some(slot) => Ok(slot),
                None => {
                    let slot = self.slots.free();
                    let put = self.runner.put_adapter(slot, &resident.lora);
                    if put.is_ok() {
                        self.slots.note(slot, resident);
                    }
                    put.map(|()| slot)
                }
            };
            match put {
                Ok(slot) => sequence.slot = Some(slot),
                Err(RunnerError::Step(reason)) => {
                    let error =
                        Error::Internal(format!("the adapter is not on the device: {reason}"));
                    let failed = self.scheduler.waiting.remove(index);
                    failed
                        .into_iter()
                        .for_each(|failed| failed.fail(error.clone()));
                }
                Err(RunnerError::Lost(reason)) => {
                    self.recover(reason).await?;
                    // What ran waits in front again.
                    index = 0;
                }
            }
        }
        Ok(())
    }

    async fn step(&mut self) -> Result<(), RunnerError> {
        let start = (self.clock)();
        let following = self.scheduler.following.take();
        let begun = following.is_some();
        let Some(plan) = following.or_else(|| self.scheduler.plan(self.runner.draws())) else {
            return Ok(());
        };
        for part in &plan.parts {
            self.scheduler.running[part.sequence].begin(start);
        }
        let before = self.stats;
        match self.compute(&plan, begun).await {
            Ok(output) => self.take_in(&plan, &output),
            Err(RunnerError::Step(reason)) => {
                tracing::error!(reason, "a step failed");
                let error = Error::Internal(format!("the step failed: {reason}"));
                let ended = plan
                    .parts
                    .iter()
                    .map(|part| (part.sequence, Some(error.clone())));
                self.end(ended.collect());
            }
            Err(RunnerError::Lost(reason)) => return self.recover(reason).await,
        }
        if plan.parts.is_empty() {
            // Everybody left while the step was on its way: it says nothing of the device's speed.
            return Ok(());
        }
        let time = (self.clock)().saturating_sub(start);
        let since = |now: u64, then: u64| (now - then) as usize;
        self.rows.record(plan.step.tokens.len(), time);
        self.tokens.record(
            since(self.stats.generated_tokens, before.generated_tokens),
            time,
        );
        self.finishes
            .record(since(self.stats.finished, before.finished), time);
        Ok(())
    }

    /// The answer to a plan. Before it is waited for, the runner gets the step after it where it takes that, so that
    /// a device has work meanwhile.
    async fn compute(&mut self, plan: &Plan, begun: bool) -> Result<Output, RunnerError> {
        if !begun {
            self.runner.begin(&plan.step, plan.want)?;
        }
        if let Some(next) = self.scheduler.follow(plan, self.runner.draws())
            && self.runner.follow(&next.step)?
        {
            self.scheduler.following = Some(next);
        }
        let output = self.runner.answer().await?;
        self.check(plan, output)
    }

    /// After the loss of the device everything that runs is computed again from its tokens; its
    /// readers notice a pause.
    async fn recover(&mut self, reason: String) -> Result<(), RunnerError> {
        tracing::error!(reason, "the device is lost");
        let recovered = match self.stats.recoveries < RECOVERIES {
            true => match self.runner.recover(reason).await {
                Ok(()) => self.put_again(),
                lost => lost,
            },
            false => Err(RunnerError::Lost(reason)),
        };
        if let Err(error) = recovered {
            let failure = error.to_string();
            self.shared.fail(failure.clone());
            self.submissions.close();
            self.take_submissions();
            self.scheduler.fail_all(&Error::Internal(failure));
            self.publish();
            return Err(error);
        }
        self.stats.recoveries += 1;
        self.scheduler.forget_all();
        Ok(())
    }

    /// Puts every adapter back into its slot, on a device that has none.
    fn put_again(&mut self) -> Result<(), RunnerError> {
        for (slot, resident) in self.slots.held() {
            self.runner.put_adapter(slot, &resident.lora)?;
        }
        Ok(())
    }

    /// Whether the runner answered what it was asked.
    fn check(&self, plan: &Plan, output: Output) -> Result<Output, RunnerError> {
        let (outputs, vocab) = (plan.step.outputs.len(), self.shared.vocab);
        let right = match &output {
            Output::Logits(logits) => logits.len() == outputs * vocab,
            Output::Tokens(ids) => {
                let known = ids.iter().flatten().all(|id| (*id as usize) < vocab);
                plan.want == Want::Tokens && ids.len() == outputs && known
            }
        };
        let reason = "the model's answer has the wrong form";
        if right {
            Ok(output)
        } else {
            Err(RunnerError::Step(reason.into()))
        }
    }

    fn take_in(&mut self, plan: &Plan, output: &Output) {
        let vocab = self.shared.vocab;
        let candidates = std::mem::take(&mut self.candidates);
        let mut desk = Desk {
            vocabulary: &*self.vocabulary,
            vocab,
            candidates,
        };
        let mut ended = Vec::new();
        for part in &plan.parts {
            let outputs = part.outputs.clone();
            let answer = match output {
                Output::Logits(l) => Answer::Logits(&l[outputs.start * vocab..outputs.end * vocab]),
                Output::Tokens(ids) => Answer::Tokens(&ids[outputs]),
            };
            let sequence = &self.scheduler.running[part.sequence];
            let (generated, unread) = (sequence.generated(), sequence.is_reading());
            let result = self.scheduler.advance(part, answer, &mut desk);
            let sequence = &self.scheduler.running[part.sequence];
            let generated = (sequence.generated() - generated) as u64;
            self.stats.generated_tokens += generated;
            if !part.draft.is_empty() {
                self.stats.guessed_tokens += part.draft.len() as u64;
                self.stats.accepted_tokens += generated.saturating_sub(1);
            }
            if unread && !sequence.is_reading() {
                self.stats.prompt_tokens += sequence.prompt() as u64;
                self.stats.cached_tokens += sequence.found() as u64;
            }
            match result {
                Ok(false) => {}
                Ok(true) => ended.push((part.sequence, None)),
                Err(error) => ended.push((part.sequence, Some(error))),
            }
        }
        self.candidates = desk.candidates;
        self.end(ended);
    }

    /// Takes out sequences that finished or failed.
    fn end(&mut self, mut ended: Vec<(usize, Option<Error>)>) {
        // From the last to the first, so that removing one leaves the others' indices alone.
        ended.sort_by_key(|(index, _)| std::cmp::Reverse(*index));
        for (index, error) in ended {
            let sequence = self.scheduler.remove(index);
            let (id, generated) = (&sequence.id, sequence.generated());
            match error {
                None => {
                    tracing::debug!(id, prompt = sequence.prompt(), generated, "finished");
                    self.stats.finished += 1;
                }
                Some(error) => {
                    tracing::warn!(id, generated, %error, "failed");
                    sequence.fail(error);
                }
            }
        }
    }

    fn publish(&self) {
        self.shared.publish(Stats {
            running: self.scheduler.running.len(),
            free_blocks: self.scheduler.blocks.free(),
            blocks: self.scheduler.blocks.count(),
            preempted: self.scheduler.preempted,
            rows_per_second: self.rows.per_second(),
            tokens_per_second: self.tokens.per_second(),
            next_finish: self.finishes.interval(),
            ..self.stats
        });
    }
}

impl<R> Drop for Engine<R> {
    /// Where the loop is cut short (a panic of the model, a dropped future) the streams end with
    /// an error in place of waiting forever.
    fn drop(&mut self) {
        if !self.submissions.is_closed() {
            self.shared.fail("the engine ended unexpectedly".into());
        }
        self.submissions.close();
        // The channel keeps unread messages as long as a handle lives.
        while self.submissions.try_recv().is_ok() {}
    }
}

/// Lets the executor run something else once.
async fn yield_now() {
    let mut yielded = false;
    std::future::poll_fn(|context| {
        if yielded {
            return Poll::Ready(());
        }
        yielded = true;
        context.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}
