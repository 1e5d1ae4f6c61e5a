//! What is said with the authority: account, order, proof, certificate (RFC 8555 §7).

use std::future::Future;
use std::pin::Pin;
use std::time::Duration;

use axum::body::Body;
use axum::http::{HeaderValue, Request, header};
use bytes::Bytes;
use instant_acme::{
    Account, AccountCredentials, AuthorizationStatus, BodyWrapper, BytesResponse, ChallengeType,
    HttpClient, Identifier, NewAccount, NewOrder, Order, OrderStatus, Problem, RetryPolicy,
};
use rcgen::{
    CertificateParams, CustomExtension, DistinguishedName, KeyPair, PKCS_ECDSA_P256_SHA256,
};
use rustls::pki_types::PrivatePkcs8KeyDer;
use tokio::time::timeout;
use zeroize::Zeroizing;

use crate::causes;

use super::super::outbound::{Asker, OutboundUrl, USER_AGENT};
use super::super::tls::{Challenges, Proof, TlsError};
use super::external::ExternalAccount;
use super::kept::{KeptCertificate, Unreadable};
use super::name::AcmeName;

/// How long one request may take.
const REQUEST: Duration = Duration::from_secs(30);
/// How long all of it may take.
const ALL: Duration = Duration::from_secs(600);
/// Longest answer, in bytes: a chain of certificates.
const MAX_ANSWER: usize = 128 * 1024;
/// How long the authority may take to look at the proof, and then to sign.
const PATIENCE: RetryPolicy = RetryPolicy::new().timeout(Duration::from_secs(120));

/// The name of the problem of a nonce that is not taken.
const BAD_NONCE: &str = "badNonce";

/// Why no certificate was obtained.
#[derive(Debug, thiserror::Error)]
pub(super) enum AuthorityError {
    #[error("{}", causes::told(.0))]
    Authority(#[from] instant_acme::Error),
    #[error(
        "it does not offer TLS-ALPN-01 (RFC 8737), the only proof that this server can give, for {0}"
    )]
    NoSuchProof(AcmeName),
    #[error(
        "it did not accept the proof for {name}: {why}. It connects to port 443 of that name, which \
         must lead to this server's HTTPS port, with nothing before it that ends TLS"
    )]
    NotProven { name: String, why: String },
    #[error("it has answered with {0}")]
    Answer(#[from] Unreadable),
    #[error("its certificate cannot be used: {0}")]
    Certificate(#[from] TlsError),
    #[error(
        "a key or a request could not be made ({0}); this is a mistake in the program, please report it"
    )]
    Making(#[from] rcgen::Error),
    #[error("it took longer than {ALL:?}")]
    Slow,
}

impl AuthorityError {
    /// Whether the authority does not know the account (RFC 8555 §6.7), or has closed it.
    pub(super) fn is_unknown_account(&self) -> bool {
        self.is_problem("accountDoesNotExist")
    }

    /// Whether the authority would not take a nonce again and again, within one request.
    pub(super) fn is_bad_nonce(&self) -> bool {
        self.is_problem(BAD_NONCE)
    }

    fn is_problem(&self, name: &str) -> bool {
        matches!(self, Self::Authority(instant_acme::Error::Api(problem)) if is(problem, name))
    }
}

/// Whether a problem is the one of this name (RFC 8555 §6.7).
fn is(problem: &Problem, name: &str) -> bool {
    let kind = problem.r#type.as_deref();
    kind.and_then(|kind| kind.strip_prefix("urn:ietf:params:acme:error:")) == Some(name)
}

/// An account with an authority.
pub(super) struct Authority {
    account: Account,
    credentials: Zeroizing<String>,
}

impl Authority {
    /// Takes the account with these credentials up again, or makes one. Says whether it is new.
    pub(super) async fn enter(
        asker: &Asker,
        directory: &OutboundUrl,
        credentials: Option<Zeroizing<String>>,
        contact: Option<&str>,
        external: Option<&ExternalAccount>,
    ) -> Result<(Self, bool), AuthorityError> {
        let client = || {
            Account::builder_with_http(Box::new(Client {
                asker: asker.clone(),
                directory: directory.clone(),
            }))
        };
        let known = credentials
            .as_ref()
            .and_then(|credentials| serde_json::from_str::<AccountCredentials>(credentials).ok());
        if let (Some(known), Some(credentials)) = (known, credentials) {
            let account = client().from_credentials(known).await?;
            return Ok((
                Self {
                    account,
                    credentials,
                },
                false,
            ));
        }
        let contact: Vec<&str> = contact.into_iter().collect();
        let new = NewAccount {
            contact: &contact,
            terms_of_service_agreed: true,
            only_return_existing: false,
        };
        let directory = directory.uri().to_string();
        let external = external.map(ExternalAccount::key);
        let (account, credentials) = client().create(&new, directory, external.as_ref()).await?;
        let credentials = serde_json::to_string(&credentials).map_err(instant_acme::Error::from)?;
        let credentials = Zeroizing::new(credentials);
        Ok((
            Self {
                account,
                credentials,
            },
            true,
        ))
    }

    /// The account's URL and key, as [`Authority::enter`] takes them.
    pub(super) fn credentials(&self) -> &Zeroizing<String> {
        &self.credentials
    }

    /// Obtains a certificate for these names. Proofs are given by way of `challenges`.
    pub(super) async fn obtain(
        &self,
        names: &[AcmeName],
        challenges: &Challenges,
    ) -> Result<KeptCertificate, AuthorityError> {
        timeout(ALL, self.order(names, challenges))
            .await
            .unwrap_or(Err(AuthorityError::Slow))
    }

    async fn order(
        &self,
        names: &[AcmeName],
        challenges: &Challenges,
    ) -> Result<KeptCertificate, AuthorityError> {
        let identifiers: Vec<Identifier> = names
            .iter()
            .map(|name| Identifier::Dns(name.as_str().to_owned()))
            .collect();
        let mut order = self.account.new_order(&NewOrder::new(&identifiers)).await?;
        // Removed when they are dropped, whatever happens.
        let _proofs = prove(&mut order, challenges).await?;
        match order.poll_ready(&PATIENCE).await {
            Ok(OrderStatus::Invalid) => return Err(refusal(&mut order, None).await),
            Err(instant_acme::Error::Api(problem)) if !is(&problem, BAD_NONCE) => {
                return Err(refusal(&mut order, Some(problem)).await);
            }
            status => status?,
        };
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?;
        let mut params = params(names.iter().map(AcmeName::as_str))?;
        params.distinguished_name = DistinguishedName::new();
        let request = params.serialize_request(&key)?;
        order.finalize_csr(request.der()).await?;
        let chain = order.poll_certificate(&PATIENCE).await?;
        let key = Zeroizing::new(key.serialize_pem());
        Ok(KeptCertificate::new(names, chain, key)?)
    }
}

/// Has a proof ready for every name that the authority does not know as proven, and tells it so.
async fn prove<'a>(
    order: &mut Order,
    challenges: &'a Challenges,
) -> Result<Vec<Proof<'a>>, AuthorityError> {
    let mut proofs = Vec::new();
    let mut authorizations = order.authorizations();
    while let Some(authorization) = authorizations.next().await {
        let mut authorization = authorization?;
        if authorization.status == AuthorizationStatus::Valid {
            continue;
        }
        let name: AcmeName = authorization
            .identifier()
            .to_string()
            .parse()
            .map_err(|_| instant_acme::Error::Str("a name that was not asked for"))?;
        let challenge = authorization.challenge(ChallengeType::TlsAlpn01);
        let mut challenge = challenge.ok_or_else(|| AuthorityError::NoSuchProof(name.clone()))?;
        let digest = challenge.key_authorization().digest();
        proofs.push(proof(&name, digest.as_ref(), challenges)?);
        challenge.set_ready().await?;
    }
    Ok(proofs)
}

/// A proof of the control of a name (RFC 8737 §3).
fn proof<'a>(
    name: &AcmeName,
    digest: &[u8],
    challenges: &'a Challenges,
) -> Result<Proof<'a>, AuthorityError> {
    let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?;
    let mut params = params(std::iter::once(name.as_str()))?;
    params.custom_extensions = vec![CustomExtension::new_acme_identifier(digest)];
    let certificate = params.self_signed(&key)?.der().clone();
    let key = PrivatePkcs8KeyDer::from(key.serialize_der());
    Ok(challenges.answer(name.as_str(), certificate, key.into())?)
}

fn params<'a>(names: impl Iterator<Item = &'a str>) -> Result<CertificateParams, rcgen::Error> {
    CertificateParams::new(names.map(str::to_owned).collect::<Vec<_>>())
}

/// Why an order has failed: its challenges say so, or the order itself.
async fn refusal(order: &mut Order, problem: Option<Problem>) -> AuthorityError {
    let mut authorizations = order.authorizations();
    while let Some(Ok(mut authorization)) = authorizations.next().await {
        if authorization.refresh().await.is_err() {
            break;
        }
        let mut problems = authorization
            .challenges
            .iter()
            .map(|one| one.error.as_ref());
        if let Some(why) = problems.find_map(|problem| problem.map(ToString::to_string)) {
            let name = authorization.identifier().to_string();
            return AuthorityError::NotProven { name, why };
        }
    }
    let why = problem.map(|problem| problem.to_string());
    AuthorityError::NotProven {
        name: "one of the names".to_owned(),
        why: why.unwrap_or_else(|| "it does not say why".to_owned()),
    }
}

/// Requests of the library's, made as all others of the server are.
struct Client {
    asker: Asker,
    directory: OutboundUrl,
}

impl Client {
    /// Whether a URL that the authority has named may be asked: over TLS, at the port that the
    /// operator has named by way of the directory. The sandbox lets no other be connected to.
    fn allows(&self, url: &axum::http::Uri) -> bool {
        let url: Option<OutboundUrl> = url.to_string().parse().ok();
        url.is_some_and(|url| url.is_secure() && url.port() == self.directory.port())
    }
}

impl HttpClient for Client {
    fn request(
        &self,
        request: Request<BodyWrapper<Bytes>>,
    ) -> Pin<Box<dyn Future<Output = Result<BytesResponse, instant_acme::Error>> + Send>> {
        let asker = self.asker.clone();
        let allowed = self.allows(request.uri());
        let mut request = request.map(Body::new);
        let agent = HeaderValue::from_static(USER_AGENT);
        request.headers_mut().insert(header::USER_AGENT, agent);
        Box::pin(async move {
            if !allowed {
                return Err(instant_acme::Error::Str(
                    "it names a URL without TLS, or at another port than its directory",
                ));
            }
            let answer = asker.ask(request, REQUEST, MAX_ANSWER).await;
            let (parts, body) = answer.map_err(|error| instant_acme::Error::Other(error.into()))?;
            Ok(BytesResponse {
                parts,
                body: Box::new(body),
            })
        })
    }
}
