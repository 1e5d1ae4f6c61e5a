use super::*;

#[test]
fn nothing_from_the_disk_reaches_the_terminal_raw() {
    assert_eq!(safe("a\u{1b}[31mb\n\u{9b}"), "a\\u{1b}[31mb\\n\\u{9b}");
    // A name that would be displayed as another one.
    assert_eq!(safe("peers\u{202e}ega.x"), "peers\\u{202e}ega.x");
    assert_eq!(safe("Gerät"), "Gerät");
}

#[test]
fn numbers_are_grouped_and_indices_left_out() {
    assert_eq!(
        [0, 999, 1_000, 1_234_567].map(grouped),
        ["0", "999", "1,000", "1,234,567"]
    );
    assert_eq!(without_index("offer[12] a=ice-pwd"), "offer a=ice-pwd");
    assert_eq!(
        without_index("sessions[3] sent[12] ssrc"),
        "sessions sent ssrc"
    );
    assert_eq!(without_index("ice.pwd"), "ice.pwd");
    assert_eq!(without_index("]a[b"), "]a[b");
}
