//! Nothing but dependencies: see this crate's manifest.
