//! A model without weights, and ways to drive an engine.

use std::collections::{BTreeMap, VecDeque};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures::executor::block_on;
use futures::{StreamExt, future};
use tinderbox_engine::{
    Engine, Handle, Limits, Options, Runner, RunnerError, Submission, Vocabulary,
};
use tinderbox_kernels::reference;
use tinderbox_model::{Lora, Output, Step, Want};
use tinderbox_protocol::{Error, Event, EventStream, Finish, Sampling, Started, Token};

pub use crate::tiny_file::VOCAB;
pub const EOS: u32 = 0;
pub const CONTEXT: usize = 120;
/// What the clock goes on by, each time somebody looks.
pub const TICK: Duration = Duration::from_millis(100);

/// A slot, and a number from the contents it got; `None` where it was freed.
pub type Put = (u32, Option<u32>);

/// Steps and what they were asked for.
pub type Log = Arc<Mutex<Vec<(Step, Want)>>>;

/// Logits that follow from all tokens so far, read through the block tables: a wrong block, a
/// missing row or another sequence's token changes everything after it.
pub struct HashModel {
    pub blocks: usize,
    pub block_size: usize,
    pub max_rows: usize,
    pub context: usize,
    /// Whether it is as a GPU: draws tokens, and takes a step before the tokens of the one before are read.
    pub ahead: bool,
    /// Whether its answers go round in circles, for the last token decides nearly alone.
    pub repeats: bool,
    /// Steps at which to fail, and how.
    pub faults: Vec<(usize, RunnerError)>,
    /// Whether it can start again on another device.
    pub recovers: bool,
    /// The steps so far.
    pub log: Log,
    /// How many of them came before the tokens of the one before were read.
    pub followed: Arc<AtomicU32>,
    /// What was put into slots.
    pub puts: Arc<Mutex<Vec<Put>>>,
    slots: BTreeMap<u32, u32>,
    cells: Vec<u32>,
    begun: VecDeque<Result<Output, RunnerError>>,
}

impl HashModel {
    pub fn new(blocks: usize, block_size: usize, max_rows: usize) -> HashModel {
        let cells = vec![u32::MAX; blocks * block_size];
        let log = Arc::default();
        HashModel {
            blocks,
            block_size,
            max_rows,
            context: CONTEXT,
            ahead: true,
            repeats: false,
            faults: Vec::new(),
            recovers: false,
            puts: Arc::default(),
            slots: BTreeMap::new(),
            log,
            followed: Arc::default(),
            cells,
            begun: VecDeque::new(),
        }
    }

    fn cell(&self, step: &Step, sequence: u32, position: u32) -> usize {
        let table = &step.tables[sequence as usize];
        let block = table[position as usize / self.block_size] as usize;
        block * self.block_size + position as usize % self.block_size
    }
}

/// Logits after `tokens`, in -4 .. 4.
pub fn logits_after(tokens: &[u32]) -> Vec<f32> {
    let mix = |hash: u64, value: u64| {
        let mut x = (hash ^ value).wrapping_mul(0x9E37_79B9_7F4A_7C15);
        x ^= x >> 29;
        x.wrapping_mul(0xBF58_476D_1CE4_E5B9)
    };
    let hash = tokens
        .iter()
        .fold(1, |hash, token| mix(hash, u64::from(*token) + 1));
    (0..VOCAB as u64)
        .map(|id| (mix(hash, id) >> 40) as f32 / (1u64 << 21) as f32 - 4.0)
        .collect()
}

pub fn argmax(logits: &[f32]) -> u32 {
    let best = logits.iter().copied().fold(f32::MIN, f32::max);
    logits.iter().position(|logit| *logit == best).unwrap() as u32
}

impl Runner for HashModel {
    fn vocab_size(&self) -> usize {
        VOCAB
    }

    fn block_size(&self) -> usize {
        self.block_size
    }

    fn blocks(&self) -> usize {
        self.blocks
    }

    fn max_rows(&self) -> usize {
        self.max_rows
    }

    fn context(&self) -> usize {
        self.context
    }

    fn put_adapter(&mut self, slot: u32, adapter: &Lora) -> Result<(), RunnerError> {
        let contents = format!("{adapter:?}");
        let number = contents.bytes().fold(1u32, |number, byte| {
            number.wrapping_mul(0x0100_0193) ^ u32::from(byte)
        });
        self.puts.lock().unwrap().push((slot, Some(number)));
        self.slots.insert(slot, number);
        Ok(())
    }

    fn drop_adapter(&mut self, slot: u32) {
        self.puts.lock().unwrap().push((slot, None));
        assert!(self.slots.remove(&slot).is_some(), "slot {slot} is free");
    }

    async fn recover(&mut self, reason: String) -> Result<(), RunnerError> {
        self.cells.fill(u32::MAX);
        self.slots.clear();
        self.begun.clear();
        match self.recovers {
            true => Ok(()),
            false => Err(RunnerError::Lost(reason)),
        }
    }

    fn draws(&self) -> bool {
        self.ahead
    }

    fn begin(&mut self, step: &Step, want: Want) -> Result<(), RunnerError> {
        self.begun.clear();
        let output = self.compute(step, want);
        self.begun.push_back(output);
        Ok(())
    }

    fn follow(&mut self, step: &Step) -> Result<bool, RunnerError> {
        let Some(Ok(Output::Tokens(tokens))) = self.begun.back().filter(|_| self.ahead) else {
            return Ok(false);
        };
        let tokens = tokens.iter().map(|token| token.unwrap()).collect();
        let output = self.compute(
            &Step {
                tokens,
                ..step.clone()
            },
            Want::Tokens,
        );
        self.begun.push_back(output);
        self.followed.fetch_add(1, Ordering::Relaxed);
        Ok(true)
    }

    async fn answer(&mut self) -> Result<Output, RunnerError> {
        self.begun.pop_front().unwrap()
    }
}

impl HashModel {
    fn compute(&mut self, step: &Step, want: Want) -> Result<Output, RunnerError> {
        let count = {
            let mut log = self.log.lock().unwrap();
            log.push((step.clone(), want));
            log.len()
        };
        if let Some((_, error)) = self.faults.iter().find(|(at, _)| *at == count) {
            return Err(error.clone());
        }
        assert!(step.tokens.len() <= self.max_rows);
        for row in 0..step.tokens.len() {
            let cell = self.cell(step, step.sequences[row], step.positions[row]);
            self.cells[cell] = step.tokens[row];
        }
        let rows: Vec<Vec<f32>> = (step.outputs.iter())
            .map(|row| {
                let (sequence, last) =
                    (step.sequences[*row as usize], step.positions[*row as usize]);
                let slot = step.adapters.get(sequence as usize).copied().flatten();
                // An adapter is as good as a token in front that nobody sees.
                let adapter = slot.map(|slot| self.slots[&slot]);
                let read = (0..=last).map(|p| self.cells[self.cell(step, sequence, p)]);
                let seen: Vec<u32> = adapter.into_iter().chain(read).collect();
                let mut logits = logits_after(&seen);
                if self.repeats {
                    let circle = logits_after(&seen[seen.len() - 1..]);
                    let pairs = logits.iter_mut().zip(circle);
                    pairs.for_each(|(logit, circle)| *logit = circle + *logit / 1000.0);
                }
                logits
            })
            .collect();
        Ok(match want {
            Want::Logits => Output::Logits(rows.concat()),
            Want::Tokens => {
                let words: Vec<i32> = step.draws.iter().flat_map(|draw| draw.words()).collect();
                let draws = (!step.draws.is_empty()).then_some(&words[..]);
                let mut tokens = vec![-1; rows.len()];
                reference::choose(&mut tokens, &rows.concat(), VOCAB, draws);
                Output::Tokens(
                    tokens
                        .into_iter()
                        .map(|id| u32::try_from(id).ok())
                        .collect(),
                )
            }
        })
    }
}

/// Token 0 ends; 1 is a mark; 2 and 3 are the halves of `é`; the others are one letter each,
/// `a` to `z` again and again.
pub struct Words;

impl Vocabulary for Words {
    fn bytes(&self, id: u32) -> Vec<u8> {
        match id {
            EOS => b"</s>".to_vec(),
            1 => b"<s>".to_vec(),
            2 => vec![0xC3],
            3 => vec![0xA9],
            _ => vec![b'a' + (id - 4) as u8 % 26],
        }
    }

    fn is_special(&self, id: u32) -> bool {
        id < 2
    }

    fn end_tokens(&self) -> &[u32] {
        &[EOS]
    }
}

/// An engine whose clock moves a tenth of a second each time it is read.
pub fn engine(model: HashModel, limits: Limits) -> (Engine<HashModel>, Handle) {
    let ticks = AtomicU32::new(0);
    let clock = Arc::new(move || TICK * ticks.fetch_add(1, Ordering::Relaxed));
    Engine::new(
        model,
        Arc::new(Words),
        Options {
            limits,
            clock,
            entropy: 7,
        },
    )
}

/// Runs the engine beside `work`, stops it, and gives back what `work` gave.
pub fn serve<T>(
    model: HashModel,
    limits: Limits,
    work: impl AsyncFnOnce(&Handle) -> T,
) -> (T, Result<(), RunnerError>) {
    let (engine, handle) = engine(model, limits);
    let work = async {
        let result = work(&handle).await;
        handle.stop();
        result
    };
    block_on(future::join(work, engine.run()))
}

/// A roomy engine.
pub fn serve_simply<T>(work: impl AsyncFnOnce(&Handle) -> T) -> T {
    let (result, end) = serve(HashModel::new(64, 4, 64), Limits::default(), work);
    assert_eq!(end, Ok(()));
    result
}

/// Lets the engine beside this future take a step.
pub async fn one_step() {
    let mut turn = 0;
    future::poll_fn(move |context| {
        turn += 1;
        context.waker().wake_by_ref();
        if turn > 1 {
            std::task::Poll::Ready(())
        } else {
            std::task::Poll::Pending
        }
    })
    .await;
}

/// Everything a stream gave.
#[derive(Clone, Debug, Default)]
pub struct Answer {
    pub started: Option<Started>,
    pub queued: Duration,
    /// Prompt tokens found in the cache.
    pub cached: usize,
    pub tokens: Vec<Token>,
    pub finish: Option<Finish>,
    pub error: Option<Error>,
}

impl PartialEq for Answer {
    fn eq(&self, other: &Answer) -> bool {
        let parts = |a: &Answer| {
            let Answer {
                started,
                tokens,
                finish,
                error,
                ..
            } = a.clone();
            (started, tokens, finish, error)
        };
        parts(self) == parts(other)
    }
}

impl Answer {
    pub fn ids(&self) -> Vec<u32> {
        self.tokens.iter().map(|token| token.id).collect()
    }

    pub fn text(&self) -> String {
        let pieces = self.tokens.iter().map(|token| token.text.as_str());
        pieces
            .chain(self.finish.iter().map(|finish| finish.text.as_str()))
            .collect()
    }

    pub fn finish(&self) -> &Finish {
        self.finish.as_ref().unwrap()
    }
}

pub async fn collect(mut stream: EventStream) -> Answer {
    let mut answer = Answer::default();
    while let Some(event) = stream.next().await {
        assert!(
            answer.finish.is_none() && answer.error.is_none(),
            "something after the end"
        );
        match event {
            Ok(Event::Started(started)) => {
                assert!(answer.started.is_none() && answer.tokens.is_empty());
                // How long it waited and what it found depends on the others.
                (answer.queued, answer.cached) = (started.queued, started.cached_tokens);
                answer.started = Some(Started {
                    queued: Duration::ZERO,
                    cached_tokens: 0,
                    ..started
                });
            }
            Ok(Event::Token(token)) => answer.tokens.push(token),
            Ok(Event::Finished(finish)) => answer.finish = Some(finish),
            Err(error) => answer.error = Some(error),
        }
    }
    assert!(
        answer.finish.is_some() || answer.error.is_some(),
        "the stream just ended"
    );
    answer
}

pub async fn answer(handle: &Handle, submission: Submission) -> Answer {
    collect(handle.submit(submission).unwrap()).await
}

pub fn greedy() -> Sampling {
    Sampling {
        temperature: 0.0,
        ..Sampling::default()
    }
}

/// A greedy request that runs to its limit.
pub fn submission(tokens: &[u32], max_tokens: usize) -> Submission {
    let mut submission = Submission {
        tokens: tokens.to_vec(),
        max_tokens: Some(max_tokens),
        sampling: greedy(),
        ..Submission::default()
    };
    submission.stop.ignore_eos = true;
    submission
}

/// What greedy decoding gives, by the plainest loop.
pub fn continuation(prompt: &[u32], count: usize) -> Vec<u32> {
    let mut tokens = prompt.to_vec();
    for _ in 0..count {
        tokens.push(argmax(&logits_after(&tokens)));
    }
    tokens.split_off(prompt.len())
}
