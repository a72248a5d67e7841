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
    fn the_document_lists_exactly_the_paths_of_the_router() {
        let document: serde_json::Value = serde_json::from_str(DOCUMENT).unwrap();
        let mut listed: Vec<String> = document["paths"]
            .as_object()
            .unwrap()
            .keys()
            .cloned()
            .collect();
        let routes = crate::own_routes()
            .into_iter()
            .chain(crate::openai::routes());
        // axum writes a parameter that takes slashes `{*id}`, OpenAPI has no such thing.
        let mut served: Vec<String> = routes.map(|(path, _)| path.replace("{*", "{")).collect();
        listed.sort();
        served.sort();
        assert_eq!(listed, served);
    }
}
