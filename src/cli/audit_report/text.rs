//! Text of the report: colours, and values without anything that a terminal would interpret.

use crate::vault::audit::Class;

/// ANSI colours, if the reader is a terminal.
pub(super) struct Paint(pub bool);

impl Paint {
    pub(super) fn with(&self, code: &str, text: &str) -> String {
        if self.0 {
            format!("\x1b[{code}m{text}\x1b[0m")
        } else {
            text.to_owned()
        }
    }

    pub(super) fn bold(&self, text: &str) -> String {
        self.with("1", text)
    }

    pub(super) fn dim(&self, text: &str) -> String {
        self.with("2", text)
    }

    /// Padded before it is coloured, so that columns stay aligned.
    pub(super) fn class(&self, class: Class, width: usize) -> String {
        let name = match class {
            Class::LongLivedSecret => "long-lived secret",
            Class::Credential => "credential",
            Class::PersonalData => "personal data",
            Class::Public => "public",
            Class::Forbidden => "FORBIDDEN",
            Class::Unaccounted => "UNACCOUNTED",
        };
        let code = match class {
            Class::Public => "2",
            Class::PersonalData => "36",
            Class::Credential => "33",
            Class::LongLivedSecret => "35",
            Class::Forbidden | Class::Unaccounted => "1;31",
        };
        self.with(code, &format!("{name:<width$}"))
    }
}

/// Characters that are invisible and change how their neighbours are displayed: joiners, and those
/// that change the direction of writing.
const INVISIBLE: [char; 18] = [
    '\u{61c}', '\u{200b}', '\u{200c}', '\u{200d}', '\u{200e}', '\u{200f}', '\u{2028}', '\u{2029}',
    '\u{202a}', '\u{202b}', '\u{202c}', '\u{202d}', '\u{202e}', '\u{2066}', '\u{2067}', '\u{2068}',
    '\u{2069}', '\u{feff}',
];

/// Text from the disk, without anything that a terminal would interpret.
pub(in crate::cli) fn safe(text: &str) -> String {
    text.chars()
        .flat_map(|c| {
            if c.is_control() || INVISIBLE.contains(&c) {
                c.escape_default().collect()
            } else {
                vec![c]
            }
        })
        .collect()
}

/// A number in groups of three digits.
pub(super) fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

pub(super) fn count(number: u64, what: &str) -> String {
    format!(
        "{} {what}{}",
        grouped(number),
        if number == 1 { "" } else { "s" }
    )
}

/// Whether a field belongs to the format and not to the content.
pub(super) fn is_format(field: &str) -> bool {
    let whole = ["magic", "schema", "kind", "boot", "mac"];
    whole.contains(&field) || field.ends_with(".length") || field.ends_with(" structure")
}

/// `offer[12] a=ice-pwd` to `offer a=ice-pwd`.
pub(super) fn without_index(field: &str) -> String {
    let mut parts = field.split('[');
    let first = parts.next().unwrap_or_default().to_owned();
    parts.fold(first, |text, part| match part.split_once(']') {
        Some((_, rest)) => text + rest,
        None => text + "[" + part,
    })
}

#[cfg(test)]
mod tests;
