use super::counts::Cut;
use crate::call::Priority::{self, Background, Critical, High, Low, Normal};

fn shares(p: f64, mix: [u64; 5], cap: f64) -> [f64; 5] {
    let cut = Cut::new(p, mix, cap);
    Priority::ALL.map(|priority| (cut.chance(priority, cap) * 1e3).round() / 1e3)
}

#[test]
fn the_least_important_are_held_back_first_and_no_more_than_need_be() {
    // 8 more of `Normal` are taken for granted.
    let even = [100, 100, 92, 100, 100];
    assert_eq!(shares(0.1, even, 1.0), [0.0, 0.0, 0.0, 0.0, 0.5]);
    assert_eq!(shares(0.3, even, 1.0), [0.0, 0.0, 0.0, 0.5, 1.0]);
    assert_eq!(shares(0.9, even, 1.0), [0.5, 1.0, 1.0, 1.0, 1.0]);
    assert_eq!(shares(1.0, even, 1.0), [1.0; 5]);
    // A cap holds for each.
    assert_eq!(shares(0.3, even, 0.5), [0.0, 0.0, 0.5, 0.5, 0.5]);
    assert_eq!(shares(0.5, even, 0.5), [0.5; 5]);
    // Where there is one priority only, it bears all of it.
    assert_eq!(shares(0.4, [0, 0, 992, 0, 0], 1.0)[Normal as usize], 0.4);
    assert_eq!(shares(0.4, [0, 0, 0, 0, 0], 1.0)[Critical as usize], 0.0);
    assert_eq!([Critical, High, Normal, Low, Background], Priority::ALL);
}
