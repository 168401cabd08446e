//! Where a fuzzer begins: small files of every kind, made from photographs that lie in a folder, and from drawings.
//!
//! Owns which seeds each target gets. Must never be handed on with what it made: photographs belong to others.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::Path;

use crate::rollout::bundle::{Bundle, EmbeddingSpace, Model, Models, Parts, Policy};
use crate::runtime::Slot;
use crate::support::files::{self, File, Picture};
use crate::task::NonFrontal;

/// The longer side of what a photograph becomes, pixels: a file of one or two kilobytes, of which a fuzzer tries many in a second.
const SIDE: usize = 40;

/// Writes the seeds of all targets, each into a folder of its own below `out`.
///
/// # Errors
///
/// A folder that cannot be read or written, or that holds no photograph.
pub fn write(photographs: &Path, out: &Path) -> io::Result<()> {
    let mut pictures = vec![("drawn".to_owned(), Picture::drawn(24, 20))];
    let mut entries: Vec<_> = fs::read_dir(photographs)?.collect::<Result<_, _>>()?;
    entries.sort_by_key(fs::DirEntry::file_name);
    for entry in entries {
        let bytes = fs::read(entry.path())?;
        if let Ok(photograph) = face::decode::decode(&bytes, 1 << 26) {
            pictures.push((entry.file_name().to_string_lossy().into_owned(), small(&photograph)));
        }
    }
    if pictures.len() < 2 {
        let what = format!("{} holds no photograph; `cargo xtask setup` fetches some", photographs.display());
        return Err(io::Error::new(io::ErrorKind::NotFound, what));
    }
    for (name, picture) in &pictures {
        for File { kind, bytes, .. } in files::all(picture) {
            let target = if kind.starts_with("JPEG") { "jpeg" } else { "raster" };
            seed(out, target, &format!("{name} {kind}"), &bytes)?;
        }
    }
    for orientation in 0..=9 {
        for (order, bytes) in [("II", tiff(orientation, u16::to_le_bytes)), ("MM", tiff(orientation, u16::to_be_bytes))]
        {
            seed(out, "exif", &format!("{order} {orientation}"), &[order.as_bytes(), &bytes].concat())?;
        }
    }
    for (number, text) in FORMS.iter().enumerate() {
        seed(out, "form", &number.to_string(), text)?;
    }
    for (number, text) in BODIES.iter().enumerate() {
        seed(out, "json", &number.to_string(), text)?;
    }
    for (number, text) in ADDRESSES.iter().enumerate() {
        seed(out, "callback", &number.to_string(), text.as_bytes())?;
    }
    for (name, bytes) in packed() {
        seed(out, "bundle", &name, &bytes)?;
    }
    Ok(())
}

fn seed(out: &Path, target: &str, name: &str, bytes: &[u8]) -> io::Result<()> {
    let folder = out.join(target);
    fs::create_dir_all(&folder)?;
    fs::write(folder.join(name), bytes)
}

/// Every so manieth pixel of it.
fn small(photograph: &face::photograph::Photograph) -> Picture {
    let step = photograph.longer_side().div_ceil(SIDE).max(1);
    let (width, height) = (photograph.width(), photograph.height());
    let rows = photograph.pixels().chunks(3 * width).step_by(step);
    let pixels = rows.flat_map(|row| row.chunks(3).step_by(step).flatten().copied().collect::<Vec<_>>()).collect();
    Picture { width: width.div_ceil(step), height: height.div_ceil(step), pixels }
}

/// What follows the order of bytes in a TIFF file of one entry, the orientation.
fn tiff(orientation: u16, bytes: fn(u16) -> [u8; 2]) -> Vec<u8> {
    let long = |number: u16| if bytes(1) == [1, 0] { [number, 0] } else { [0, number] };
    let [offset, count] = [long(8), long(1)];
    let numbers = [42, offset[0], offset[1], 1, 0x0112, 3, count[0], count[1], orientation, 0, 0, 0];
    numbers.into_iter().flat_map(bytes).collect()
}

/// Bundles that are read, and their manifests alone.
fn packed() -> Vec<(String, Vec<u8>)> {
    let model = |name: &str, part: &str| {
        let graphs = BTreeMap::from([(format!("{name}/{part}"), "0a".repeat(32))]);
        Some(Model { name: name.to_owned(), graphs })
    };
    let named = |name: &str| Parts { name: name.to_owned(), version: "1.2.0+b7".to_owned(), ..Parts::default() };
    let policy = Policy { threshold: Some(1.06), slope: Some(18.0), non_frontal: Some(NonFrontal::Report) };
    let models = Models { detector: model("mtcnn", "proposal"), embedder: model("facenet", "embedding") };
    let parts = [
        Parts { verify: policy.clone(), ..named("policy") },
        Parts { components: BTreeMap::from([(Slot::Scorer, b"a scorer".to_vec())]), ..named("scorer") },
        Parts {
            embedding_space: EmbeddingSpace::Changes,
            components: BTreeMap::from([(Slot::Gateway, vec![0; 600]), (Slot::Analyzer, vec![7; 9])]),
            models,
            verify: policy,
            ..named("all")
        },
    ];
    let packed = parts.map(|parts| (parts.name.clone(), Bundle::pack(parts).expect("the parts belong together")));
    let texts = packed.clone().map(|(name, bytes)| {
        // The manifest stands first, behind a block that says how long it is.
        let size = tar::Header::from_byte_slice(&bytes[..512]).entry_size().expect("it was just written") as usize;
        (format!("{name}.toml"), bytes[512..512 + size].to_vec())
    });
    packed.into_iter().chain(texts).collect()
}

const FORMS: [&[u8]; 4] = [
    b"multipart/form-data; boundary=x\n--x\r\nContent-Disposition: form-data; name=\"image1\"; filename=\"a.jpg\"\r\n\
      Content-Type: image/jpeg\r\n\r\n\xff\xd8\r\n--x\r\nContent-Disposition: form-data; name=image2\r\n\r\nb\r\n--x\r\n\
      Content-Disposition: form-data; name=threshold\r\n\r\n0.9\r\n--x--\r\n",
    b"multipart/form-data; boundary=\"a b\"; charset=utf-8\nhello\r\n--a b  \r\ncontent-disposition: form-data; \
      name=\"a\\\"b\"\r\ncontent-transfer-encoding: binary\r\n\r\n\r\n--a b--\r\nbye",
    b"multipart/form-data; boundary=----W\n------W\r\nContent-Disposition: form-data; name=\"non_frontal\"\r\n\r\nreport\r\n\
      ------W\r\nContent-Disposition: form-data; name=\"callback_url\"\r\n\r\nhttps://hooks.example.org/\r\n------W--\r\n",
    b"multipart/form-data; boundary=x\n--x--",
];

const BODIES: [&[u8]; 4] = [
    br#"{"image1":"b25l","image2":"\/\/8=","threshold":2,"non_frontal":"reject"}"#,
    br#" {"image1":"b25l","image2":"b25l","threshold":null,"callback_url":"https:\/\/a\u0041"} "#,
    br#"{"image1":"b25l","image2":"b25l","threshold":1.0625e0,"non_frontal":"report"}"#,
    br#"{"image1":"b25","image1":[],"treshold":{"a":[1,2,{}]}}"#,
];

const ADDRESSES: [&str; 4] = [
    "https://hooks.example.org/ended?task=1&b=%20",
    "http://HOOKS.example.org:80?x",
    "https://10.0.0.5:8443/a/../b",
    "http://[2001:db8:0:0::1]:8080/",
];
