//! A request in token ids, and whether it can be answered.

use tinderbox_protocol::{Error, Sampling, Stop};

use crate::Guide;

/// One sequence to generate, its prompt in token ids.
#[derive(Clone, Debug, Default)]
pub struct Submission {
    /// Identifier for logs.
    pub id: String,
    /// The prompt, at least one token.
    pub tokens: Vec<u32>,
    /// `tokens[0]` is a BOS the caller did not write: it has no entry among the prompt's logprobs,
    /// and it stays where the prompt is cut.
    pub added_bos: bool,
    /// Number of the adapter the prompt and the answer are computed with. It means the same adapter
    /// for as long as the engine lives: what was computed with one is not used for another.
    pub adapter: Option<u64>,
    /// Most tokens to generate; `None` is the rest of the context.
    pub max_tokens: Option<usize>,
    /// How the next token is chosen.
    pub sampling: Sampling,
    /// When to stop before `max_tokens`.
    pub stop: Stop,
    /// What the answer must look like; compiled for this model.
    pub guide: Option<Guide>,
    /// Alternatives to report with each generated token.
    pub logprobs: Option<usize>,
    /// Alternatives to report with each prompt token.
    pub prompt_logprobs: Option<usize>,
    /// Cut the prompt's beginning where it does not fit.
    pub truncate_prompt: bool,
}

/// Most alternatives a token is reported with.
const MAX_LOGPROBS: usize = 20;

impl Submission {
    /// Checks every field, and cuts the prompt where that was asked. Answers the number of tokens
    /// to generate at most, and whether the prompt was cut.
    pub(crate) fn settle(&mut self, context: usize, vocab: usize) -> Result<(usize, bool), Error> {
        self.check_sampling(vocab)?;
        for (field, value) in [
            ("logprobs", self.logprobs),
            ("prompt_logprobs", self.prompt_logprobs),
        ] {
            if let Some(count) = value.filter(|count| *count > MAX_LOGPROBS) {
                return Err(invalid(
                    field,
                    format!("{count} is not in 0 ..= {MAX_LOGPROBS}"),
                ));
            }
        }
        if self.tokens.is_empty() {
            return Err(invalid("prompt", "has no tokens; give at least one".into()));
        }
        check_ids("prompt", &self.tokens, vocab)?;
        check_ids("stop_token_ids", &self.stop.tokens, vocab)?;
        let cut = self.truncate_prompt && self.cut(context);

        let prompt = self.tokens.len();
        // Without a limit there must be room for one token at least.
        let completion = self.max_tokens.unwrap_or(1);
        if prompt.saturating_add(completion) > context {
            return Err(Error::ContextOverflow {
                context,
                prompt,
                completion,
            });
        }
        Ok((self.max_tokens.unwrap_or(context - prompt), cut))
    }

    /// Cuts the prompt to what the context holds beside the answer. Does nothing where the answer
    /// alone fills the context: that is an overflow no cut can mend.
    fn cut(&mut self, context: usize) -> bool {
        let room = context.saturating_sub(self.max_tokens.unwrap_or(1).max(1));
        let bos = usize::from(self.added_bos);
        if self.tokens.len() <= room || room <= bos {
            return false;
        }
        let excess = self.tokens.len() - room;
        self.tokens.drain(bos..bos + excess);
        true
    }

    fn check_sampling(&self, vocab: usize) -> Result<(), Error> {
        let s = &self.sampling;
        let fields = [
            (
                "temperature",
                s.temperature,
                (0.0..=f32::MAX).contains(&s.temperature),
                "0 or more",
            ),
            (
                "top_p",
                s.top_p,
                (0.0..=1.0).contains(&s.top_p),
                "in 0 ..= 1",
            ),
            (
                "min_p",
                s.min_p,
                (0.0..=1.0).contains(&s.min_p),
                "in 0 ..= 1",
            ),
            (
                "typical_p",
                s.typical_p,
                s.typical_p > 0.0 && s.typical_p <= 1.0,
                "above 0 and at most 1",
            ),
            (
                "repetition_penalty",
                s.repetition_penalty,
                s.repetition_penalty > 0.0 && s.repetition_penalty.is_finite(),
                "above 0",
            ),
            (
                "presence_penalty",
                s.presence_penalty,
                (-2.0..=2.0).contains(&s.presence_penalty),
                "in -2 ..= 2",
            ),
            (
                "frequency_penalty",
                s.frequency_penalty,
                (-2.0..=2.0).contains(&s.frequency_penalty),
                "in -2 ..= 2",
            ),
        ];
        for (field, value, right, range) in fields {
            if !right {
                return Err(invalid(field, format!("{value} is not a number {range}")));
            }
        }
        for (id, bias) in &s.logit_bias {
            let field = format!("logit_bias[{id}]");
            if *id as usize >= vocab {
                return Err(invalid(
                    &field,
                    format!("the token ids end at {}", vocab - 1),
                ));
            }
            if !(-100.0..=100.0).contains(bias) {
                return Err(invalid(
                    &field,
                    format!("{bias} is not a number in -100 ..= 100"),
                ));
            }
        }
        Ok(())
    }
}

fn invalid(field: &str, reason: String) -> Error {
    Error::Invalid {
        field: field.into(),
        reason,
    }
}

fn check_ids(field: &str, ids: &[u32], vocab: usize) -> Result<(), Error> {
    match ids.iter().position(|id| *id as usize >= vocab) {
        None => Ok(()),
        Some(index) => Err(invalid(
            &format!("{field}[{index}]"),
            format!(
                "token id {} is outside the vocabulary of {vocab}",
                ids[index]
            ),
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn prompt(tokens: usize) -> Submission {
        Submission {
            tokens: (0..tokens as u32).collect(),
            ..Submission::default()
        }
    }

    fn refused(submission: &mut Submission) -> String {
        match submission.settle(100, 1000) {
            Err(Error::Invalid { field, .. }) => field,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_wrong_value_is_refused_by_name() {
        type Change = fn(&mut Sampling);
        let cases: [(&str, Change); 14] = [
            ("temperature", |s| s.temperature = f32::NAN),
            ("temperature", |s| s.temperature = -0.1),
            ("temperature", |s| s.temperature = f32::INFINITY),
            ("top_p", |s| s.top_p = 1.5),
            ("top_p", |s| s.top_p = f32::NAN),
            ("min_p", |s| s.min_p = -0.5),
            ("typical_p", |s| s.typical_p = 0.0),
            ("repetition_penalty", |s| s.repetition_penalty = 0.0),
            ("repetition_penalty", |s| {
                s.repetition_penalty = f32::INFINITY
            }),
            ("presence_penalty", |s| s.presence_penalty = 2.1),
            ("frequency_penalty", |s| s.frequency_penalty = f32::NAN),
            ("logit_bias[1000]", |s| s.logit_bias = [(1000, 1.0)].into()),
            ("logit_bias[3]", |s| s.logit_bias = [(3, 101.0)].into()),
            ("logit_bias[3]", |s| s.logit_bias = [(3, f32::NAN)].into()),
        ];
        for (field, change) in cases {
            let mut submission = prompt(3);
            change(&mut submission.sampling);
            assert_eq!(refused(&mut submission), field);
        }
        assert_eq!(refused(&mut prompt(0)), "prompt");
        assert_eq!(
            refused(&mut Submission {
                tokens: vec![1, 1000],
                ..prompt(0)
            }),
            "prompt[1]"
        );
        assert_eq!(
            refused(&mut Submission {
                logprobs: Some(21),
                ..prompt(1)
            }),
            "logprobs"
        );
        assert_eq!(
            refused(&mut Submission {
                prompt_logprobs: Some(21),
                ..prompt(1)
            }),
            "prompt_logprobs"
        );
        let stop = Stop {
            tokens: vec![u32::MAX],
            ..Stop::default()
        };
        assert_eq!(
            refused(&mut Submission { stop, ..prompt(1) }),
            "stop_token_ids[0]"
        );
    }

    #[test]
    fn prompt_and_answer_must_fit_the_context() {
        let settle = |tokens, max_tokens| {
            Submission {
                max_tokens,
                ..prompt(tokens)
            }
            .settle(100, 1000)
        };
        assert_eq!(settle(99, Some(1)), Ok((1, false)));
        assert_eq!(settle(99, None), Ok((1, false)));
        assert_eq!(settle(10, None), Ok((90, false)));
        assert_eq!(settle(100, Some(0)), Ok((0, false)));
        let overflow = |prompt, completion| {
            Err(Error::ContextOverflow {
                context: 100,
                prompt,
                completion,
            })
        };
        assert_eq!(settle(100, Some(1)), overflow(100, 1));
        assert_eq!(settle(100, None), overflow(100, 1));
        assert_eq!(settle(101, Some(0)), overflow(101, 0));
        assert_eq!(settle(1, Some(usize::MAX)), overflow(1, usize::MAX));
    }

    #[test]
    fn a_cut_takes_the_beginning_and_spares_an_added_bos() {
        let mut submission = Submission {
            max_tokens: Some(10),
            truncate_prompt: true,
            ..prompt(120)
        };
        let mut with_bos = Submission {
            added_bos: true,
            ..submission.clone()
        };
        assert_eq!(submission.settle(100, 1000), Ok((10, true)));
        assert_eq!(submission.tokens, (30..120).collect::<Vec<u32>>());
        assert_eq!(with_bos.settle(100, 1000), Ok((10, true)));
        assert_eq!(
            (
                with_bos.tokens[0],
                with_bos.tokens[1],
                with_bos.tokens.len()
            ),
            (0, 31, 90)
        );

        let mut fits = Submission {
            truncate_prompt: true,
            ..prompt(99)
        };
        assert_eq!(fits.settle(100, 1000), Ok((1, false)));
        let mut hopeless = Submission {
            max_tokens: Some(100),
            truncate_prompt: true,
            ..prompt(5)
        };
        assert!(matches!(
            hopeless.settle(100, 1000),
            Err(Error::ContextOverflow { .. })
        ));
    }
}
