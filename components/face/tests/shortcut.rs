//! The product searches a small copy of a photograph. Every face that the full search finds and that is large enough to be
//! the photograph's subject must be found there, too.

mod support;

use face::mtcnn::Detection;
use face::photograph::Photograph;
use face::resize::{self, Region};
use face::rules::geometry::BoundingBox;
use face::search;
use support::networks::Native;
use support::{MAX_SIDE, PRODUCT, Reference, SETTINGS, photograph};

/// The least height of a face that must be found, in parts of the photograph's shorter side.
const LEAST: f32 = 0.08;

/// Sheets that show all sample photographs side by side, `side` pixels each, so that faces become smaller and smaller.
#[test]
fn no_face_of_a_twelfth_of_the_photograph_is_lost() {
    let names: Vec<_> = Reference::read().images.into_iter().map(|image| image.file).collect();
    let photographs: Vec<_> = names.iter().map(|name| photograph(name)).collect();
    let mut networks = Native::load();
    let mut smallest = f32::INFINITY;
    let mut compared = 0;
    for (columns, rows, side) in
        [(2, 1, 900), (2, 2, 500), (3, 2, 400), (4, 3, 300), (3, 4, 250), (5, 3, 260), (4, 4, 300), (3, 2, 330)]
    {
        for start in (0..photographs.len()).step_by(columns * rows) {
            let shown = photographs.iter().cycle().skip(start).take(columns * rows);
            let sheet = sheet(shown, columns, rows, side);
            let full = search::faces(&sheet, 0, &SETTINGS, &mut networks).unwrap();
            let found = search::faces(&sheet, MAX_SIDE, &PRODUCT, &mut networks).unwrap();
            let least = LEAST * sheet.width().min(sheet.height()) as f32;
            for face in full.iter().filter(|face| face.bounding_box.height() >= least) {
                let share = face.bounding_box.height() / sheet.width().min(sheet.height()) as f32;
                let here = found.iter().any(|it| overlap(it, face) > 0.5);
                assert!(here, "{columns} x {rows} of {side} from {start}: a face of {share:.3} is lost, {face:?}");
                smallest = smallest.min(share);
                compared += 1;
            }
        }
    }
    println!("{compared} faces, the smallest of {smallest:.3}");
    // Else the sheets show nothing that is hard to find.
    assert!(compared > 50 && smallest < 0.085, "{compared} faces, the smallest of {smallest}");
}

fn sheet<'a>(shown: impl Iterator<Item = &'a Photograph>, columns: usize, rows: usize, side: usize) -> Photograph {
    let width = columns * side;
    let mut pixels = vec![96; 3 * width * rows * side];
    for (place, photograph) in shown.enumerate() {
        let longer = photograph.longer_side();
        let scaled = |pixels: usize| (pixels * side / longer).max(1);
        let (across, down) = (scaled(photograph.width()), scaled(photograph.height()));
        let small = resize::bilinear(photograph, Region::whole(photograph), across, down);
        let (left, top) = (place % columns * side, place / columns * side);
        for (y, row) in small.chunks_exact(3 * across).enumerate() {
            let start = 3 * ((top + y) * width + left);
            pixels[start..start + row.len()].copy_from_slice(row);
        }
    }
    Photograph::new(width, rows * side, pixels).expect("as many pixels")
}

/// Intersection over union.
fn overlap(a: &Detection, b: &Detection) -> f32 {
    let (a, b) = (a.bounding_box, b.bounding_box);
    let shared = BoundingBox::new(a.x1.max(b.x1), a.y1.max(b.y1), a.x2.min(b.x2), a.y2.min(b.y2)).area();
    shared / (a.area() + b.area() - shared)
}
