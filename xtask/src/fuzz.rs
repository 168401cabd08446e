//! `cargo xtask fuzz`: makes up what strangers may send, with AddressSanitizer and coverage as a guide, until something breaks or the
//! time is over.
//!
//! Knows the targets in `fuzz/` and what they are given. Must never know what holds of them; they say it themselves.

use std::ffi::{OsStr, OsString};
use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Instant;

use anyhow::{Context, Result, bail, ensure};
use clap::ValueEnum;

use crate::packages::{Packages, Program};
use crate::workspace::Workspace;
use crate::{files, programs, progress, setup};

/// Options of `cargo xtask fuzz`.
#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// Run only this target; by default all of them, one after the other.
    #[arg(value_name = "TARGET")]
    target: Option<Target>,
    /// How long, all targets together.
    #[arg(long, value_name = "NUMBER", default_value_t = 60, value_parser = clap::value_parser!(u32).range(1..))]
    minutes: u32,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Target {
    /// JPEG, by our decoders beside the decoder for all kinds.
    Jpeg,
    /// PNG, WebP, GIF and BMP.
    Raster,
    /// Metadata in photographs that are sound otherwise.
    Exif,
    /// Forms.
    Form,
    /// Bodies in JSON.
    Json,
    /// Bundles and their manifests.
    Bundle,
    /// Addresses that clients leave for webhooks.
    Callback,
}

impl Target {
    fn name(self) -> String {
        self.to_possible_value().map(|value| value.get_name().to_owned()).unwrap_or_default()
    }

    /// The longest input that is worth while, bytes.
    fn longest(self) -> u32 {
        match self {
            Self::Jpeg | Self::Raster => 12_000,
            Self::Exif | Self::Callback => 600,
            Self::Form | Self::Json => 3000,
            Self::Bundle => 8000,
        }
    }
}

/// The toolchain with a sanitizer.
const TOOLCHAIN: &str = "nightly";

/// Makes the seeds and runs the targets, each for its share of the time.
pub(crate) fn run(options: &Options, workspace: &Workspace) -> Result<()> {
    let program = programs::take(Program::Fuzz, workspace)?
        .context("there is no cargo-fuzz for this system\n  mend: run this on Linux on x86-64 or ARM")?;
    progress::step("toolchain", || toolchain(workspace))?;
    let home = workspace.target.join("visavis-fuzz");
    progress::step("seeds", || seeds(&home, workspace).map(|()| Some("made from the sample photographs".to_owned())))?;
    let all = Target::value_variants();
    let targets = options.target.as_ref().map_or(all, std::slice::from_ref);
    let share = u64::from(options.minutes) * 60 / targets.len() as u64;
    let start = Instant::now();
    for target in targets {
        let name = target.name();
        progress::note(&format!("== {name}, {share} s"));
        fuzz(&program, *target, share, &home, workspace).with_context(|| format!("the target `{name}` broke"))?;
    }
    progress::note(&format!("== fuzzed for {}, and nothing broke", progress::seconds(start.elapsed())));
    Ok(())
}

/// Adds the toolchain where rustup can.
fn toolchain(workspace: &Workspace) -> Result<Option<String>> {
    let rustup = |arguments: &[&str]| {
        let mut command = Command::new("rustup");
        command.args(arguments).current_dir(&workspace.root).stdin(Stdio::null()).stdout(Stdio::null());
        command.stderr(Stdio::null());
        command.status().context("can not start rustup\n  mend: install Rust with rustup and run this again")
    };
    if rustup(&["run", TOOLCHAIN, "rustc", "--version"])?.success() {
        return Ok(None);
    }
    ensure!(
        rustup(&["toolchain", "install", TOOLCHAIN, "--profile", "minimal"])?.success(),
        "`rustup toolchain install {TOOLCHAIN}` failed\n  \
         mend: see that rustup reaches its server (network, proxy) and run this again"
    );
    Ok(Some(format!("added {TOOLCHAIN}")))
}

/// Photographs belong to others, so what is made of them stays in the target folder.
fn seeds(home: &Path, workspace: &Workspace) -> Result<()> {
    setup::take(&Packages::pinned()?.photographs(), workspace)?;
    let photographs = workspace.assets.join("photos").display().to_string();
    let out = home.join("seeds").display().to_string();
    let build = ["run", "--quiet", "--release", "--locked", "--no-default-features", "--bin", "seeds", "--"];
    let folder = workspace.root.join("fuzz");
    setup::cargo_in(&folder, &workspace.target.join("fuzz"), build.into_iter().chain([photographs.as_str(), &out]))
}

/// Runs one target for so many seconds. What it finds interesting is kept, and the next run begins with it.
fn fuzz(program: &Path, target: Target, seconds: u64, home: &Path, workspace: &Workspace) -> Result<()> {
    let name = target.name();
    let fuzz = workspace.root.join("fuzz");
    let [corpus, findings] = ["corpus", "findings"].map(|folder| home.join(folder).join(&name));
    for folder in [&corpus, &findings] {
        fs::create_dir_all(folder).map_err(|error| files::refusal(folder, &error))?;
    }
    let mut command = Command::new(program);
    // As the sandbox runs it: a sum that wraps in a decoder makes wrong pixels of a wrong file, and is no fault.
    command
        .args(["run", &name, "--release", "--fuzz-dir"])
        .arg(&fuzz)
        .arg("--target-dir")
        .arg(workspace.target.join("fuzz"));
    // What is new goes into the first folder.
    command.arg(&corpus).arg(home.join("seeds").join(&name));
    let regressions = fuzz.join("regressions").join(&name);
    if regressions.is_dir() {
        command.arg(regressions);
    }
    command.args(["--", "-timeout=10", "-rss_limit_mb=2048", "-print_final_stats=1"]);
    command.args([format!("-max_total_time={seconds}"), format!("-max_len={}", target.longest())]);
    command.arg(option("-dict=", fuzz.join("dictionaries").join(format!("{name}.dict")).as_os_str()));
    // A folder, as its last character says.
    command.arg(option("-artifact_prefix=", findings.join("").as_os_str()));
    setup::forget_this_package(&mut command);
    command.current_dir(&workspace.root).env("RUSTUP_TOOLCHAIN", TOOLCHAIN).env_remove("CARGO").stdin(Stdio::null());
    let status = command.status().context("can not start cargo-fuzz")?;
    if !status.success() {
        bail!(
            "cargo-fuzz ended with {status}\n  mend: see above; the input lies in {}. When what it broke is mended, keep it in \
             fuzz/regressions/{name}, so that tests replay it",
            findings.display()
        );
    }
    Ok(())
}

fn option(name: &str, value: &OsStr) -> OsString {
    let mut option = OsString::from(name);
    option.push(value);
    option
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_target_is_built_and_has_a_dictionary() {
        let fuzz = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().join("fuzz");
        let manifest: toml::Table = fs::read_to_string(fuzz.join("Cargo.toml")).unwrap().parse().unwrap();
        let programs = manifest["bin"].as_array().unwrap().iter().map(|it| it["name"].as_str().unwrap().to_owned());
        let built: Vec<_> = programs.filter(|name| name != "seeds").collect();
        assert_eq!(built, Target::value_variants().iter().map(|target| target.name()).collect::<Vec<_>>());
        for name in built {
            for file in [format!("fuzz_targets/{name}.rs"), format!("dictionaries/{name}.dict")] {
                assert!(fuzz.join(&file).is_file(), "{file}");
            }
        }
    }
}
