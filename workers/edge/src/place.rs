//! Where a request is answered: one decision, from facts.

use crate::ask::Ask;

/// The header by which a caller asks for a place, and by which an answer names it.
pub const PLACE: &str = "x-tinderbox-place";

/// Who answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// The model in this isolate.
    Edge,
    /// A node.
    Node,
}

/// What a caller asked for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Wish {
    /// Where it is cheapest.
    #[default]
    Auto,
    /// This isolate or nobody.
    Edge,
    /// A node or nobody.
    Node,
}

impl Wish {
    /// The value of [`PLACE`]; `None` for words that are none.
    pub fn parse(value: Option<&str>) -> Option<Wish> {
        match value {
            None | Some("auto") => Some(Wish::Auto),
            Some("edge") => Some(Wish::Edge),
            Some("node") => Some(Wish::Node),
            Some(_) => None,
        }
    }
}

/// The model of an isolate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Local {
    /// Its name.
    pub model: String,
    /// The adapters of that model that requests may name.
    pub adapters: Vec<String>,
    /// Most bytes of them in memory.
    pub adapter_bytes: u64,
    /// Tokens one sequence can hold.
    pub context: usize,
    /// Most tokens, prompt and answer together, that are computed here while nodes could.
    pub budget: usize,
}

impl Local {
    /// Whether the model and the adapter that a request names are here. Nothing is fetched or merged:
    /// there is no room for it.
    fn has(&self, ask: &Ask) -> bool {
        let names = ask.model.iter().chain(&ask.adapter);
        let mut adapters = names.filter(|name| **name != self.model);
        !ask.merges && adapters.all(|name| !ask.fetches && self.adapters.contains(name))
    }
}

/// The place for a request; `None` where there is none that has the model or was asked for.
///
/// Small ones of the local model and its adapters are answered here. What is too large for the budget goes to a node
/// that takes requests, and comes back here only where there is none. So does what needs no model: a
/// node's models are loaded.
pub fn decide(wish: Wish, ask: &Ask, local: Option<&Local>, node_up: bool) -> Option<Place> {
    let local = local.filter(|local| local.has(ask));
    let fits =
        local.is_some_and(|local| ask.needs_model && ask.tokens(local.context) <= local.budget);
    let here = local.map(|_| Place::Edge);
    let there = node_up.then_some(Place::Node);
    match wish {
        Wish::Edge => here,
        Wish::Node => there,
        Wish::Auto if fits => here,
        Wish::Auto => there.or(here),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ask(model: Option<&str>, prompt: usize, answer: Option<usize>) -> Ask {
        Ask {
            model: model.map(str::to_owned),
            prompt,
            answer,
            answers: 1,
            needs_model: true,
            ..Ask::default()
        }
    }

    fn local() -> Local {
        Local {
            model: "small".into(),
            adapters: vec!["tongue".into()],
            adapter_bytes: 1,
            context: 512,
            budget: 100,
        }
    }

    #[test]
    fn small_requests_of_the_local_model_stay() {
        let local = local();
        for (ask, expected) in [
            (ask(None, 50, Some(50)), Place::Edge),
            (ask(Some("small"), 50, Some(50)), Place::Edge),
            (ask(Some("small"), 51, Some(50)), Place::Node),
            (ask(Some("small"), 1, None), Place::Node),
            (ask(Some("large"), 1, Some(1)), Place::Node),
        ] {
            assert_eq!(
                decide(Wish::Auto, &ask, Some(&local), true),
                Some(expected),
                "{ask:?}"
            );
            // An isolate without a model forwards all.
            assert_eq!(decide(Wish::Auto, &ask, None, true), Some(Place::Node));
        }
    }

    #[test]
    fn the_adapters_of_the_local_model_stay_with_it_and_no_others() {
        let local = local();
        let adapter = |model: Option<&str>, adapter: Option<&str>| Ask {
            adapter: adapter.map(str::to_owned),
            ..ask(model, 1, Some(1))
        };
        let known = adapter(None, Some("tongue"));
        let base = adapter(None, Some("small"));
        let fetches = |ask: &Ask| Ask {
            fetches: true,
            ..ask.clone()
        };
        let merges = Ask {
            merges: true,
            ..adapter(None, None)
        };
        for (ask, here) in [
            (&known, true),
            (&adapter(Some("tongue"), None), true),
            (&adapter(Some("small"), Some("tongue")), true),
            (&adapter(None, Some("other")), false),
            (&adapter(Some("other"), Some("tongue")), false),
            (&fetches(&known), false),
            (&base, true),
            (&fetches(&base), true),
            (&merges, false),
        ] {
            let expected = if here { Place::Edge } else { Place::Node };
            let place = |node_up| decide(Wish::Auto, ask, Some(&local), node_up);
            assert_eq!(place(true), Some(expected), "{ask:?}");
            assert_eq!(place(false), here.then_some(Place::Edge), "{ask:?}");
        }
    }

    #[test]
    fn what_needs_no_model_goes_to_a_node_where_there_is_one() {
        let page = Ask::read("GET", "/docs", b"");
        let place = |node_up| decide(Wish::Auto, &page, Some(&local()), node_up);
        assert_eq!(place(true), Some(Place::Node));
        assert_eq!(place(false), Some(Place::Edge));
    }

    #[test]
    fn without_nodes_what_can_be_answered_here_is() {
        let local = local();
        let heavy = ask(None, 400, None);
        assert_eq!(
            decide(Wish::Auto, &heavy, Some(&local), false),
            Some(Place::Edge)
        );
        let other = ask(Some("large"), 1, Some(1));
        assert_eq!(decide(Wish::Auto, &other, Some(&local), false), None);
        assert_eq!(decide(Wish::Auto, &heavy, None, false), None);
    }

    #[test]
    fn a_wish_is_granted_or_refused_but_not_changed() {
        let local = local();
        let heavy = ask(None, 400, None);
        let light = ask(None, 1, Some(1));
        assert_eq!(
            decide(Wish::Edge, &heavy, Some(&local), true),
            Some(Place::Edge)
        );
        assert_eq!(decide(Wish::Edge, &light, None, true), None);
        assert_eq!(
            decide(Wish::Node, &light, Some(&local), true),
            Some(Place::Node)
        );
        assert_eq!(decide(Wish::Node, &light, Some(&local), false), None);
        assert_eq!(Wish::parse(Some("moon")), None);
        assert_eq!(Wish::parse(None), Some(Wish::Auto));
    }
}
