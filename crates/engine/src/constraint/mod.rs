//! What an answer must look like, as masks over the vocabulary.
//!
//! A [`Constraint`] is compiled once into a [`Guide`], on the thread of whoever asks. The guide's
//! sequence walks along it: before each choice the [`Walk`] says which tokens may come next, and
//! after it takes the chosen one. The mask of the next token depends only on tokens already chosen,
//! so it is computed beside the forward pass.

mod gbnf;
mod grammar;
mod lark;
mod schema;
#[cfg(test)]
mod tests;
mod vocabulary;
mod walk;

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use llguidance::{Matcher, ParserFactory};
use tinderbox_protocol::{Constraint, Error};

use crate::Vocabulary;
pub(crate) use walk::{Mask, Walk};

/// Compiled constraints that are kept, so that the samples of a prompt and repeated requests
/// compile theirs once.
const KEPT: usize = 16;

/// A model's compiler of constraints.
pub struct Guides {
    vocabulary: Arc<dyn Vocabulary>,
    vocab: usize,
    /// Made with the first constraint: it walks the whole vocabulary.
    factory: OnceLock<Result<ParserFactory, Error>>,
    /// Newest last.
    recent: Mutex<VecDeque<(Constraint, Guide)>>,
}

/// A compiled constraint, for one model; clones are the same one.
#[derive(Clone)]
pub struct Guide(Arc<Start>);

/// Where every walk begins.
struct Start {
    matcher: Matcher,
    mask: Mask,
    ends: Vec<u32>,
}

impl Guides {
    /// For a model with `vocab` token ids.
    pub fn new(vocabulary: Arc<dyn Vocabulary>, vocab: usize) -> Guides {
        Guides {
            vocabulary,
            vocab,
            factory: OnceLock::new(),
            recent: Mutex::default(),
        }
    }

    /// Compiles a constraint, or finds it compiled. Takes milliseconds, and bounded time and memory
    /// whatever the constraint.
    ///
    /// # Errors
    /// [`Error::Constraint`] with the place, for whatever cannot be followed.
    pub fn guide(&self, constraint: &Constraint) -> Result<Guide, Error> {
        if let Some(guide) = self.find(constraint) {
            return Ok(guide);
        }
        let compile = || self.compile(constraint);
        let guide = with_room(compile)?;
        let mut recent = self.recent.lock().unwrap_or_else(PoisonError::into_inner);
        if recent.len() == KEPT {
            recent.pop_front();
        }
        recent.push_back((constraint.clone(), guide.clone()));
        Ok(guide)
    }

    fn find(&self, constraint: &Constraint) -> Option<Guide> {
        let mut recent = self.recent.lock().unwrap_or_else(PoisonError::into_inner);
        let index = recent.iter().position(|(known, _)| known == constraint)?;
        let found = recent.remove(index)?;
        recent.push_back(found.clone());
        Some(found.1)
    }

    fn compile(&self, constraint: &Constraint) -> Result<Guide, Error> {
        let grammar = grammar::grammar(constraint)?;
        let factory = self.factory.get_or_init(|| {
            let factory = vocabulary::factory(&*self.vocabulary, self.vocab);
            factory
                .map_err(|error| Error::Internal(format!("no masks for this vocabulary: {error}")))
        });
        let factory = factory.as_ref().map_err(Error::clone)?;
        let parser = factory.create_parser(grammar);
        let mut matcher = Matcher::new(Ok(
            parser.map_err(|error| grammar::refusal(constraint, &error))?
        ));
        let mask = matcher.compute_mask();
        let mask = mask.map_err(|error| grammar::refusal(constraint, &error))?;
        let ends = factory.tok_env().tok_trie().eos_tokens().to_vec();
        Ok(Guide(Arc::new(Start {
            matcher,
            mask,
            ends,
        })))
    }
}

impl Guide {
    /// A walk from the beginning. It shares nothing with others, so that none can exhaust or break
    /// what another needs.
    pub(crate) fn start(&self) -> Walk {
        let Start {
            matcher,
            mask,
            ends,
        } = &*self.0;
        Walk::new(matcher.deep_clone(), mask.clone(), ends.clone())
    }
}

impl std::fmt::Debug for Guide {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Guide")
    }
}

/// Bytes of stack for compiling: it recurses where a constraint nests, as deep as its bounds allow.
#[cfg(feature = "threads")]
const STACK: usize = 256 << 20;

/// Runs `work` where the stack is deep.
#[cfg(feature = "threads")]
fn with_room<T: Send>(work: impl FnOnce() -> Result<T, Error> + Send) -> Result<T, Error> {
    let failed = || Error::Internal("compiling the constraint failed".into());
    std::thread::scope(|scope| {
        let thread = std::thread::Builder::new().stack_size(STACK);
        let thread = thread.spawn_scoped(scope, work).map_err(|_| failed())?;
        thread.join().map_err(|_| failed())?
    })
}

/// Runs `work`.
#[cfg(not(feature = "threads"))]
fn with_room<T>(work: impl FnOnce() -> Result<T, Error>) -> Result<T, Error> {
    work()
}
