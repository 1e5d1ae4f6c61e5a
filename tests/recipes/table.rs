//! Which test runs which block of the book, and which of its files.

use std::collections::BTreeSet;
use std::path::Path;

use super::chapters::{Block, blocks, documents, files, read};

/// What becomes of a block.
enum By {
    /// This test takes it out of the book and runs it, or holds it against what the program says.
    Run(&'static str, &'static str),
    /// The same is done in this file, where these words stand.
    Done(&'static str, &'static str),
    /// It is a drawing, and nobody runs it.
    Drawn,
    /// All or some of it is run by no test: the book says why, beside it.
    Not(&'static str),
}

use By::{Done, Drawn, Not, Run};

const SERVING: &str = "tests/recipes/serving.rs";
const SECURITY: &str = "tests/recipes/security.rs";
const UNITS: &str = "tests/recipes/units.rs";
const CARGO: By = Run("tests/recipes/cargo.rs", "cargo_is_given_names_that_exist");
const BENCH: By = Run(
    "crates/bench/src/args.rs",
    "the_book_names_options_that_there_are",
);
const TOKENS: &str = "tests/rights/book.rs";
const ETCD: &str = "tests/etcd_recipes.rs";
const PAGES: &str = "tests/browser/book.test.js";
const ELEMENT: By = Run(PAGES, "the element of the book");
const EXAMPLE: By = Run(
    "tests/vault_example.rs",
    "the_document_shows_what_the_auditor_says_of_the_example",
);
const KEPT: By = Run(
    "tests/vault_example.rs",
    "the_document_shows_what_the_auditor_says_of_the_full_state_example",
);
const MEASURED: By =
    Not("A measurement is no test: the tests hold only that there are these options.");

/// By document and the block's first line.
#[rustfmt::skip] // A row is a line.
const BLOCKS: &[(&str, &str, &[By])] = &[
    ("README.md", "$ cargo run --release -- demo", &[Run(SERVING, "the_demonstration_is_one_command")]),
    ("README.md", "<script type=\"module\" src=", &[ELEMENT]),
    ("CONTRIBUTING.md", "$ cargo run --release  ", &[CARGO, Done("test.sh", "cargo nextest run --workspace")]),
    ("SECURITY.md", "$ cargo build --release && PATH=", &[Run(SECURITY, "ten_minutes_of_a_reviewer")]),
    ("SECURITY.md", "$ age -d -i", &[Run(SECURITY, "ten_minutes_of_a_reviewer")]),
    ("SECURITY.md", "$ cp -r threat-model/example-full-state", &[Run(SECURITY, "ten_minutes_of_a_reviewer")]),
    ("SECURITY.md", "$ cargo test --all-features --test protocol_attacks", &[CARGO, Done("test.sh", "--test full_state_kills")]),
    ("docs/ARCHITECTURE.md", "   src/cli ", &[Drawn]),
    ("docs/admin.md", "$ rekindle serve --admin 9189", &[Run(SERVING, "operators_ask_the_admin_listener_as_the_book_does")]),
    ("docs/admin.md", "{\"timestamp\"", &[Run(SERVING, "the_line_about_a_restart_is_the_one_that_the_book_shows")]),
    ("docs/dtls.md", "$ cargo build --release && mkdir", &[CARGO, BENCH, MEASURED]),
    ("docs/etcd.md", "$ apt install protobuf-compiler", &[CARGO, Done("test.sh", "apt protoc protobuf-compiler"), Run(ETCD, "a_node_begins_with_a_user_of_its_own")]),
    ("docs/etcd.md", "$ etcdctl role add rekindle", &[Run(ETCD, "a_node_begins_with_a_user_of_its_own")]),
    ("docs/etcd.md", "$ rekindle drain --admin 9189", &[Run(ETCD, "a_node_is_drained_and_says_how_far_it_is")]),
    ("docs/etcd.md", "$ rekindle export", &[Run(ETCD, "a_vault_in_etcd_is_looked_at")]),
    ("docs/how-it-works.md", " publisher's browser ", &[Drawn]),
    ("docs/https.md", "$ rekindle serve --http 0.0.0.0:443 --tls-cert", &[Run(SERVING, "https_begins_with_two_files_and_takes_what_certbots_hook_hands_it")]),
    ("docs/https.md", "$ rekindle serve --http 0.0.0.0:443 --acme", &[Run(SERVING, "a_server_that_gets_its_certificate_itself_starts_and_waits_for_no_authority")]),
    ("docs/https.md", "# cat /etc/letsencrypt", &[Run(SERVING, "https_begins_with_two_files_and_takes_what_certbots_hook_hands_it")]),
    ("docs/metrics.md", "scrape_configs:", &[Run(SERVING, "prometheus_takes_the_configuration_of_the_book")]),
    ("docs/pages.md", "<script type=\"module\" src=", &[ELEMENT]),
    ("docs/pages.md", "import { publish, watch }", &[Run(PAGES, "the module as the book uses it")]),
    ("docs/performance.md", "$ cargo build --release --workspace", &[CARGO, BENCH, MEASURED]),
    ("docs/performance.md", "$ cd crates/bench/references; cargo build", &[BENCH, MEASURED]),
    ("docs/performance.md", "$ cd crates/bench/references; mkdir", &[Not("No test runs it, since CI has no Go")]),
    ("docs/publishing.md", "$ ffmpeg -re", &[Run("tests/clients/quick.test.js", "the command for FFmpeg in docs/publishing.md")]),
    ("docs/publishing.md", "$ until ffmpeg", &[Run("tests/clients/quick.test.js", "the loop around FFmpeg in docs/publishing.md")]),
    ("docs/restart-cost.md", "$ cargo build --release --workspace", &[CARGO, BENCH, MEASURED]),
    ("docs/running.md", "$ rekindle keygen", &[Run(SERVING, "a_server_for_others_has_a_key_file_and_a_token_and_says_where_it_is_reached")]),
    ("docs/tcp.md", "$ rekindle serve", &[Run(SERVING, "media_over_tcp_has_a_candidate_at_the_same_number")]),
    ("docs/tokens.md", "$ rekindle token publish live/stage", &[Run(TOKENS, "tokens_are_made_and_a_server_takes_them")]),
    ("docs/tokens.md", "4f1a...c0 publish", &[Run(TOKENS, "lines_of_the_file_say_what_the_book_says")]),
    ("docs/tokens.md", "$ rekindle token publish 'live/*'", &[Run(TOKENS, "a_jwt_is_made_and_a_server_takes_it")]),
    ("docs/tokens.md", "{\"keys\"", &[Run(TOKENS, "keys_and_claims_are_as_the_book_shows_them")]),
    ("docs/tokens.md", "{\"exp\"", &[Run(TOKENS, "keys_and_claims_are_as_the_book_shows_them")]),
    ("docs/tokens.md", "$ rekindle serve --auth-url", &[Run(TOKENS, "a_service_is_asked_what_the_book_shows")]),
    ("docs/tokens.md", "{\"use\"", &[Run(TOKENS, "a_service_is_asked_what_the_book_shows")]),
    ("docs/tokens.md", "$ rekindle serve --events-url", &[Run(TOKENS, "a_service_is_told_what_the_book_shows")]),
    ("docs/tokens.md", "{\"sequence\"", &[Run(TOKENS, "a_service_is_told_what_the_book_shows")]),
    ("packaging/container/README.md", "$ buildah bud", &[Done("packaging/container/try.sh", "bud -f packaging/container/Containerfile -t rekindle"), Not("podman itself was not run")]),
    ("packaging/deb/README.md", "$ cargo install --locked cargo-deb", &[Done("test.sh", "cargo_tool cargo-deb cargo-deb"), Done("tests/browser/debian.test.js", "packaging/deb/build.sh")]),
    ("packaging/deb/README.md", "# apt install mmdebstrap", &[Done("test.sh", "tests/clients/own-network.sh node --test tests/browser/debian.test.js")]),
    ("packaging/npm/README.md", "$ npm ci && npm run build", &[Done("tests/browser/package.json", "run --silent build"), Done("tests/browser/package.test.js", "what is packed is what is built")]),
    ("packaging/npm/README.md", "<rekindle-player src=", &[ELEMENT]),
    ("packaging/npm/README.md", "const iceServers", &[Run(PAGES, "the servers for TURN in packaging/npm/README.md")]),
    ("packaging/proxies/README.md", "$ rekindle serve", &[Run(SERVING, "behind_a_proxy_everybody_comes_from_loopback_and_needs_the_token")]),
    ("packaging/systemd/README.md", "# install -m 755", &[Run("tests/browser/systemd.test.js", "the commands of the README leave a service")]),
    ("packaging/systemd/README.md", "[Socket]", &[Run(UNITS, "systemd_finds_no_fault")]),
    ("packaging/systemd/README.md", "[Service]\nLoadCredential", &[Run(UNITS, "systemd_finds_no_fault")]),
    ("packaging/systemd/README.md", "# rekindle drain", &[Not("No test runs these two commands on a machine with systemd")]),
    ("packaging/systemd/README.md", "[Service]\nExecStop", &[Run(UNITS, "systemd_finds_no_fault")]),
    ("packaging/systemd/README.md", "$ systemd-analyze verify", &[Run(UNITS, "systemd_rates_the_service_as_the_book_says")]),
    ("threat-model/README.md", "        internet", &[Drawn]),
    ("threat-model/persisted-format.md", "offset  length  class              field\n     0       8  public             magic                             rekindle\n     8       1  public             schema                            2\n     9       1  public             kind                              2\n", &[EXAMPLE]),
    ("threat-model/persisted-format.md", "offset  length  class              field\n     0       8  public             magic                             rekindle\n     8       1  public             schema                            2\n     9       1  public             kind                              1\n", &[EXAMPLE]),
    ("threat-model/persisted-format.md", "import hmac, subprocess", &[Run(SECURITY, "a_mac_is_what_pythons_standard_library_says")]),
    ("threat-model/persisted-format.md", "offset  length  class              field\n     0       8  public             magic                             rekindle\n     8       1  public             schema                            2\n     9       1  public             kind                              131\n", &[KEPT]),
    ("threat-model/persisted-format.md", "offset  length  class              field\n     0       8  public             magic                             rekindle\n     8       1  public             schema                            2\n     9       1  public             kind                              132\n", &[KEPT]),
    ("threat-model/process.md", "$ grep -E 'NoNewPrivs", &[Run(SECURITY, "the_process_is_looked_at_from_outside"), CARGO]),
];

/// Files that the book hands to its readers.
#[rustfmt::skip]
const FILES: &[(&str, By)] = &[
    ("examples/player.html", Done("tests/browser/player.test.js", "\"examples\", name")),
    ("examples/publish.html", Done("tests/browser/player.test.js", "publish.html")),
    ("examples/react.jsx", Done("tests/browser/player.test.js", "react.jsx")),
    ("packaging/container/Containerfile", Done("packaging/container/try.sh", "packaging/container/Containerfile")),
    ("packaging/deb/changelog", Done("Cargo.toml", "packaging/deb/changelog")),
    ("packaging/deb/copyright", Done("Cargo.toml", "packaging/deb/copyright")),
    ("packaging/deb/rekindle.toml", Done("src/cli/file.rs", "packaging/deb/rekindle.toml")),
    ("packaging/deb/service.conf", Done("Cargo.toml", "packaging/deb/service.conf")),
    ("packaging/deb/sysusers.conf", Done("Cargo.toml", "packaging/deb/sysusers.conf")),
    ("packaging/monitoring/alerts-test.yml", Done("tests/http_metrics.rs", "alerts-test.yml")),
    ("packaging/monitoring/alerts.yml", Done("tests/http_metrics.rs", "alerts.yml")),
    ("packaging/monitoring/dashboard.json", Done("tests/http_metrics.rs", "dashboard.json")),
    ("packaging/proxies/Caddyfile", Done("tests/browser/proxies.test.js", "Caddyfile")),
    ("packaging/proxies/haproxy.cfg", Done("tests/browser/proxies.test.js", "haproxy.cfg")),
    ("packaging/proxies/nginx.conf", Done("tests/browser/proxies.test.js", "nginx.conf")),
    ("packaging/systemd/rekindle-ice-tcp.socket", Run(UNITS, "systemd_finds_no_fault")),
    ("packaging/systemd/rekindle-media.socket", Run(UNITS, "systemd_finds_no_fault")),
    ("packaging/systemd/rekindle.service", Run(UNITS, "systemd_finds_no_fault")),
    ("packaging/systemd/rekindle.socket", Run(UNITS, "systemd_finds_no_fault")),
];

/// What stands around a block: the paragraphs before and behind it, as one line.
fn beside(document: &str, block: &Block) -> String {
    let text = read(document);
    let end = block.line + block.text.lines().count() + 1;
    let near = text.lines().skip(block.line.saturating_sub(8));
    near.take(end + 7 - block.line.saturating_sub(8))
        .collect::<Vec<_>>()
        .join(" ")
}

/// What is wrong with what a row says, if something is.
fn fault(by: &By, document: &str, beside: &str) -> Option<String> {
    match by {
        Drawn => None,
        Not(sentence) => (!beside.contains(sentence))
            .then(|| format!("the book does not say beside it: {sentence:?}")),
        Done(file, words) => {
            (!read(file).contains(words)).then(|| format!("{file} does not have {words:?}"))
        }
        Run(file, test) => {
            let text = read(file);
            let name = Path::new(document).file_name().expect("a name");
            let name = name.to_string_lossy();
            // There are many of that name.
            let reads = text.contains(document)
                || (name != "README.md" && text.contains(&*name))
                || text.contains("documents()")
                || text.contains("\"../../docs\"");
            match text.contains(test) {
                true => (!reads).then(|| format!("{file} does not read {document}")),
                false => Some(format!("{file} has no {test:?}")),
            }
        }
    }
}

#[test]
fn every_block_is_run_by_a_test_or_says_that_it_is_not() {
    let mut wrong = Vec::new();
    let mut used = BTreeSet::new();
    for document in documents() {
        let document = document.to_str().expect("text");
        for block in blocks(document) {
            let place = format!("{document}:{}: {}", block.line, block.first_line());
            let rows = BLOCKS.iter().enumerate();
            let mut rows =
                rows.filter(|(_, (of, start, _))| *of == document && block.text.starts_with(start));
            let (Some((at, (_, _, by))), None) = (rows.next(), rows.next()) else {
                wrong.push(format!("{place}: not in the table once"));
                continue;
            };
            if !used.insert(at) {
                wrong.push(format!("{place}: its row is another block's"));
            }
            let beside = beside(document, &block);
            let faults = by.iter().filter_map(|by| fault(by, document, &beside));
            wrong.extend(faults.map(|fault| format!("{place}: {fault}")));
            assert!(!by.is_empty(), "{place}");
        }
    }
    let unused = BLOCKS
        .iter()
        .enumerate()
        .filter(|(at, _)| !used.contains(at));
    wrong.extend(unused.map(|(_, (document, start, _))| format!("{document}: no block {start:?}")));
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn every_file_that_is_handed_out_is_used_by_a_test() {
    let mut found: BTreeSet<String> = ["examples", "packaging"]
        .iter()
        .flat_map(|folder| files(folder, ""))
        .map(|path| path.display().to_string())
        .collect();
    // Programs and documents, and the package for npm, are other tests'.
    found.retain(|path| {
        ![".md", ".sh", ".js"].iter().any(|end| path.ends_with(end))
            && !path.starts_with("packaging/npm/")
            && !path.starts_with("packaging/deb/scripts/")
    });
    let named: BTreeSet<String> = FILES.iter().map(|(path, _)| (*path).to_owned()).collect();
    assert_eq!(found, named);
    let faults = FILES.iter().filter_map(|(path, by)| {
        let folder = Path::new(path).parent()?.to_str()?;
        fault(by, folder, "").map(|fault| format!("{path}: {fault}"))
    });
    let faults: Vec<_> = faults.collect();
    assert!(faults.is_empty(), "{faults:#?}");
}
