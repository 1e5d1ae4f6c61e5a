use super::*;

#[test]
fn what_comes_from_outside_is_text() {
    assert_eq!(
        escape("<a href=\"x\">&"),
        "&lt;a href=&quot;x&quot;&gt;&amp;"
    );
}
