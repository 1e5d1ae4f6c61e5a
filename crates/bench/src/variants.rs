//! Several servers, or clients that offer different things, which take turns in one run.

use super::program::Program;
use super::report::Variant;
use super::{DtlsVersions, Settings};

/// All that a run has: each of its servers with each of its kinds of clients, and the settings of
/// the run with them alone. One that is alone needs no name.
pub(super) fn of(settings: &Settings, programs: &[Program]) -> Vec<(Option<Variant>, Settings)> {
    let mut all = Vec::new();
    for (server, path) in settings.servers.iter().enumerate() {
        for dtls in &settings.dtls {
            let name = name(settings, programs, server, *dtls);
            let variant = name.map(|name| Variant {
                place: all.len(),
                name,
            });
            let own = Settings {
                servers: vec![path.clone()],
                dtls: vec![*dtls],
                ..settings.clone()
            };
            all.push((variant, own));
        }
    }
    all
}

fn name(
    settings: &Settings,
    programs: &[Program],
    server: usize,
    dtls: DtlsVersions,
) -> Option<String> {
    let mut parts = Vec::new();
    if settings.servers.len() > 1 {
        let library = programs.get(server).map_or("", Program::library);
        let same = programs.iter().filter(|other| other.library() == library);
        parts.push(match same.count() {
            1 if !library.is_empty() => library.to_owned(),
            _ => format!("server {}", server + 1),
        });
    }
    if settings.dtls.len() > 1 {
        parts.push(dtls.name().to_owned());
    }
    (!parts.is_empty()).then(|| parts.join(", "))
}
