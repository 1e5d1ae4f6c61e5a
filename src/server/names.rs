//! Names of channels.

use super::problem::Problem;

/// Longest name of a channel, in bytes.
const MAX_CHANNEL: usize = 64;

/// The channel that the rest of a path names, percent-decoded. Users of encoders type the endpoint
/// by hand, so one slash at the end is not part of the name.
///
/// # Errors
/// A [`Problem`] if it is no valid name: a name has to be safe in a URL, in a log and as a metric's
/// label.
pub(super) fn channel(path: &str) -> Result<&str, Problem> {
    let name = path.strip_suffix('/').unwrap_or(path);
    if name.len() <= MAX_CHANNEL && name.split('/').all(is_part) {
        Ok(name)
    } else {
        Err(Problem::channel_name())
    }
}

/// Nothing empty, and nothing that clients and proxies interpret as a step between folders or hide.
fn is_part(part: &str) -> bool {
    !part.is_empty()
        && !part.starts_with('.')
        && part
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_may_have_parts_and_dots_and_a_slash_behind_it() {
        let longest = "x".repeat(MAX_CHANNEL);
        for name in ["main", "live/one", "cam.1", "a/b.c/d_e-f", "0", &longest] {
            assert_eq!(channel(name).ok(), Some(name));
            assert_eq!(channel(&format!("{name}/")).ok(), Some(name));
        }
    }

    #[test]
    fn no_name_walks_through_folders_or_needs_escaping() {
        let too_long = "x".repeat(MAX_CHANNEL + 1);
        for bad in [
            "", "/", "//", "a//", "/a", "a//b", ".", "..", "a/..", "../a", "a/./b", ".hidden",
            "a b", "a%2fb", "a\\b", "a\"b", "a\nb", "käse", &too_long,
        ] {
            assert!(channel(bad).is_err(), "{bad:?}");
        }
    }
}
