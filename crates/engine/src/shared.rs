//! What the engine's loop and its handles both see.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};
use tinderbox_protocol::Error;

use crate::engine::Clock;

/// How the engine is doing, as of its last step.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Stats {
    /// Sequences that are generated now.
    pub running: usize,
    /// Sequences taken in and not running: new ones, and running ones that had to give back their
    /// KV blocks.
    pub waiting: usize,
    /// KV blocks nobody holds, those among them whose tokens stay in the cache.
    pub free_blocks: usize,
    /// KV blocks there are.
    pub blocks: usize,
    /// Prompt tokens of all prompts read since the start.
    pub prompt_tokens: u64,
    /// Of these, found in the cache in place of being computed.
    pub cached_tokens: u64,
    /// Tokens generated since the start.
    pub generated_tokens: u64,
    /// Tokens guessed since the start.
    pub guessed_tokens: u64,
    /// Of these, right ones.
    pub accepted_tokens: u64,
    /// Sequences that came to their end since the start.
    pub finished: u64,
    /// Times a running sequence had to give back its KV blocks.
    pub preempted: u64,
    /// Times the device was lost and the model loaded again.
    pub recoveries: u64,
    /// Rows computed in a second of work, prompt and answer together.
    pub rows_per_second: f64,
    /// Tokens generated in a second of work, all sequences together.
    pub tokens_per_second: f64,
    /// Likely time until a place is free, from the measured rate of finished sequences.
    pub next_finish: Duration,
}

/// State between the loop and its handles.
pub(crate) struct Shared {
    /// Tokens one sequence can hold.
    pub context: usize,
    /// Number of token ids.
    pub vocab: usize,
    /// Most sequences in the house.
    pub capacity: usize,
    /// Sequences in the house, waiting or running.
    present: AtomicUsize,
    stats: Mutex<Stats>,
    seeds: Mutex<ChaCha8Rng>,
    clock: Clock,
    aborted: AtomicBool,
    cut: AtomicBool,
    failure: OnceLock<String>,
}

impl Shared {
    pub fn new(
        context: usize,
        vocab: usize,
        capacity: usize,
        entropy: u64,
        clock: Clock,
    ) -> Shared {
        Shared {
            context,
            vocab,
            capacity,
            present: AtomicUsize::new(0),
            stats: Mutex::default(),
            seeds: Mutex::new(ChaCha8Rng::seed_from_u64(entropy)),
            clock,
            aborted: AtomicBool::new(false),
            cut: AtomicBool::new(false),
            failure: OnceLock::new(),
        }
    }

    /// A place for one more sequence.
    ///
    /// # Errors
    /// [`Error::Overloaded`] where there is none.
    pub fn enter(self: &Arc<Self>) -> Result<Place, Error> {
        let one_more = |present| (present < self.capacity).then_some(present + 1);
        match self
            .present
            .fetch_update(Ordering::AcqRel, Ordering::Acquire, one_more)
        {
            Ok(_) => Ok(Place {
                taken: (self.clock)(),
                shared: self.clone(),
            }),
            Err(present) => {
                let stats = self.stats();
                let soonest = Duration::from_secs(1);
                Err(Error::Overloaded {
                    queued: present.saturating_sub(stats.running),
                    retry_after: stats.next_finish.clamp(soonest, 120 * soonest),
                })
            }
        }
    }

    pub fn stats(&self) -> Stats {
        let stats = *self.stats.lock().unwrap_or_else(PoisonError::into_inner);
        // Submissions the loop has not seen yet wait too.
        let present = self.present.load(Ordering::Acquire);
        Stats {
            waiting: present.saturating_sub(stats.running),
            ..stats
        }
    }

    pub fn publish(&self, stats: Stats) {
        *self.stats.lock().unwrap_or_else(PoisonError::into_inner) = stats;
    }

    /// A seed for a request without one. 31 bits: every dialect can carry it back and ask again.
    pub fn fresh_seed(&self) -> u64 {
        let mut seeds = self.seeds.lock().unwrap_or_else(PoisonError::into_inner);
        u64::from(seeds.next_u32() >> 1)
    }

    pub fn abort(&self) {
        self.aborted.store(true, Ordering::Release);
    }

    pub fn is_aborted(&self) -> bool {
        self.aborted.load(Ordering::Acquire)
    }

    pub fn cut_short(&self) {
        self.cut.store(true, Ordering::Release);
    }

    /// Whether that was asked since the last time.
    pub fn take_cut(&self) -> bool {
        self.cut.swap(false, Ordering::AcqRel)
    }

    /// Notes why the engine ended; the first reason stays.
    pub fn fail(&self, reason: String) {
        let _ = self.failure.set(reason);
    }

    pub fn failure(&self) -> Option<&str> {
        self.failure.get().map(String::as_str)
    }
}

/// A sequence's place in the house, given back when it is dropped.
pub(crate) struct Place {
    shared: Arc<Shared>,
    /// The engine's time when it was taken.
    pub taken: Duration,
}

impl Drop for Place {
    fn drop(&mut self) {
        self.shared.present.fetch_sub(1, Ordering::AcqRel);
    }
}
