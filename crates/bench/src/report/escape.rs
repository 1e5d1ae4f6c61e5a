//! Text as a page of HTML has it.

/// The text, with nothing in it that HTML could take for its own.
pub(crate) fn escape(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
        .replace('"', "&quot;")
}
