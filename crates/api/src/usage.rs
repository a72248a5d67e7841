//! Tokens of a whole answer.

use tinderbox_protocol::{Event, Finish, Started};

use crate::answer::Answer;

/// Tokens of all sequences of an answer. A prompt counts once, whatever the number of samples.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Usage {
    /// Tokens of the prompts, added BOS included.
    pub prompt: usize,
    /// Of these, answered from the prefix cache.
    pub cached: usize,
    /// Tokens generated, discarded samples included.
    pub completion: usize,
}

impl Usage {
    /// The tokens of collected answers, `samples` a prompt.
    pub fn of(answers: &[Answer], samples: usize) -> Usage {
        let mut usage = Usage::default();
        for (index, answer) in answers.iter().enumerate() {
            usage.start(index, samples, &answer.started);
            usage.finish(&answer.finish);
        }
        usage
    }

    /// Counts in what sequence `index` sent.
    pub fn count(&mut self, index: usize, samples: usize, event: &Event) {
        match event {
            Event::Started(started) => self.start(index, samples, started),
            Event::Token(_) => {}
            Event::Finished(finish) => self.finish(finish),
        }
    }

    fn start(&mut self, index: usize, samples: usize, started: &Started) {
        if index.is_multiple_of(samples) {
            self.prompt += started.prompt_tokens;
            self.cached += started.cached_tokens;
        }
    }

    fn finish(&mut self, finish: &Finish) {
        self.completion += finish.completion_tokens;
    }
}
