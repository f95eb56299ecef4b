//! Pages for people: one to try a graph, and the API's documents. Everything they load comes from this binary.

use std::sync::{Arc, LazyLock};

use axum::response::{IntoResponse, Redirect, Response};
use http::{HeaderValue, header};
use rust_embed::RustEmbed;
use schemas::error::Code;

use crate::{
    extract::At,
    refusal::{Answer, Refusal},
    route::{Media, Route, open},
};

const TAG: &str = "pages";
/// Scripts and styles of our own only; the documents' viewers write styles into the page.
const POLICY: HeaderValue = HeaderValue::from_static(
    "default-src 'self'; script-src 'self' blob:; worker-src 'self' blob:; style-src 'self' 'unsafe-inline'; \
     img-src 'self' data:; font-src 'self' data:; connect-src 'self'; frame-ancestors 'none'; base-uri 'none'",
);

#[derive(RustEmbed)]
#[folder = "assets/"]
struct Assets;

pub(crate) fn routes() -> Vec<Route> {
    let page = |path, handler: fn() -> std::future::Ready<Answer>, says| {
        open(path, handler).says(TAG, says).answers(200, "A page.", Media::Text("text/html"))
    };
    vec![
        page("/", || std::future::ready(asset("index.html")), "A page to talk with a graph and see it."),
        page("/redoc", || std::future::ready(asset("redoc.html")), "This document in ReDoc."),
        open("/docs", async || Redirect::permanent("/docs/"))
            .says(TAG, "This document in Swagger UI.")
            .bare(308, "At `/docs/`."),
        page("/docs/", || std::future::ready(swagger("index.html")), "This document in Swagger UI."),
        open("/docs/{file}", async |At(file): At<String>| swagger(&file)).says(TAG, "A file of Swagger UI.").answers(
            200,
            "The file.",
            Media::Text("*/*"),
        ),
        open("/assets/{file}", async |At(file): At<String>| asset(&file)).says(TAG, "A file of the pages.").answers(
            200,
            "The file.",
            Media::Text("*/*"),
        ),
    ]
}

fn asset(name: &str) -> Answer {
    let file = Assets::get(name).ok_or_else(no_file)?;
    Ok(served(file.data.into_owned(), media_of(name)))
}

fn swagger(name: &str) -> Answer {
    static CONFIG: LazyLock<Arc<utoipa_swagger_ui::Config<'static>>> =
        LazyLock::new(|| Arc::new(utoipa_swagger_ui::Config::from("/openapi.json")));
    match utoipa_swagger_ui::serve(name, Arc::clone(&CONFIG)) {
        Ok(Some(file)) => {
            let mut response = served(file.bytes.into_owned(), media_of(name));
            if file.gzpipped {
                response.headers_mut().insert(header::CONTENT_ENCODING, HeaderValue::from_static("gzip"));
            }
            Ok(response)
        }
        Ok(None) => Err(no_file()),
        Err(error) => {
            tracing::error!(%error, "a file of the documents can't be served");
            Err(Refusal::new(Code::Internal, "this file can't be served"))
        }
    }
}

fn no_file() -> Refusal {
    Refusal::new(Code::NotFound, "there is no such file")
}

fn served(bytes: Vec<u8>, media: &'static str) -> Response {
    let headers = [
        (header::CONTENT_TYPE, HeaderValue::from_static(media)),
        (header::CONTENT_SECURITY_POLICY, POLICY),
        (header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff")),
        (header::CACHE_CONTROL, HeaderValue::from_static("no-cache")),
    ];
    (headers, bytes).into_response()
}

fn media_of(name: &str) -> &'static str {
    match name.rsplit_once('.').map_or("", |(_, ending)| ending) {
        "html" => "text/html; charset=utf-8",
        "js" => "text/javascript; charset=utf-8",
        "css" => "text/css; charset=utf-8",
        "svg" => "image/svg+xml",
        "png" => "image/png",
        "json" | "map" => "application/json",
        "md" | "txt" => "text/plain; charset=utf-8",
        _ => "application/octet-stream",
    }
}
