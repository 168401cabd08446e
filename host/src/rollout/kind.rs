//! What a file is: a component, and for which slot, or a bundle.
//!
//! Owns the look at a file before anything of it is compiled: only the names that a component exports are read. Must never
//! decide whether a component fits its world; the runtime does that.

use wasmparser::{Parser, Payload};

use super::bundle::{Bundle, BundleError};
use crate::runtime::Slot;

/// How deep components may be nested until the end is not looked for any more.
const DEPTH: usize = 64;

/// What every WebAssembly file begins with.
const MAGIC: &[u8] = b"\0asm";

/// The interface by which a component of each world is known.
const EXPORTS: [(&str, Slot); 4] = [
    ("wasi:http/incoming-handler", Slot::Gateway),
    ("visavis:face/analyze", Slot::Analyzer),
    ("visavis:face/score", Slot::Scorer),
    ("visavis:face/annotate", Slot::Annotator),
];

/// What a file is.
#[derive(Debug)]
pub(crate) enum Kind {
    /// A component that exports what this slot's world does.
    Component(Slot),
    /// A bundle that keeps all rules.
    Bundle(Box<Bundle>),
}

/// A file is nothing that could be deployed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum KindError {
    /// Compiled for no component model.
    #[error("it is a core WebAssembly module, not a component; `wasm-tools component new` makes one of it")]
    CoreModule,
    /// The bytes are damaged.
    #[error("it is a WebAssembly file that was cut off or damaged: {reason}; fetch or build it again")]
    Damaged {
        /// The parser's words.
        reason: String,
    },
    /// A component of somebody else.
    #[error(
        "it is a component that exports {exports}, and those of visavis export one of {known}; wit/README.md says how to write one"
    )]
    NoWorld {
        /// What it exports.
        exports: String,
        /// What would be right.
        known: String,
    },
    /// Neither WebAssembly nor a bundle.
    #[error(transparent)]
    Bundle(#[from] BundleError),
}

/// Says what a file is.
pub(crate) fn of(bytes: &[u8]) -> Result<Kind, KindError> {
    if !bytes.starts_with(MAGIC) {
        return Ok(Kind::Bundle(Box::new(Bundle::read(bytes)?)));
    }
    let exports = exports(bytes)?;
    let interface = |export: &str| export.split('@').next().unwrap_or_default().to_owned();
    let slots: Vec<_> = EXPORTS.iter().filter(|(name, _)| exports.iter().any(|it| interface(it) == *name)).collect();
    match slots[..] {
        [(_, slot)] => Ok(Kind::Component(*slot)),
        _ => Err(KindError::NoWorld {
            exports: match exports.len() {
                0 => "nothing".to_owned(),
                count => {
                    let first: Vec<String> = exports.iter().take(5).map(|it| it.chars().take(80).collect()).collect();
                    format!("{}{}", first.join(", "), if count > 5 { " and more" } else { "" })
                }
            },
            known: EXPORTS.map(|(name, _)| name).join(", "),
        }),
    }
}

/// The names that a component exports itself, not those of what is nested in it.
fn exports(bytes: &[u8]) -> Result<Vec<String>, KindError> {
    let damaged = |reason: String| KindError::Damaged { reason };
    let mut names = Vec::new();
    let mut depth = 0_usize;
    for payload in Parser::new(0).parse_all(bytes) {
        match payload.map_err(|error| damaged(error.to_string()))? {
            Payload::Version { encoding: wasmparser::Encoding::Module, .. } if depth == 0 => {
                return Err(KindError::CoreModule);
            }
            Payload::ModuleSection { .. } | Payload::ComponentSection { .. } => {
                depth += 1;
                if depth > DEPTH {
                    return Err(damaged(format!("components are nested more than {DEPTH} deep")));
                }
            }
            Payload::End(_) => depth = depth.saturating_sub(1),
            Payload::ComponentExportSection(section) if depth == 0 => {
                for export in section {
                    names.push(export.map_err(|error| damaged(error.to_string()))?.name.name.to_owned());
                }
            }
            _ => {}
        }
    }
    Ok(names)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MODULE: &[u8] = b"\0asm\x01\0\0\0";
    const COMPONENT: &[u8] = b"\0asm\x0d\0\x01\0";

    /// A component that instantiates nothing and exports an empty instance under each of these names.
    fn exporting(names: &[&str]) -> Vec<u8> {
        let section = |id: u8, body: Vec<u8>| {
            let mut bytes = vec![id];
            let (low, high) = (body.len() & 0x7f, body.len() >> 7);
            bytes.extend([0x80 | low as u8, high as u8]);
            bytes.extend(body);
            bytes
        };
        // One instance of no exports, then exports of it.
        let instance = section(5, vec![1, 1, 0]);
        let mut body = vec![names.len() as u8];
        for name in names {
            body.extend([1, name.len() as u8]);
            body.extend(name.bytes());
            body.extend([5, 0, 0]);
        }
        [COMPONENT, &instance, &section(11, body)].concat()
    }

    #[test]
    fn a_component_is_known_by_what_it_exports() {
        for (name, slot) in EXPORTS {
            let bytes = exporting(&["other:thing/x@1.0.0", &format!("{name}@0.2.12")]);
            assert!(matches!(of(&bytes), Ok(Kind::Component(found)) if found == slot), "{name}: {:?}", of(&bytes));
            for length in 4..bytes.len() {
                let cut = of(&bytes[..length]);
                assert!(!matches!(cut, Ok(Kind::Bundle(_))), "{length}: {cut:?}");
                assert!(length <= 8 || cut.is_err(), "{length}: {cut:?}");
            }
        }
    }

    #[test]
    fn other_files_are_told_apart() {
        let words = |bytes: &[u8]| of(bytes).unwrap_err().to_string();
        assert!(words(MODULE).contains("core WebAssembly module"));
        assert!(words(COMPONENT).contains("exports nothing"));
        assert!(words(&exporting(&["wasi:cli/run@0.2.0"])).contains("wasi:cli/run@0.2.0"));
        let two = exporting(&["visavis:face/score@0.1.0", "visavis:face/analyze@0.1.0"]);
        assert!(words(&two).contains("export one of"));
        assert!(words(b"\0asm\xff\xff\xff\xff").contains("damaged"));
        assert!(words(b"hello").contains("no bundle"));
        assert!(words(b"").contains("no bundle"));
    }

    #[test]
    fn a_component_in_a_component_does_not_count() {
        let inner = exporting(&["visavis:face/score@0.1.0"]);
        let (low, high) = (inner.len() & 0x7f, inner.len() >> 7);
        let outer = [COMPONENT, &[4, 0x80 | low as u8, high as u8], &inner[..]].concat();
        assert!(of(&outer).unwrap_err().to_string().contains("exports nothing"));
    }

    #[test]
    fn depth_has_an_end() {
        let mut bytes = COMPONENT.to_vec();
        for _ in 0..DEPTH + 1 {
            let length = bytes.len();
            let size = [0x80 | (length & 0x7f) as u8, 0x80 | (length >> 7 & 0x7f) as u8, (length >> 14) as u8];
            bytes = [COMPONENT, &[4], &size[..], &bytes[..]].concat();
        }
        assert!(of(&bytes).unwrap_err().to_string().contains("nested more than"));
    }
}
