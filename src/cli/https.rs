//! The options for HTTPS: a certificate of the operator's, or one that an ACME authority gives.

use std::path::PathBuf;

use clap::Args;

use crate::server::{
    AcmeName, AcmeSettings, ExternalAccount, Names, OutboundUrl, Pair, Tls, Trust,
};

use super::error::CliError;
use super::settings::tokens::{others_can_read, readable_by_others};

/// Let's Encrypt.
const DEFAULT_DIRECTORY: &str = "https://acme-v02.api.letsencrypt.org/directory";
const DEFAULT_ACME_DIR: &str = "rekindle-acme";

/// Options of `serve`, as in [`super::args`].
#[derive(Args, Debug, Default)]
pub(super) struct HttpsArgs {
    /// Speak HTTPS with the certificate in this file (PEM: the server's own first, then those between
    /// it and the authority's); needs --tls-key
    #[arg(long, value_name = "FILE", env = "REKINDLE_TLS_CERT")]
    pub tls_cert: Option<PathBuf>,

    /// The certificate's key (PEM), a file that only its owner can read
    #[arg(long, value_name = "FILE", env = "REKINDLE_TLS_KEY")]
    pub tls_key: Option<PathBuf>,

    /// Speak HTTPS with a certificate for these names, which an ACME authority (RFC 8555) gives and
    /// renews, and whose terms of service are agreed to by this. Port 443 of each name must lead to
    /// --http [default: none]
    #[arg(
        long,
        value_name = "NAME",
        env = "REKINDLE_ACME",
        value_delimiter = ','
    )]
    pub acme: Option<Vec<AcmeName>>,

    /// Folder for the certificate, its key and the account with the authority, encrypted to the key
    /// file [default: rekindle-acme]
    #[arg(long, value_name = "DIR", env = "REKINDLE_ACME_DIR")]
    pub acme_dir: Option<PathBuf>,

    /// The authority: the https URL of its directory [default: that of Let's Encrypt]
    #[arg(long, value_name = "URL", env = "REKINDLE_ACME_DIRECTORY")]
    pub acme_directory: Option<OutboundUrl>,

    /// Mail address that the authority may write to [default: none]
    #[arg(long, value_name = "ADDRESS", env = "REKINDLE_ACME_MAIL")]
    pub acme_mail: Option<String>,

    /// File with the key identifier and the MAC key (base64url) of an account that --acme-directory
    /// knows already, with a space between them; for authorities that want one [default: none]
    #[arg(long, value_name = "FILE", env = "REKINDLE_ACME_EAB_FILE")]
    pub acme_eab_file: Option<PathBuf>,

    /// Certificates (PEM) of those who have signed that of --acme-directory itself [default: the
    /// system's]
    #[arg(long, value_name = "FILE", env = "REKINDLE_ACME_CA")]
    pub acme_ca: Option<PathBuf>,
}

/// What the options come to.
#[derive(Debug, Default)]
pub(super) struct Https {
    pub tls: Option<Tls>,
    pub acme: Option<AcmeSettings>,
}

impl HttpsArgs {
    /// These options; missing ones are taken from `other`.
    pub(super) fn or(self, other: Self) -> Self {
        Self {
            tls_cert: self.tls_cert.or(other.tls_cert),
            tls_key: self.tls_key.or(other.tls_key),
            acme: self.acme.or(other.acme),
            acme_dir: self.acme_dir.or(other.acme_dir),
            acme_directory: self.acme_directory.or(other.acme_directory),
            acme_mail: self.acme_mail.or(other.acme_mail),
            acme_eab_file: self.acme_eab_file.or(other.acme_eab_file),
            acme_ca: self.acme_ca.or(other.acme_ca),
        }
    }

    pub(super) fn https(
        self,
        lookup: &Names,
        warnings: &mut Vec<String>,
    ) -> Result<Https, CliError> {
        let half = |missing| Err(CliError::HalfOfTls { missing });
        let Some(names) = self.acme.filter(|names| !names.is_empty()) else {
            let of_acme = [
                ("--acme-dir", self.acme_dir.is_some()),
                ("--acme-directory", self.acme_directory.is_some()),
                ("--acme-mail", self.acme_mail.is_some()),
                ("--acme-eab-file", self.acme_eab_file.is_some()),
                ("--acme-ca", self.acme_ca.is_some()),
            ];
            if let Some((given, _)) = of_acme.into_iter().find(|(_, is_given)| *is_given) {
                let missing = "--acme";
                return Err(CliError::Needless { given, missing });
            }
            return match (self.tls_cert, self.tls_key) {
                (Some(certificate), Some(key)) => Ok(Https {
                    tls: Some(Tls::read(Pair { certificate, key })?),
                    acme: None,
                }),
                (None, None) => Ok(Https::default()),
                (Some(_), None) => half("--tls-key"),
                (None, Some(_)) => half("--tls-cert"),
            };
        };
        if self.tls_cert.is_some() || self.tls_key.is_some() {
            return Err(CliError::TwoCertificates);
        }
        let directory = match self.acme_directory {
            Some(directory) => directory,
            None => DEFAULT_DIRECTORY.parse().expect("a URL"),
        };
        if !directory.is_secure() {
            return Err(CliError::AcmeWithoutTls);
        }
        let trust = match &self.acme_ca {
            Some(file) => Trust::file(file),
            None => Trust::system("--acme-ca"),
        }?;
        let mail = self.acme_mail;
        let contact = mail.map(|mail| match mail.strip_prefix("mailto:") {
            Some(_) => mail,
            None => format!("mailto:{mail}"),
        });
        if let Some(path) = &self.acme_eab_file
            && others_can_read(path)
        {
            warnings.push(readable_by_others("file of the account's key", path));
        }
        let external = self.acme_eab_file.as_deref().map(ExternalAccount::read);
        let folder = self.acme_dir.unwrap_or_else(|| DEFAULT_ACME_DIR.into());
        Ok(Https {
            tls: Some(Tls::without_certificate()?),
            acme: Some(AcmeSettings {
                names,
                directory,
                contact,
                external: external.transpose()?,
                trust,
                lookup: lookup.clone(),
                folder,
            }),
        })
    }
}
