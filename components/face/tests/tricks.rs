//! Photographs that lie: palettes, profiles and metadata that are not what they say, small files that unfold, and all that a fuzzer
//! has found. Each ends in a photograph or in a sentence, in little time, within the memory that the sandbox has.

mod support;

#[path = "../../../fuzz/src/photographs.rs"]
mod photographs;

use std::fs;
use std::time::{Duration, Instant};

use face::decode::{DecodeError, decode};
use proptest::prelude::*;
use support::MAX_PIXELS;
use support::bitmaps::{Header, bitmap};
use support::files::{self, File, Picture, assemble, chunk, gif, gif_frame, header, riff_chunk, rows, webp, zlib};

/// What is to come of a file.
#[derive(Debug)]
enum Fate {
    /// It shows this.
    Shows(Vec<u8>),
    /// It is damaged.
    Refused,
    /// Something of this size.
    Taken(usize, usize),
}

use Fate::{Refused, Shows, Taken};

fn check(name: &str, bytes: &[u8], fate: &Fate) {
    let start = Instant::now();
    match (decode(bytes, MAX_PIXELS), fate) {
        (Ok(photograph), Shows(pixels)) => assert!(photograph.pixels() == pixels, "{name} shows something else"),
        (Ok(photograph), Taken(width, height)) => {
            assert_eq!((photograph.width(), photograph.height()), (*width, *height), "{name}");
        }
        (Err(DecodeError::InvalidImage(_)), Refused) => {}
        (found, expected) => panic!("{name}: {found:?}, not {expected:?}"),
    }
    assert!(start.elapsed() < Duration::from_secs(10), "{name}: {:?}", start.elapsed());
}

#[test]
fn a_palette_may_be_too_short_too_long_or_missing() {
    let picture = Picture::drawn(24, 20);
    let (few, indices) = (picture.few_colours(), picture.indices());
    let sides = [24, 20];
    let data = chunk(b"IDAT", &zlib(&rows(&indices, 24)));
    let palette = chunk(b"PLTE", &Picture::palette().concat());
    let head = header(24, 20, 8, 3, 0);
    let transparent = chunk(b"tRNS", &[9; 200]);
    let png = |parts: &[&[u8]]| assemble(&[&[&head[..]][..], parts].concat());
    check("PNG without a palette", &png(&[&data]), &Refused);
    check("PNG whose palette ends in a colour", &png(&[&chunk(b"PLTE", &[1; 10]), &data]), &Refused);
    check("PNG with 257 colours", &png(&[&chunk(b"PLTE", &[1; 771]), &data]), &Refused);
    check("PNG without a colour", &png(&[&chunk(b"PLTE", &[]), &data]), &Refused);
    check("PNG with two colours for a hundred", &png(&[&chunk(b"PLTE", &[1; 6]), &data]), &Taken(24, 20));
    check("PNG with more transparency than colours", &png(&[&palette, &transparent, &data]), &Taken(24, 20));
    check("PNG whose palette comes late", &png(&[&data, &palette]), &Refused);
    check("PNG with two palettes", &png(&[&palette, &chunk(b"PLTE", &[1; 6]), &data]), &Refused);

    let frame = gif_frame(sides, false, 0, &indices);
    check("GIF without a palette", &gif(sides, false, &frame), &Refused);
    let own = gif_frame(sides, true, 0, &indices);
    check("GIF with two palettes", &gif(sides, true, &own), &Shows(few.clone()));
    let wide = gif_frame([4000, 20], true, 0, &indices);
    check("GIF whose frame is wider than its screen", &gif(sides, true, &wide), &Refused);
    let beyond: Vec<u8> = indices.iter().map(|_| 0).collect();
    let mut outside = gif_frame(sides, true, 0, &beyond);
    outside[1..5].fill(0xFF);
    check("GIF whose frame lies outside", &gif(sides, true, &outside), &Taken(24, 20));

    let bytes = |head: &Header| bitmap(head, &[7; 512], &indices);
    let head = || Header { width: 24, height: 20, bits: 8, compression: 0, colours: 128 };
    check("BMP whose palette is as it says", &bytes(&head()), &Taken(24, 20));
    check("BMP of four billion colours", &bytes(&Header { colours: u32::MAX, ..head() }), &Refused);
    let mut far = bytes(&head());
    far[10..14].copy_from_slice(&u32::MAX.to_le_bytes());
    check("BMP whose pixels begin beyond its end", &far, &Refused);
    let runs = [0, 2, 255, 255, 250, 9].repeat(50);
    check("BMP whose runs leave it", &bitmap(&Header { compression: 1, ..head() }, &[0; 512], &runs), &Refused);
}

#[test]
fn a_profile_may_be_anything() {
    let picture = Picture::drawn(24, 20);
    let plain = files::jpegs(&picture).swap_remove(0).bytes;
    let shows = decode(&plain, MAX_PIXELS).unwrap().pixels().to_vec();
    let part = |number: u8, of: u8| [&b"\xFF\xE2\0\x15ICC_PROFILE\0"[..], &[number, of, 1, 2, 3, 4, 5]].concat();
    for (name, parts) in [
        ("the second of one", vec![part(2, 1)]),
        ("none of none", vec![part(0, 0)]),
        ("one of 255", vec![part(1, 255)]),
        ("the same twice", vec![part(1, 2), part(1, 2)]),
        ("of two lengths", vec![part(1, 2), part(2, 3)]),
        ("1000 parts", vec![part(1, 1); 1000]),
    ] {
        let bytes = [&plain[..2], &parts.concat(), &plain[2..]].concat();
        check(&format!("JPEG with a profile: {name}"), &bytes, &Shows(shows.clone()));
    }

    let data = chunk(b"IDAT", &zlib(&rows(&picture.pixels, 72)));
    let head = header(24, 20, 8, 2, 0);
    let long = [&[b'n'; 5000][..], b"\0\0", &zlib(&[1; 100])].concat();
    for (name, profile) in [
        ("empty", Vec::new()),
        ("no zlib", b"name\0\0nonsense".to_vec()),
        ("another method", [b"name\0\x09", &zlib(&[1; 100])[..]].concat()),
        ("a name of 5000 letters", long),
        ("cut off", b"name\0\0\x78\x01\0\xFF\xFF".to_vec()),
    ] {
        let profile = chunk(b"iCCP", &profile);
        check(
            &format!("PNG with a profile: {name}"),
            &assemble(&[&head, &profile, &data]),
            &Shows(picture.pixels.clone()),
        );
    }

    let stream = files::webps(&picture).swap_remove(0).bytes.split_off(12);
    for name in [b"ICCP", b"EXIF", b"XMP ", b"ANIM", b"ANMF", b"what"] {
        for declared in [1_u32 << 20, 1 << 30, 1 << 31, u32::MAX] {
            let lie = [&name[..], &declared.to_le_bytes(), b"some"].concat();
            for chunks in [[&lie[..], &stream[..]], [&stream[..], &lie[..]]] {
                check(&format!("WebP with a lie of {declared}"), &webp([24, 20], 0x2C, &chunks), &Refused);
            }
            // Behind the end that the file declares it is nobody's.
            let behind = [&webp([24, 20], 0, &[&stream])[..], &lie].concat();
            check("WebP with a lie behind its end", &behind, &Shows(picture.pixels.clone()));
        }
    }
}

/// A lossless stream of WebP whose codes have one symbol each, so that no pixel takes a bit.
fn black(width: usize, height: usize) -> Vec<u8> {
    let mut bits = 0x2F_u64 | (width as u64 - 1) << 8 | (height as u64 - 1) << 22;
    // Neither transforms nor a cache nor several groups of codes; then five times: simple, one symbol, of one bit, which is 0.
    for code in 0..5 {
        bits |= 1 << (43 + 4 * code);
    }
    riff_chunk(b"VP8L", &[&bits.to_le_bytes()[..], &[0; 8]].concat())
}

/// The most memory that the process had since this was last asked, bytes.
fn peak() -> usize {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    let kilobytes: usize = line.trim().trim_end_matches(" kB").parse().unwrap();
    // Sets the mark back to what the process has now.
    fs::write("/proc/self/clear_refs", "5").unwrap();
    kilobytes << 10
}

/// What an analyzer may have by default.
const MEMORY: usize = 512 << 20;

#[test]
fn small_files_unfold_within_the_memory_of_the_sandbox() {
    let (width, height) = (6_500, 6_000);
    let all = || Taken(width, height);
    let head = |bits, compression| Header { width: 6_500, height: 6_000, bits, compression, colours: 0 };
    let stream = black(width, height);
    let frame = {
        let three = |number: usize| (number as u32).to_le_bytes()[..3].to_vec();
        let place = [0, 0, width - 1, height - 1, 100].map(three).concat();
        riff_chunk(b"ANMF", &[&place[..], &[2], &stream].concat())
    };
    let sides = [width, height];
    let tiny = gif_frame([1, 1], true, 0, &[5]);
    let grey = [0, 0, 0, 0].repeat(256);
    let files = [
        ("WebP", webp(sides, 0, &[&stream]), all()),
        ("WebP, transparent", webp(sides, 0x10, &[&stream]), all()),
        ("WebP, animated", webp(sides, 2, &[&riff_chunk(b"ANIM", &[0; 6]), &frame, &frame]), all()),
        ("GIF with a frame of a pixel", gif(sides, true, &tiny), all()),
        ("GIF that ends", gif(sides, true, &gif_frame(sides, true, 0, &[5; 5000])), Refused),
        ("BMP that ends", bitmap(&head(24, 0), &[], &[5; 5000]), Refused),
        ("BMP of one bit that ends", bitmap(&head(1, 0), &[0; 8], &[5; 5000]), Refused),
        ("BMP of runs that skip all", bitmap(&head(8, 1), &grey, &[0, 1]), all()),
    ];
    for (name, bytes, fate) in files {
        peak();
        let before = peak();
        check(name, &bytes, &fate);
        let more = peak().saturating_sub(before);
        println!("{name}: {} bytes, {} MiB more at most", bytes.len(), more >> 20);
        assert!(more < MEMORY, "{name}: {more} bytes more");
    }
}

#[test]
fn changed_and_cut_files_keep_the_properties() {
    let mut state = 0x2545_F491_4F6C_DD1D_u64;
    let mut random = move |bound: usize| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state as usize % bound
    };
    for File { kind, bytes, .. } in files::all(&Picture::drawn(24, 20)) {
        let property = if kind.starts_with("JPEG") { photographs::jpeg } else { photographs::any };
        for _ in 0..150 {
            let mut changed = bytes.clone();
            for _ in 0..=random(4) {
                changed[random(bytes.len())] = random(256) as u8;
            }
            changed.truncate(if random(4) == 0 { random(bytes.len()) } else { bytes.len() });
            property(&changed);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_metadata_breaks_a_photograph(order in prop_oneof![Just(&b"II*\0\x08\0\0\0"[..]), Just(&b"MM\0*\0\0\0\x08"[..])],
        rest in prop::collection::vec(prop_oneof![any::<u8>(), Just(0), Just(1), Just(0x12)], 0..60)) {
        photographs::exif(&[order, &rest].concat());
        photographs::exif(&rest);
    }
}

/// What must hold of any bytes.
type Property = fn(&[u8]);

#[test]
fn what_a_fuzzer_found_stays_mended() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../../fuzz/regressions");
    let mut replayed = 0;
    let properties: [(&str, Property); 3] =
        [("jpeg", photographs::jpeg), ("raster", photographs::any), ("exif", photographs::exif)];
    for (target, property) in properties {
        let Ok(findings) = fs::read_dir(format!("{folder}/{target}")) else { continue };
        for finding in findings {
            let path = finding.unwrap().path();
            println!("{}", path.display());
            property(&fs::read(path).unwrap());
            replayed += 1;
        }
    }
    assert!(replayed > 0, "{folder} holds nothing");
}
