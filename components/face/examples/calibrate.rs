//! Measures between which numbers FaceNet's tensors lie and writes the table that its integer twin is made with:
//! `cargo xtask calibrate`.

#[path = "../tests/support/mod.rs"]
mod support;

const TABLE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../models/src/convert/facenet/ranges.txt");

const HEAD: &str = "\
# Least and greatest value of each tensor of FaceNet's InceptionResnetV1 on the faces of the sample photographs, in three
# margins, mirrored and not, in six lights. Written by `cargo xtask calibrate`.
";

fn main() {
    let ranges = support::calibration::measure(1);
    std::fs::write(TABLE, format!("{HEAD}{ranges}")).unwrap_or_else(|error| panic!("{TABLE}: {error}"));
    println!("{} ranges are in {TABLE}", ranges.names().count());
}
