//! What must hold of everything that strangers send, whatever they send: the targets of the fuzzer.
//!
//! Owns the properties; one that is broken panics. Must never know how inputs come about: a fuzzer makes them up, and tests of the
//! workspace replay what it found, by the same functions.
//!
//! # Layout
//!
//! - `photographs`: JPEG beside another decoder, the other formats, EXIF.
//! - `requests`: forms and JSON, as the gateway reads them.
//! - `bundles`: bundles and their manifests, as the host reads them.
//! - `callbacks`: addresses that clients leave, as the host reads them.
//! - [`seeds`]: where a fuzzer begins.
//!
//! Bundles and addresses are read by the host, which is a program and not a library. Its modules that read them are compiled here
//! once more, by their place in the repository: with all of wasmtime beside them nothing would be fuzzed quickly.

mod bundles;
mod callbacks;
mod photographs;
mod requests;
pub mod seeds;

#[path = "../../components/face/tests/support"]
mod support {
    pub(crate) mod bitmaps;
    pub(crate) mod files;
}

#[allow(dead_code, reason = "the host's own, of which a part is used here")]
#[path = "../../host/src/rollout"]
mod rollout {
    pub(crate) mod bundle;
}

#[allow(dead_code, reason = "the host's own, of which a part is used here")]
#[path = "../../host/src/runtime"]
mod runtime {
    mod slots;
    pub(crate) use self::slots::Slot;
}

#[allow(dead_code, reason = "the host's own, of which a part is used here")]
#[path = "../../host/src/task.rs"]
mod task;

#[allow(dead_code, reason = "the host's own, of which a part is used here")]
#[path = "../../host/src/webhook"]
mod webhook {
    mod address;
    mod target;

    /// An address that a list takes: without its path, host, port, path, and what the header `Host` says.
    pub(crate) type Taken = (String, String, u16, String, String);

    /// Holds an address against a list; what it is taken for, or the refusal's sentence.
    pub(crate) fn check(list: &[String], url: &str) -> Result<Taken, String> {
        let allow = self::target::Allow::parse(list).map_err(|error| error.to_string())?;
        let target = allow.target(url).map_err(|error| error.to_string())?;
        Ok((target.to_string(), target.host().to_owned(), target.port(), target.path.clone(), target.authority()))
    }
}

/// A JPEG, or what follows the two bytes that say so.
pub fn jpeg(bytes: &[u8]) {
    photographs::jpeg(bytes);
}

/// A file of any other format.
pub fn raster(bytes: &[u8]) {
    photographs::any(bytes);
}

/// The metadata of a photograph that is sound otherwise.
pub fn exif(bytes: &[u8]) {
    photographs::exif(bytes);
}

/// A `Content-Type` on the first line, and the body of a form behind it.
pub fn form(bytes: &[u8]) {
    requests::form(bytes);
}

/// A body in JSON.
pub fn json(bytes: &[u8]) {
    requests::json(bytes);
}

/// A bundle, and once more as the manifest of one.
pub fn bundle(bytes: &[u8]) {
    bundles::bundle(bytes);
}

/// An address that a client leaves, and once more as an entry of the operator's list.
pub fn callback(bytes: &[u8]) {
    callbacks::callback(bytes);
}
