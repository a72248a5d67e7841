//! The dialects, one folder each, all of the same shape: wire types, one way from wire to
//! [`Batch`](crate::batch::Batch), one way back, one stream encoder, one error mapping.

pub(crate) mod openai;
