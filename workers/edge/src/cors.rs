//! Pages of which origins may ask (the Fetch standard, CORS protocol).

/// Origins whose pages may ask; none given means all.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Origins(Vec<String>);

impl Origins {
    /// Reads `*`, or origins between commas.
    pub fn parse(text: &str) -> Origins {
        let origins = text.split(',').map(str::trim).filter(|o| *o != "*");
        Origins(
            origins
                .filter(|o| !o.is_empty())
                .map(str::to_owned)
                .collect(),
        )
    }

    /// The value of `access-control-allow-origin` for a request of this origin; `None` where its
    /// page may not read the answer.
    pub fn allow<'a>(&'a self, origin: Option<&'a str>) -> Option<&'a str> {
        match self.0.is_empty() {
            true => Some("*"),
            false => origin.filter(|origin| self.0.iter().any(|own| own == origin)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_or_those_that_are_listed_may_ask() {
        for text in ["", "*", " * "] {
            assert_eq!(Origins::parse(text).allow(Some("https://a")), Some("*"));
        }
        let some = Origins::parse("https://a, https://b");
        assert_eq!(some.allow(Some("https://b")), Some("https://b"));
        assert_eq!(some.allow(Some("https://c")), None);
        assert_eq!(some.allow(None), None);
    }
}
