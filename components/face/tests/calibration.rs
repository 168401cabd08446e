//! The table of ranges in the repository is what the sample photographs yield.

mod support;

use visavis_models::convert::Ranges;

/// Of the crops that the table was measured on, every so many: no divisor of how many there are of a face.
const STEP: usize = 7;

/// How much of their ranges this part of the crops must fill on average.
const FILLED: f32 = 0.9;

#[test]
fn the_ranges_are_those_of_the_sample_photographs() {
    let (measured, shipped) = (support::calibration::measure(STEP), Ranges::shipped().unwrap());
    assert_eq!(measured.names().collect::<Vec<_>>(), shipped.names().collect::<Vec<_>>());
    let mut filled = Vec::new();
    for name in shipped.names() {
        let ([least, greatest], found) = (shipped.of(name).unwrap(), measured.of(name).unwrap());
        // Another processor rounds otherwise.
        let more = 0.01 * (greatest - least);
        let fits = found[0] >= least - more && found[1] <= greatest + more;
        assert!(fits, "{name}: {found:?} in {:?}; run `cargo xtask calibrate`", [least, greatest]);
        filled.push((found[1] - found[0]) / (greatest - least));
    }
    let mean = filled.iter().sum::<f32>() / filled.len() as f32;
    println!("{mean:.3} of the ranges are filled");
    assert!(mean >= FILLED, "{mean} of the ranges are filled; run `cargo xtask calibrate`");
}
