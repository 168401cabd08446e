//! `visavis components keygen` and `sign`.
//!
//! Owns the files of keys and where a password comes from. Must never know how a signature is made.

use std::fs::{self, OpenOptions};
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::process::ExitCode;

use anyhow::{Context, bail};
use zeroize::Zeroizing;

use super::{read, read_text, signature_of};
use crate::arguments::components::{Keygen, Sign};
use crate::rollout::kind;
use crate::rollout::trust::signing::{Pair, Secret};

/// Where a password may stand when there is no terminal to ask on.
const PASSWORD: &str = "VISAVIS_KEY_PASSWORD";

/// Makes a pair of keys. Nothing that exists is written over: a lost secret key cannot be made again.
pub(super) fn generate(arguments: &Keygen) -> anyhow::Result<ExitCode> {
    let secret = &arguments.out;
    let public = secret.with_extension("pub");
    if public == *secret {
        bail!("--out is the secret key's file, and .pub is for the public one; choose another name, as visavis.key");
    }
    for path in [secret, &public] {
        if path.symlink_metadata().is_ok() {
            bail!("{} is there already; move it away, or choose another --out", path.display());
        }
    }
    let password = if arguments.no_password { None } else { Some(password("Password for the new key: ", true)?) };
    let pair = Pair::generate(password.as_ref().map(|password| password.as_str()))?;
    write_new(secret, 0o600, &pair.secret)?;
    write_new(&public, 0o644, &pair.public)?;
    let key = pair.public.lines().nth(1).unwrap_or_default();
    println!("secret key {}, to sign with: keep it safe and apart from the nodes", secret.display());
    println!("public key {} of id {}, for components.trusted_keys:", public.display(), pair.id);
    println!("{key}");
    Ok(ExitCode::SUCCESS)
}

/// Signs a file that could be deployed.
pub(super) fn sign(arguments: &Sign) -> anyhow::Result<ExitCode> {
    let Sign { file, key } = arguments;
    let bytes = read(file)?;
    kind::of(&bytes).with_context(|| format!("{} is not signed", file.display()))?;
    let named = || format!("{}", key.display());
    let secret = Secret::parse(&Zeroizing::new(read_text(key)?)).with_context(named)?;
    let password =
        if secret.is_encrypted() { Some(password(&format!("Password of {}: ", key.display()), false)?) } else { None };
    let signing = secret.open(password.as_ref().map(|password| password.as_str())).with_context(named)?;
    let name = file.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    let signature = signing.sign(&bytes, &name)?;
    let out = signature_of(file);
    fs::write(&out, signature).with_context(|| format!("cannot write {}", out.display()))?;
    println!("{}", out.display());
    Ok(ExitCode::SUCCESS)
}

/// Takes a password from the environment or asks for it; a new one is asked for twice.
fn password(prompt: &str, new: bool) -> anyhow::Result<Zeroizing<String>> {
    if let Some(password) = std::env::var_os(PASSWORD).filter(|password| !password.is_empty()) {
        let password = password.into_string().ok().with_context(|| format!("{PASSWORD} is not UTF-8"))?;
        return Ok(Zeroizing::new(password));
    }
    let ask = |prompt: &str| {
        let asked = rpassword::prompt_password(prompt).map(Zeroizing::new);
        let way_out = if new { ", or use --no-password" } else { "" };
        asked.with_context(|| format!("there is no terminal to ask for the key's password on; set {PASSWORD}{way_out}"))
    };
    let password = ask(prompt)?;
    if new {
        if password.is_empty() {
            bail!("an empty password protects nothing; choose one, or say --no-password");
        }
        if *ask("The same again: ")? != *password {
            bail!("the two passwords differ; nothing was written");
        }
    }
    Ok(password)
}

fn write_new(path: &Path, mode: u32, text: &str) -> anyhow::Result<()> {
    let file = OpenOptions::new().write(true).create_new(true).mode(mode).open(path);
    let written = file.and_then(|mut file| file.write_all(text.as_bytes()).and_then(|()| file.sync_all()));
    written.with_context(|| format!("cannot write {}", path.display()))
}
