//! What goes out together, and that it arrives.

use super::*;

#[test]
fn datagrams_of_one_size_go_together_and_the_last_may_be_shorter() {
    let of = |sizes: &[usize], most| run(sizes.iter().copied(), most);
    assert_eq!(of(&[1200, 1200, 1200], 64), 3);
    assert_eq!(of(&[1200, 1200, 300, 300], 64), 3);
    assert_eq!(of(&[300, 1200], 64), 1);
    assert_eq!(of(&[1200, 1201], 64), 1);
    assert_eq!(of(&[1200; 5], 4), 4);
    assert_eq!(of(&[1200; 5], 1), 1);
    assert_eq!(of(&[40_000, 40_000], 64), 1, "more than the kernel takes");
    assert_eq!(of(&[0, 0], 64), 2);
}
