//! The CQL database as it is configured: where it is, and who may use it.

use std::sync::Arc;

use rustls::pki_types::{CertificateDer, pem::PemObject as _};
use syncbridge_storage::{
    Engine, Sink,
    engine::scylla::{self, Scylla},
};

use super::Error;
use crate::config::Config;

/// Opens the store in the database.
pub(super) fn open(config: &Config, sink: Arc<dyn Sink>) -> Result<Arc<dyn Engine>, Error> {
    Ok(Arc::new(Scylla::open(&options(config)?, sink)?))
}

/// How the CQL database is reached.
///
/// # Errors
/// [`Error::Config`] when a file that is named cannot be used.
pub fn options(config: &Config) -> Result<scylla::Options, Error> {
    let of = &config.storage.cassandra;
    let unusable = |path: &str, why: &dyn std::fmt::Display| Error::Config(format!("storage.cassandra.{path}: {why}"));
    let credentials = match (&of.user, &of.password_file) {
        (user, Some(file)) => {
            let password = std::fs::read_to_string(file)
                .map_err(|error| unusable("password_file", &format_args!("{}: {error}", file.display())))?;
            Some((user.clone(), password.trim_end().to_owned()))
        }
        (_, None) => None,
    };
    let tls = match &of.ca {
        Some(file) => {
            let unusable = |error: &dyn std::fmt::Display| unusable("ca", &format_args!("{}: {error}", file.display()));
            let mut roots = rustls::RootCertStore::empty();
            for certificate in CertificateDer::pem_file_iter(file).map_err(|error| unusable(&error))? {
                let certificate = certificate.map_err(|error| unusable(&error))?;
                roots.add(certificate).map_err(|error| unusable(&error))?;
            }
            if roots.is_empty() {
                return Err(unusable(&"no certificate is in it"));
            }
            let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
            let tls = rustls::ClientConfig::builder_with_provider(provider)
                .with_safe_default_protocol_versions()
                .map_err(|error| unusable(&error))?;
            Some(Arc::new(tls.with_root_certificates(roots).with_no_client_auth()))
        }
        None => None,
    };
    Ok(scylla::Options {
        contact_points: of.contact_points.list().to_vec(),
        keyspace: of.keyspace.clone(),
        credentials,
        tls,
        address: config.advertised().unwrap_or_default(),
        lease: std::time::Duration::from_secs(of.lease_seconds),
        ..scylla::Options::default()
    })
}
