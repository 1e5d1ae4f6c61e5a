//! The page and its module.

use std::io::Write as _;
use std::path::PathBuf;
use std::sync::{Arc, LazyLock};

use axum::extract::State;
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;

use super::app::App;
use super::problem::Problem;
use super::status;

/// A file that is built in.
struct Asset {
    name: &'static str,
    content: &'static [u8],
}

macro_rules! built_in {
    ($name:literal) => {
        Asset {
            name: $name,
            content: include_bytes!(concat!("../../static/", $name)),
        }
    };
}

/// The files of the page.
const ASSETS: &[Asset] = &[
    built_in!("index.html"),
    built_in!("page.js"),
    built_in!("page-camera.js"),
    built_in!("page-camera-words.js"),
    built_in!("page-card.js"),
    built_in!("page-controls.js"),
    built_in!("page-desk.js"),
    built_in!("page-level.js"),
    built_in!("page-memory.js"),
    built_in!("page-notice.js"),
    built_in!("page-numbers.js"),
    built_in!("page-parts.js"),
    built_in!("page-quality.js"),
    built_in!("page-rates.js"),
    built_in!("page-seen.js"),
    built_in!("page-token.js"),
    built_in!("page-words.js"),
    built_in!("rekindle.js"),
    built_in!("rekindle.d.ts"),
    built_in!("rekindle-connection.js"),
    built_in!("rekindle-cushion.js"),
    built_in!("rekindle-description.js"),
    built_in!("rekindle-encoders.js"),
    built_in!("rekindle-events.js"),
    built_in!("rekindle-join.js"),
    built_in!("rekindle-keeper.js"),
    built_in!("rekindle-line.js"),
    built_in!("rekindle-outage.js"),
    built_in!("rekindle-player.js"),
    built_in!("rekindle-player.d.ts"),
    built_in!("rekindle-session.js"),
    built_in!("rekindle-signalling.js"),
    built_in!("rekindle-statistics.js"),
    built_in!("rekindle-transports.js"),
    built_in!("rekindle-watch.js"),
    built_in!("style.css"),
    built_in!("icon.svg"),
];

/// The built-in files in gzip's form (RFC 1952), in their order, and their entity tags. Nothing
/// secret is in them, so their length may tell what it likes.
static COMPRESSED: LazyLock<Vec<(Bytes, String)>> = LazyLock::new(|| {
    let compress = |asset: &Asset| {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
        // Writing to a Vec cannot fail.
        let _ = encoder.write_all(asset.content);
        let content = encoder.finish().unwrap_or_default();
        let tag = entity_tag(&content);
        (content.into(), tag)
    };
    ASSETS.iter().map(compress).collect()
});

/// Entity tags of the built-in files, in their order.
static TAGS: LazyLock<Vec<String>> = LazyLock::new(|| {
    ASSETS
        .iter()
        .map(|asset| entity_tag(asset.content))
        .collect()
});

/// Longest file that is served from a folder.
const MAX_FILE: u64 = 16 * 1024 * 1024;

/// Where the page comes from.
pub(super) struct Assets {
    /// A folder instead of what is built in.
    folder: Option<PathBuf>,
}

impl Assets {
    pub(super) fn new(folder: Option<PathBuf>) -> Self {
        Self { folder }
    }

    /// A built-in file in gzip's form.
    fn compressed(&self, name: &str) -> Option<(Bytes, String)> {
        let place = ASSETS.iter().position(|asset| asset.name == name)?;
        self.folder.is_none().then(|| COMPRESSED[place].clone())
    }

    async fn find(&self, name: &str) -> Option<(Bytes, String)> {
        let Some(folder) = &self.folder else {
            let place = ASSETS.iter().position(|asset| asset.name == name)?;
            return Some((
                Bytes::from_static(ASSETS[place].content),
                TAGS[place].clone(),
            ));
        };
        let path = folder.join(name);
        let content = tokio::task::spawn_blocking(move || {
            let meta = std::fs::metadata(&path).ok()?;
            (meta.is_file() && meta.len() <= MAX_FILE)
                .then(|| std::fs::read(&path).ok())
                .flatten()
        });
        let content = Bytes::from(content.await.ok()??);
        let tag = entity_tag(&content);
        Some((content, tag))
    }
}

/// Everything that no other route serves.
pub(super) async fn serve(
    State(app): State<Arc<App>>,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
) -> Response {
    let name = match uri.path() {
        "/" => "index.html",
        path => path.trim_start_matches('/'),
    };
    let compressed = takes_gzip(&headers)
        .then(|| app.assets.compressed(name))
        .flatten();
    let is_compressed = compressed.is_some();
    let found = match compressed {
        None if is_name(name) => app.assets.find(name).await,
        compressed => compressed,
    };
    let Some((content, tag)) = found else {
        return Problem::not_found().into_response();
    };
    if method != Method::GET && method != Method::HEAD {
        return status::other_method().await.into_response();
    }
    let unchanged = headers
        .get_all(header::IF_NONE_MATCH)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .any(|value| {
            value
                .split(',')
                .any(|known| known.trim() == tag || known.trim() == "*")
        });
    let mut response = if unchanged {
        StatusCode::NOT_MODIFIED.into_response()
    } else {
        content.into_response()
    };
    let headers = response.headers_mut();
    headers.insert(
        header::CONTENT_TYPE,
        HeaderValue::from_static(content_type(name)),
    );
    headers.insert(header::VARY, HeaderValue::from_static("accept-encoding"));
    if is_compressed {
        headers.insert(header::CONTENT_ENCODING, HeaderValue::from_static("gzip"));
    }
    // Kept, but asked for again each time: a page and a server of different versions must not meet.
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    if let Ok(tag) = HeaderValue::from_str(&tag) {
        headers.insert(header::ETAG, tag);
    }
    response
}

/// Whether the client takes gzip (RFC 9110 §12.5.3).
fn takes_gzip(headers: &HeaderMap) -> bool {
    let values = headers.get_all(header::ACCEPT_ENCODING).iter();
    let mut codings = values
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','));
    codings.any(|coding| {
        let mut parts = coding.split(';').map(str::trim);
        let is_gzip = parts
            .next()
            .is_some_and(|name| name.eq_ignore_ascii_case("gzip"));
        let weight = parts
            .find_map(|part| part.strip_prefix("q="))
            .unwrap_or("1");
        is_gzip && weight.parse::<f32>().is_ok_and(|weight| weight > 0.0)
    })
}

/// A plain file name: no folder, nothing hidden, nothing encoded.
fn is_name(name: &str) -> bool {
    !name.starts_with('.')
        && name
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b))
}

fn content_type(name: &str) -> &'static str {
    match name.rsplit_once('.').map(|(_, extension)| extension) {
        Some("html") => "text/html; charset=utf-8",
        Some("js" | "mjs") => "text/javascript; charset=utf-8",
        Some("css") => "text/css; charset=utf-8",
        // What is registered for this ending is a video format; editors and tsc go by the name.
        Some("ts") => "text/plain; charset=utf-8",
        Some("json" | "map") => "application/json",
        Some("svg") => "image/svg+xml",
        Some("png") => "image/png",
        Some("ico") => "image/x-icon",
        Some("txt") => "text/plain; charset=utf-8",
        _ => "application/octet-stream",
    }
}

/// A strong entity tag (RFC 9110 §8.8.3): the start of a hash of the content.
fn entity_tag(content: &[u8]) -> String {
    use std::fmt::Write as _;
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, content);
    let mut tag = String::from("\"");
    for byte in &digest.as_ref()[..8] {
        // Writing to a String cannot fail.
        let _ = write!(tag, "{byte:02x}");
    }
    tag.push('"');
    tag
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_page_is_built_in() {
        let (content, tag) = Assets::new(None)
            .find("index.html")
            .await
            .expect("the page");
        assert!(!content.is_empty());
        assert_eq!(tag, entity_tag(&content));
        assert!(Assets::new(None).find("nothing.js").await.is_none());
    }

    #[tokio::test]
    async fn a_folder_takes_the_place_of_what_is_built_in() {
        let folder = tempfile::tempdir().expect("temporary folder");
        std::fs::write(folder.path().join("a.js"), "let a").expect("written");
        std::fs::create_dir(folder.path().join("sub.js")).expect("made");
        let assets = Assets::new(Some(folder.path().to_owned()));
        assert_eq!(assets.find("a.js").await.expect("the file").0, "let a");
        assert!(assets.find("sub.js").await.is_none());
        assert!(assets.find("index.html").await.is_none());
    }

    #[test]
    fn gzip_is_for_those_who_take_it_and_gives_the_same_file() {
        use std::io::Read as _;
        let takes = |value: &'static str| {
            takes_gzip(&HeaderMap::from_iter([(
                header::ACCEPT_ENCODING,
                HeaderValue::from_static(value),
            )]))
        };
        assert!(takes("gzip, deflate, br, zstd") && takes("br;q=1.0, GZIP;q=0.5"));
        assert!(
            !takes("br")
                && !takes("gzip;q=0")
                && !takes("")
                && !takes("xgzip")
                && !takes_gzip(&HeaderMap::new())
        );
        let assets = Assets::new(None);
        for asset in ASSETS {
            let (content, tag) = assets.compressed(asset.name).expect("built in");
            let mut plain = Vec::new();
            flate2::read::GzDecoder::new(&content[..])
                .read_to_end(&mut plain)
                .expect("gzip");
            assert_eq!(plain, asset.content, "{}", asset.name);
            assert!(content.len() < asset.content.len() && tag != entity_tag(asset.content));
        }
        assert!(assets.compressed("nothing.js").is_none());
        assert!(
            Assets::new(Some("elsewhere".into()))
                .compressed("index.html")
                .is_none()
        );
    }

    #[test]
    fn no_name_leads_out_of_the_folder() {
        for bad in ["..", "../x", ".hidden", "a/b", "a%2fb", "a\\b", "a\0"] {
            assert!(!is_name(bad), "{bad}");
        }
        assert!(is_name("rekindle.js"));
    }
}
