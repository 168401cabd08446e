//! The table of ranges in the repository is what the sample photographs yield.

mod support;

use visavis_models::convert::Ranges;

/// Another processor rounds otherwise: each end may move by a hundredth of its range.
#[test]
fn the_ranges_are_those_of_the_sample_photographs() {
    let (measured, shipped) = (support::calibration::measure(), Ranges::shipped().unwrap());
    assert_eq!(measured.names().collect::<Vec<_>>(), shipped.names().collect::<Vec<_>>());
    for name in shipped.names() {
        let ([least, greatest], found) = (shipped.of(name).unwrap(), measured.of(name).unwrap());
        let most = 0.01 * (greatest - least);
        let fits = (found[0] - least).abs() <= most && (found[1] - greatest).abs() <= most;
        assert!(fits, "{name}: {found:?} instead of {:?}; run `cargo xtask calibrate`", [least, greatest]);
    }
}
