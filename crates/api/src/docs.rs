//! `GET /docs`: a page that shows the description of the API to people.

use axum::response::Html;

/// The API, to read
///
/// A page that shows `openapi.json`. It loads nothing from elsewhere.
#[utoipa::path(get, path = "/docs", operation_id = "docs", tag = "tinderbox", responses(
    (status = 200, description = "The page", body = String, content_type = "text/html"),
))]
pub(crate) async fn show() -> Html<&'static str> {
    Html(include_str!("docs.html"))
}
