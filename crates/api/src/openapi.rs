//! `GET /openapi.json`: the description of what is served, kept by hand.

use axum::http::header;
use axum::response::IntoResponse;

/// OpenAPI 3.1.
const DOCUMENT: &str = include_str!("openapi.json");

pub(crate) async fn document() -> impl IntoResponse {
    ([(header::CONTENT_TYPE, "application/json")], DOCUMENT)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_document_lists_exactly_the_paths_of_openai_and_our_own() {
        let document: serde_json::Value = serde_json::from_str(DOCUMENT).unwrap();
        let mut listed: Vec<String> = document["paths"]
            .as_object()
            .unwrap()
            .keys()
            .cloned()
            .collect();
        // axum writes a parameter that takes slashes `{*id}`, OpenAPI has no such thing.
        let routes = crate::dialects::openai::routes().into_iter();
        let routes = routes.chain(crate::own_routes());
        let mut served: Vec<String> = routes.map(|(path, _)| path.replace("{*", "{")).collect();
        listed.sort();
        served.sort();
        assert_eq!(listed, served);
    }
}
