//! The page and its module.

use std::io::Write as _;
use std::path::PathBuf;
use std::sync::LazyLock;

use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;

use crate::ids::hex;

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
    built_in!("page-channels.js"),
    built_in!("page-controls.js"),
    built_in!("page-demo.js"),
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
    built_in!("rekindle-feed.js"),
    built_in!("rekindle-hub.js"),
    built_in!("rekindle-join.js"),
    built_in!("rekindle-keeper.js"),
    built_in!("rekindle-line.js"),
    built_in!("rekindle-nodes.js"),
    built_in!("rekindle-parking.js"),
    built_in!("rekindle-outage.js"),
    built_in!("rekindle-player.js"),
    built_in!("rekindle-player.d.ts"),
    built_in!("rekindle-search.js"),
    built_in!("rekindle-session.js"),
    built_in!("rekindle-signalling.js"),
    built_in!("rekindle-statistics.js"),
    built_in!("rekindle-time.js"),
    built_in!("rekindle-transports.js"),
    built_in!("rekindle-watch.js"),
    built_in!("style.css"),
    built_in!("icon.svg"),
];

/// The built-in files compressed (gzip, RFC 1952), in their order, and their entity tags. They
/// contain no secret, so their length may be known.
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

/// The source of the page.
pub(super) struct Assets {
    /// A folder that replaces the built-in files.
    folder: Option<PathBuf>,
}

impl Assets {
    pub(super) fn new(folder: Option<PathBuf>) -> Self {
        Self { folder }
    }

    /// A built-in file, compressed.
    pub(super) fn compressed(&self, name: &str) -> Option<(Bytes, String)> {
        let place = ASSETS.iter().position(|asset| asset.name == name)?;
        self.folder.is_none().then(|| COMPRESSED[place].clone())
    }

    /// A file by its name, and its entity tag.
    pub(super) async fn find(&self, name: &str) -> Option<(Bytes, String)> {
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

/// A strong entity tag (RFC 9110 §8.8.3): the start of a hash of the content.
fn entity_tag(content: &[u8]) -> String {
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, content);
    format!("\"{}\"", hex::encode(&digest.as_ref()[..8]))
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
    fn gzip_gives_the_same_file() {
        use std::io::Read as _;
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
}
