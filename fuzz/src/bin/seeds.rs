//! `seeds PHOTOGRAPHS OUT`: writes the seeds of all targets below OUT, made from the photographs in a folder.

use std::path::Path;
use std::process::ExitCode;

fn main() -> ExitCode {
    let arguments: Vec<_> = std::env::args_os().skip(1).collect();
    let [photographs, out] = &arguments[..] else {
        eprintln!("usage: seeds PHOTOGRAPHS OUT");
        return ExitCode::FAILURE;
    };
    match visavis_fuzz::seeds::write(Path::new(photographs), Path::new(out)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("seeds: {error}");
            ExitCode::FAILURE
        }
    }
}
