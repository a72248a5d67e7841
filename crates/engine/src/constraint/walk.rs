//! One sequence on its way through a constraint.

use llguidance::Matcher;
use llguidance::toktrie::SimpleVob;
use tinderbox_protocol::Error;

/// The tokens that may come next: one bit each.
pub(crate) type Mask = SimpleVob;

/// Where a sequence stands. Its state follows from the tokens it took, so it stays right when the
/// sequence's keys and values are computed again.
pub(crate) struct Walk {
    /// `None` while the next mask is computed, and after a failure.
    here: Option<Box<Place>>,
    /// Who computes it.
    #[cfg(feature = "threads")]
    ahead: Option<std::sync::mpsc::Receiver<Box<Place>>>,
    /// The checkpoint's end tokens.
    ends: Vec<u32>,
}

/// A state and what may come next in it.
struct Place {
    matcher: Matcher,
    mask: Result<Mask, Error>,
}

impl Walk {
    pub fn new(matcher: Matcher, mask: Mask, ends: Vec<u32>) -> Walk {
        let mask = Ok(mask);
        Walk {
            here: Some(Box::new(Place { matcher, mask })),
            #[cfg(feature = "threads")]
            ahead: None,
            ends,
        }
    }

    /// The tokens that may come next. End tokens are among them where the constraint is complete;
    /// where they do not count (`may_end` is false), only if nothing else can follow.
    ///
    /// # Errors
    /// [`Error::Constraint`] where computing them would take too much.
    pub fn mask(&mut self, may_end: bool) -> Result<&Mask, Error> {
        #[cfg(feature = "threads")]
        if let Some(ahead) = self.ahead.take() {
            self.here = ahead.recv().ok();
        }
        let place = self.here.as_mut().ok_or_else(lost)?;
        let mask = place.mask.as_mut().map_err(|error| error.clone())?;
        if !may_end {
            let all = mask.clone();
            for end in &self.ends {
                mask.disallow_token(*end);
            }
            if mask.is_zero() {
                *mask = all;
            }
        }
        Ok(mask)
    }

    /// Goes on by the chosen token, and begins to compute the mask behind it. Answers whether the
    /// answer is complete and nothing can follow.
    ///
    /// # Errors
    /// [`Error::Constraint`] where following it would take too much.
    pub fn take(&mut self, id: u32) -> Result<bool, Error> {
        let mut place = self.here.take().ok_or_else(lost)?;
        let taken = place.matcher.consume_token(id);
        taken.map_err(|error| too_much(&error))?;
        if place.matcher.is_stopped() {
            return Ok(true);
        }
        self.think(place);
        Ok(false)
    }

    #[cfg(feature = "threads")]
    fn think(&mut self, mut place: Box<Place>) {
        let (sender, receiver) = std::sync::mpsc::channel();
        self.ahead = Some(receiver);
        rayon::spawn(move || {
            place.think();
            // Whoever waited for it may be gone.
            let _ = sender.send(place);
        });
    }

    #[cfg(not(feature = "threads"))]
    fn think(&mut self, mut place: Box<Place>) {
        place.think();
        self.here = Some(place);
    }
}

impl Place {
    fn think(&mut self) {
        self.mask = (self.matcher.compute_mask()).map_err(|error| too_much(&error));
    }
}

fn too_much(error: &impl std::fmt::Display) -> Error {
    let text = error.to_string();
    let line = text.lines().next().unwrap_or_default();
    Error::Constraint {
        place: String::new(),
        reason: format!("the answer led to where it cannot be followed: {line}"),
    }
}

fn lost() -> Error {
    Error::Internal("the state of the constraint is lost".into())
}
