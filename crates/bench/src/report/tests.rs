use super::*;

#[test]
fn the_command_is_told_without_files_and_secrets() {
    let words = [
        "/x/rekindle-bench",
        "--server=/x/rekindle",
        "resume",
        "--json",
        "a b",
        "--viewers=1",
        "--token=t",
        "--rtt",
        "50",
    ];
    assert_eq!(
        command(words.map(ToOwned::to_owned).into_iter()),
        "rekindle-bench resume --viewers=1 --rtt 50"
    );
}
