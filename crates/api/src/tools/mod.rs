//! Tools: what a model may call ([`Offer`]), what makes it call ([`grammar`]), and how calls are read
//! from its text ([`Reader`]). How calls are written is one place: [`Syntax`].

mod grammar;
mod offer;
mod reader;
mod syntax;

pub(crate) use grammar::constraint;
pub(crate) use offer::{Offer, definitions};
pub(crate) use reader::{Part, Reader};
pub(crate) use syntax::Syntax;
