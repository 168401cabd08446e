//! Large photographs are decoded with fewer pixels: the same faces are found, and they are embedded alike.

mod support;

use face::decode;
use face::photograph::Photograph;
use face::rules::score;
use face::search;
use support::networks::{Embedder, Native};
use support::{CROP, MAX_PIXELS, MAX_SIDE, PRODUCT};

/// How far an embedding may move: a tenth of the threshold.
const DISTANCE: f32 = 0.1;

#[test]
fn a_draft_shows_the_same_face() {
    let mut networks = Native::with(Embedder::Float32);
    for name in ["obama.jpg", "obama2.jpg", "astronaut.png"] {
        let small = support::photograph(name);
        // As a camera would have taken it.
        let side = 4032 / small.longer_side().min(4032);
        let bytes = support::jpeg(&enlarged(&small, side));
        let whole = decode::decode(&bytes, MAX_PIXELS).unwrap();
        let draft = decode::draft(&bytes, MAX_PIXELS, 2 * MAX_SIDE).unwrap();
        assert!(!draft.is_whole() && draft.photograph.longer_side() >= 2 * MAX_SIDE, "{name}");
        assert_eq!((draft.width, draft.height), (whole.width(), whole.height()), "{name}");
        let mut seen = [&whole, &draft.photograph].map(|photograph| {
            let face = search::faces(photograph, MAX_SIDE, &PRODUCT, &mut networks).unwrap().swap_remove(0);
            assert!(!CROP.wants_more(photograph, &face.bounding_box), "{name}");
            let mut planes = Vec::new();
            CROP.append(photograph, &face.bounding_box, &mut planes);
            (face, networks.embed(&planes, 1).remove(0))
        });
        let ratio = whole.width() as f32 / draft.photograph.width() as f32;
        search::enlarge(&mut seen[1].0, ratio, ratio);
        let [(expected, one), (found, other)] = seen;
        let (a, b) = (expected.bounding_box, found.bounding_box);
        let moved = (a.x1 - b.x1).abs().max((a.y1 - b.y1).abs()).max((a.x2 - b.x2).abs()).max((a.y2 - b.y2).abs());
        let distance = score::euclidean_distance(&one, &other);
        println!("{name:16} {:.1} % moved, {distance:.3} apart", 100.0 * moved / a.height());
        assert!(moved <= 0.03 * a.height(), "{name}: {a:?} {b:?}");
        assert!(distance <= DISTANCE, "{name}: {distance}");
    }
}

/// A face that is small in its photograph is cut out of all its pixels.
#[test]
fn a_small_face_wants_the_whole_photograph() {
    let draft = decode::draft(&support::photo("biden.jpg"), MAX_PIXELS, 2 * MAX_SIDE).unwrap();
    assert!(!draft.is_whole());
    let face = search::faces(&draft.photograph, MAX_SIDE, &PRODUCT, &mut Native::load()).unwrap().swap_remove(0);
    assert!(CROP.wants_more(&draft.photograph, &face.bounding_box), "{face:?}");
}

/// Every pixel `times` times each way.
fn enlarged(small: &Photograph, times: usize) -> Photograph {
    let (width, height) = (small.width() * times, small.height() * times);
    let whole = face::resize::Region::whole(small);
    Photograph::new(width, height, face::resize::bilinear(small, whole, width, height)).expect("as many pixels")
}
