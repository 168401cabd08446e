//! Whether and whom the listeners let in, and whether they are overheard.
//!
//! Owns the rule that nobody is let in by accident: a listener that others reach needs keys, or the explicit word that it needs
//! none. Must never know what a key opens.

use std::sync::Arc;

use anyhow::bail;

use crate::auth::Keyring;
use crate::config::{Access, Config};
use crate::wire::Tls;

/// The keys that the listeners ask for; `None`: they ask for none.
///
/// # Errors
/// The file cannot be used, or has no key and the listener would let nobody in; the error says what to do.
pub(crate) fn keyring(config: &Config) -> anyhow::Result<Option<Arc<Keyring>>> {
    if !config.asks_for_keys() {
        return Ok(None);
    }
    let file = &config.auth.keys_file;
    let keys = Keyring::open(file)?;
    if keys.count() == 0 {
        let why = match (config.auth.mode, config.reached_by_others()) {
            (Access::Auto, Some((key, address))) => format!("{key} is {address}, which others can reach"),
            _ => "auth.mode is keys".to_owned(),
        };
        bail!(
            "{why}, and there is no API key in {}: make one with `visavis keys add NAME` under the same settings, or, if \
             a proxy before this host lets in who may ask, set auth.mode to \"none\"",
            file.display()
        );
    }
    Ok(Some(Arc::new(keys)))
}

/// The certificate that the listeners show; `None`: they speak in the clear.
///
/// # Errors
/// It cannot be shown, or one of the two files is not named; the error says what to do.
pub(crate) fn tls(config: &Config) -> anyhow::Result<Option<Arc<Tls>>> {
    match (&config.server.tls_certificate, &config.server.tls_key) {
        (Some(certificate), Some(key)) => Ok(Some(Arc::new(Tls::open(certificate, key)?))),
        (None, None) => Ok(None),
        _ => bail!("server.tls_certificate and server.tls_key belong together; set both or neither"),
    }
}

/// Who is let in, in words.
pub(crate) fn describe(config: &Config, keys: Option<&Keyring>) -> String {
    let (accepts, _) = config.server.role.parts();
    match keys {
        Some(keys) => {
            format!("whoever shows one of the {} API keys of {}", keys.count(), config.auth.keys_file.display())
        }
        None => match config.reached_by_others() {
            Some((key, address)) => format!("whoever reaches {key}, {address}: auth.mode is none"),
            None if accepts => {
                "whoever uses this machine: every listener is of the loopback, and auth.mode asks for no keys"
                    .to_owned()
            }
            None => "nobody from elsewhere: this role has no public listener".to_owned(),
        },
    }
}
