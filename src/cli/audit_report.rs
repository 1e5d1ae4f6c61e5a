//! An audit's report, for people and for programs.

use std::collections::BTreeMap;
use std::io::{self, Write};

use crate::vault::audit::{
    Class, Content, FileReport, Finding, Lock, MacVerdict, Place, Report, Verdict,
};
use crate::vault::rfc3339;

mod text;

pub(super) use text::safe;

use text::{Paint, count, grouped, is_format, without_index};

/// Most files that are named where several have the same finding.
const MOST_NAMES: usize = 3;

/// Writes the report as JSON, with a line end.
///
/// # Errors
/// The errors of `out`.
pub fn write_json(report: &Report, out: &mut dyn Write) -> io::Result<()> {
    serde_json::to_writer_pretty(&mut *out, report)?;
    writeln!(out)
}

/// Writes the report for people; `detail`: every field of every file, which a single file gets in
/// any case; `colour` adds ANSI escape sequences.
///
/// # Errors
/// The errors of `out`.
pub fn write_human(
    report: &Report,
    detail: bool,
    colour: bool,
    out: &mut dyn Write,
) -> io::Result<()> {
    let paint = Paint(colour);
    writeln!(
        out,
        "{}  {}",
        paint.bold("rekindle audit"),
        safe(&report.target)
    )?;
    if let Some(vault) = &report.vault {
        let lock = match vault.lock {
            Lock::Held => "in use",
            Lock::Free => "not in use",
            Lock::Unknown => "no lock",
        };
        let boot = vault
            .boot
            .map_or(String::new(), |boot| format!("boot {boot}, "));
        let owner = report
            .files
            .iter()
            .find(|file| file.path == ".")
            .map(|file| file.owner);
        let owner = owner.map_or(String::new(), |owner| format!(", of user {owner}"));
        writeln!(
            out,
            "{boot}{}, {lock}{owner}",
            count(vault.peers as u64, "peer")
        )?;
        for (index, recipient) in vault.recipients.iter().enumerate() {
            let which = if index == 0 {
                "current key"
            } else {
                "old key    "
            };
            writeln!(
                out,
                "{which}  {}  {}",
                recipient.recipient,
                count(recipient.files as u64, "file")
            )?;
        }
    }
    if !report.with_key && report.files.iter().any(|f| f.age.is_some()) {
        writeln!(
            out,
            "{}",
            paint.dim("No key file was given: only what the files show from outside.")
        )?;
    }
    writeln!(out)?;
    let detail = detail || report.vault.is_none();
    for file in &report.files {
        write_file(file, &paint, detail, out)?;
    }
    if !detail {
        writeln!(out)?;
    }
    if report.files.iter().any(|f| f.content.is_some()) {
        if !detail {
            write_fields(report, &paint, out)?;
        }
        write_totals(report, &paint, out)?;
    }
    write_findings(report, &paint, out)
}

fn write_file(
    file: &FileReport,
    paint: &Paint,
    detail: bool,
    out: &mut dyn Write,
) -> io::Result<()> {
    let path = match file.place {
        Place::Folder if file.path != "." => format!("{}/", safe(&file.path)),
        _ => safe(&file.path),
    };
    let size = if file.place == Place::Folder {
        String::new()
    } else {
        format!("{} bytes", grouped(file.size))
    };
    write!(
        out,
        "{:<4} {}  {size:>14}",
        file.mode,
        paint.bold(&format!("{path:<44}"))
    )?;
    if let Some(content) = &file.content {
        let mac = match content.mac {
            MacVerdict::Right => "MAC right".to_owned(),
            MacVerdict::Wrong => paint.with("1;31", "MAC WRONG"),
            MacVerdict::Unchecked => "MAC unchecked".to_owned(),
        };
        let boot = content
            .boot
            .map_or(String::new(), |boot| format!("boot {boot}  "));
        let time = content
            .written_at
            .map_or(String::new(), |t| format!("{}  ", rfc3339(t)));
        write!(out, "  {boot}{time}{mac}")?;
    } else if let Some(age) = &file.age {
        let stanzas: Vec<_> = age
            .stanzas
            .iter()
            .map(|s| {
                if s.kind.ends_with("-grease") {
                    "filler".into()
                } else {
                    safe(&s.kind)
                }
            })
            .collect();
        write!(
            out,
            "  age {}, {}, plaintext of {} bytes",
            age.version,
            stanzas.join(" + "),
            grouped(age.plaintext_bytes as u64)
        )?;
    }
    writeln!(out)?;
    match &file.content {
        Some(content) if detail => write_items(file, content, paint, out),
        _ => Ok(()),
    }
}

fn write_items(
    file: &FileReport,
    content: &Content,
    paint: &Paint,
    out: &mut dyn Write,
) -> io::Result<()> {
    if let Some(age) = &file.age {
        let filler = age
            .stanzas
            .iter()
            .filter(|s| s.kind != "X25519")
            .map(|s| s.bytes)
            .sum::<usize>();
        let line = format!(
            "     around it: header {} (filler {filler}), nonce {}, tags {} bytes; plaintext {} \
             bytes:",
            age.header_bytes, age.nonce_bytes, age.tag_bytes, age.plaintext_bytes
        );
        writeln!(out, "{}", paint.dim(&line))?;
    }
    if let Some(opened_by) = &content.opened_by {
        writeln!(
            out,
            "{}",
            paint.dim(&format!("     to {}", opened_by.recipient))
        )?;
    }
    writeln!(
        out,
        "{}",
        paint.dim("     offset  length  class              field")
    )?;
    for item in &content.items {
        let class = paint.class(item.class, 17);
        let value = paint.dim(&item.value);
        writeln!(
            out,
            "     {:>6}  {:>6}  {class}  {:<32}  {value}",
            item.offset,
            item.length,
            safe(&item.field)
        )?;
    }
    writeln!(out)
}

/// One line for the same field of all files: a vault may have thousands of peers.
fn write_fields(report: &Report, paint: &Paint, out: &mut dyn Write) -> io::Result<()> {
    let mut fields: BTreeMap<(Class, &str, String), (u64, u64)> = BTreeMap::new();
    for content in report.files.iter().filter_map(|f| f.content.as_ref()) {
        for item in &content.items {
            let kind = content.kind.unwrap_or("?");
            let sum = fields
                .entry((item.class, kind, without_index(&item.field)))
                .or_default();
            *sum = (sum.0 + 1, sum.1 + item.length as u64);
        }
    }
    writeln!(out, "{}", paint.bold("What is persisted"))?;
    for class in Class::ALL.iter().rev() {
        let of_class = fields.iter().filter(|((c, _, _), _)| c == class);
        let (mut structure, mut shown) = ((0, 0), Vec::new());
        for ((_, kind, field), (items, bytes)) in of_class {
            // One line for lengths, tags and the like, which carry no information.
            if *class == Class::Public && is_format(field) {
                structure = (structure.0 + items, structure.1 + bytes);
            } else {
                shown.push((format!("{kind}: {}", safe(field)), *items, *bytes));
            }
        }
        if structure.0 > 0 {
            shown.push(("the format's own".to_owned(), structure.0, structure.1));
        }
        for (field, items, bytes) in shown {
            let (items, bytes) = (
                format!("{}×", grouped(items)),
                format!("{} bytes", grouped(bytes)),
            );
            writeln!(
                out,
                "  {}  {field:<40} {items:>9} {bytes:>16}",
                paint.class(*class, 17)
            )?;
        }
    }
    writeln!(out)
}

fn write_totals(report: &Report, paint: &Paint, out: &mut dyn Write) -> io::Result<()> {
    const WIDTH: u64 = 32;
    let all: u64 = report.totals.values().sum();
    writeln!(out, "{}", paint.bold("Bytes by class"))?;
    for class in Class::ALL.iter().rev() {
        let bytes = report
            .totals
            .get(class.as_str())
            .copied()
            .unwrap_or_default();
        let bar = (bytes * WIDTH).div_ceil(all.max(1));
        let bar = format!(
            "{}{}",
            "█".repeat(bar as usize),
            " ".repeat((WIDTH - bar) as usize)
        );
        writeln!(
            out,
            "  {}  {bar} {:>12}",
            paint.class(*class, 17),
            grouped(bytes)
        )?;
    }
    writeln!(out, "  {:<17}  {:32} {:>12}", "all", "", grouped(all))?;
    writeln!(out)
}

fn write_findings(report: &Report, paint: &Paint, out: &mut dyn Write) -> io::Result<()> {
    let mut list = |title: &str, code: &str, findings: &[Finding]| -> io::Result<()> {
        if !findings.is_empty() {
            writeln!(out, "{}", paint.with(code, title))?;
            // One line for the same field of many files.
            let mut files: BTreeMap<(&str, &str), Vec<&str>> = BTreeMap::new();
            for Finding { code, file, text } in findings {
                files.entry((code, text)).or_default().push(file);
            }
            for ((code, text), files) in files {
                let names: Vec<_> = files.iter().take(MOST_NAMES).map(|f| safe(f)).collect();
                let more = match files.len().saturating_sub(MOST_NAMES) {
                    0 => String::new(),
                    more => format!(" and {more} more"),
                };
                writeln!(
                    out,
                    "  {}{more}: {} {}",
                    names.join(", "),
                    safe(text),
                    paint.dim(&format!("[{code}]"))
                )?;
            }
            writeln!(out)?;
        }
        Ok(())
    };
    list("Notes", "1", &report.notes)?;
    list("Findings", "1;31", &report.findings)?;
    let files = report
        .files
        .iter()
        .filter(|f| f.age.is_some() || f.content.is_some())
        .count() as u64;
    let opened = report.files.iter().filter(|f| f.content.is_some()).count() as u64;
    match report.verdict {
        Verdict::Findings => {
            let findings = count(report.findings.len() as u64, "finding");
            writeln!(
                out,
                "{}",
                paint.with(
                    "1;31",
                    &format!("FINDINGS: {findings} in {}.", count(files, "file"))
                )
            )
        }
        Verdict::Clean if opened == files && opened > 0 => {
            let bytes = grouped(report.totals.values().sum());
            let text = format!(
                "CLEAN: {}, {bytes} bytes, every one accounted for; no session key among them.",
                count(files, "file")
            );
            writeln!(out, "{}", paint.with("1;32", &text))
        }
        Verdict::Clean => {
            let text = format!(
                "CLEAN from outside: {}. What is in them only a key file can tell.",
                count(files, "file")
            );
            writeln!(out, "{}", paint.with("1;32", &text))
        }
    }
}
