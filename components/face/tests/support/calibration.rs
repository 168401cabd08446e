//! Between which numbers FaceNet's tensors lie on the sample photographs: what its integer twin is made with.

use ort::session::Session;
use ort::value::TensorRef;
use visavis_models::convert::{self, Ranges};

use face::embedding::Crop;
use face::photograph::Photograph;
use face::rules::geometry::BoundingBox;

use super::networks::environment;
use super::{CROP, Reference, asset, photograph};

/// Margins around a face: less, as much, and more than the product cuts.
const MARGINS: [f32; 3] = [20.0, 32.0, 44.0];

/// Runs the network over the faces of the sample photographs, in each of the margins, mirrored and not, in several lights; of
/// all these crops over every `step`th.
pub(crate) fn measure(step: usize) -> Ranges {
    let model = std::fs::read(asset("models/facenet-casia-webface.onnx")).expect("a readable model");
    let observed = convert::observe(&model).unwrap_or_else(|error| panic!("{error}"));
    let mut session = Session::builder(environment())
        .and_then(|builder| Ok(builder.with_intra_threads(1)?))
        .and_then(|mut builder| builder.commit_from_memory(&observed.model))
        .unwrap_or_else(|error| panic!("{error}"));
    let mut ranges = Ranges::default();
    for input in crops(step) {
        ranges.include("input", &input);
        let planes = TensorRef::from_array_view(([1, 3, CROP.size, CROP.size], &input[..])).expect("a crop");
        let outputs = session.run(ort::inputs!["input" => planes]).unwrap_or_else(|error| panic!("{error}"));
        for tensor in observed.tensors.iter().filter(|tensor| *tensor != "input") {
            let (_, values) = outputs[tensor.as_str()].try_extract_tensor::<f32>().expect("a tensor of floats");
            ranges.include(tensor, values);
        }
    }
    assert!(ranges.names().eq({
        let mut tensors: Vec<_> = observed.tensors.iter().map(String::as_str).collect();
        tensors.sort_unstable();
        tensors
    }));
    ranges
}

/// The network's inputs.
fn crops(step: usize) -> Vec<Vec<f32>> {
    let mut crops = Vec::new();
    let mut wanted = (0..step).map(|place| place == 0).cycle();
    for image in Reference::read().images {
        let upright = photograph(&image.file);
        for face in &image.faces {
            let [x1, y1, x2, y2] = face.bounding_box;
            for mirrored in [false, true] {
                let (photograph, edges) = match mirrored {
                    false => (upright.clone(), (x1, x2)),
                    true => (mirror(&upright), (image.width as f32 - x2, image.width as f32 - x1)),
                };
                for light in LIGHTS {
                    let wanted = MARGINS.map(|margin| (margin, wanted.next() == Some(true)));
                    if wanted.iter().all(|(_, wanted)| !wanted) {
                        continue;
                    }
                    let photograph = lit(&photograph, light);
                    for (margin, _) in wanted.into_iter().filter(|(_, wanted)| *wanted) {
                        let crop = Crop { margin, ..CROP };
                        let mut planes = Vec::new();
                        crop.append(&photograph, &BoundingBox::new(edges.0, y1, edges.1, y2), &mut planes);
                        crops.push(planes);
                    }
                }
            }
        }
    }
    crops
}

/// What becomes of a pixel.
type Light = fn([u8; 3]) -> [u8; 3];

const LIGHTS: [Light; 6] = [
    |pixel| pixel,
    |pixel| pixel.map(|sample| (f32::from(sample) * 0.6) as u8),
    |pixel| pixel.map(|sample| (f32::from(sample) * 1.4) as u8),
    |pixel| pixel.map(|sample| 128.0 + (f32::from(sample) - 128.0) * 0.6).map(|sample| sample as u8),
    |pixel| pixel.map(|sample| 128.0 + (f32::from(sample) - 128.0) * 1.5).map(|sample| sample as u8),
    |[red, green, blue]| [((u32::from(red) * 299 + u32::from(green) * 587 + u32::from(blue) * 114) / 1000) as u8; 3],
];

fn lit(photograph: &Photograph, light: Light) -> Photograph {
    let pixels = photograph.pixels().as_chunks::<3>().0.iter().flat_map(|pixel| light(*pixel)).collect();
    Photograph::new(photograph.width(), photograph.height(), pixels).expect("as many pixels")
}

fn mirror(photograph: &Photograph) -> Photograph {
    let rows = photograph.pixels().chunks_exact(3 * photograph.width());
    let pixels = rows.flat_map(|row| row.as_chunks::<3>().0.iter().rev().flatten().copied()).collect();
    Photograph::new(photograph.width(), photograph.height(), pixels).expect("as many pixels")
}
