//! A vocabulary of single bytes, and what every constraint must come to.

use std::sync::Arc;

use tinderbox_engine::{Guides, Vocabulary};
use tinderbox_protocol::{Constraint, Error};

struct Bytes;

impl Vocabulary for Bytes {
    fn bytes(&self, id: u32) -> Vec<u8> {
        u8::try_from(id).map_or(b"<end>".to_vec(), |byte| vec![byte])
    }

    fn is_special(&self, id: u32) -> bool {
        id > 255
    }

    fn end_tokens(&self) -> &[u32] {
        &[256]
    }
}

/// Compiles a constraint: it is followed, or refused.
pub fn compile(constraint: Constraint) {
    let guides = Guides::new(Arc::new(Bytes), 257);
    match guides.guide(&constraint) {
        Ok(_) | Err(Error::Constraint { .. }) => {}
        Err(other) => panic!("{other:?}"),
    }
}
