//! Credentials: an API token, or an email with a global API key. Either fixed, or provided by a function.

use std::{
    env,
    error::Error as StdError,
    fmt,
    future::Future,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use reqwest::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue, USER_AGENT};
use tokio::{
    sync::Mutex,
    time::{Instant, timeout_at},
};

use crate::error::{Error, kind::ErrorKind};

const TOKEN: &str = "CLOUDFLARE_API_TOKEN";
const EMAIL: &str = "CLOUDFLARE_EMAIL";
const KEY: &str = "CLOUDFLARE_API_KEY";

const BEARER: &str = "Bearer ";
const X_AUTH_EMAIL: HeaderName = HeaderName::from_static("x-auth-email");
const X_AUTH_KEY: HeaderName = HeaderName::from_static("x-auth-key");
const AGENT: HeaderValue = HeaderValue::from_static(concat!("cloudflare-queues/", env!("CARGO_PKG_VERSION")));
const JSON: HeaderValue = HeaderValue::from_static("application/json");

/// Credentials for the Cloudflare API.
///
/// The `Debug` output shows only their kind.
///
/// ```
/// use cloudflare_queues::{Client, Credentials};
///
/// let client = Client::new(Credentials::api_token("token")?)?;
///
/// // Credentials that change while the client runs:
/// let client = Client::new(Credentials::from_provider(|| async {
///     let token = std::fs::read_to_string("/run/secrets/cloudflare-token")?;
///     Ok(Credentials::api_token(token.trim_end())?)
/// }))?;
/// # Ok::<(), cloudflare_queues::Error>(())
/// ```
#[derive(Clone)]
pub struct Credentials(Kind);

#[derive(Clone)]
enum Kind {
    Fixed(Arc<Headers>),
    Provided(Arc<Provider>),
}

type BoxError = Box<dyn StdError + Send + Sync>;
type Provided = Pin<Box<dyn Future<Output = Result<Credentials, BoxError>> + Send>>;
type Provider = dyn Fn() -> Provided + Send + Sync;

/// The headers of a request with a body: the credential, which is marked as sensitive, and what is the same for all.
#[derive(Debug, PartialEq)]
pub(crate) struct Headers(HeaderMap);

impl Headers {
    pub(crate) fn all(&self) -> &HeaderMap {
        &self.0
    }

    pub(crate) fn secrets(&self) -> impl Iterator<Item = &str> {
        let values = self.0.values().filter(|value| value.is_sensitive()).filter_map(|value| value.to_str().ok());
        values.map(|value| value.strip_prefix(BEARER).unwrap_or(value))
    }
}

impl Credentials {
    /// An API token with the permission Queues Write or Workers Scripts Write. It is sent as a bearer token.
    ///
    /// # Errors
    ///
    /// [`InvalidInput`](crate::ErrorKind::InvalidInput) if the token is empty, or not valid in a header.
    pub fn api_token(token: impl Into<String>) -> Result<Self, Error> {
        Self::token("API token", &token.into())
    }

    fn token(field: &str, token: &str) -> Result<Self, Error> {
        Ok(Self::fixed([(AUTHORIZATION, sensitive(field, BEARER, token)?)]))
    }

    /// An account's email and global API key: the older scheme, which grants all of the user's permissions.
    ///
    /// # Errors
    ///
    /// [`InvalidInput`](crate::ErrorKind::InvalidInput) if either is empty, or not valid in a header.
    pub fn email_and_key(email: impl Into<String>, key: impl Into<String>) -> Result<Self, Error> {
        Self::pair(["email", "API key"], &email.into(), &key.into())
    }

    fn pair(fields: [&str; 2], email: &str, key: &str) -> Result<Self, Error> {
        let [email_field, key_field] = fields;
        let email = sensitive(email_field, "", email)?;
        let key = sensitive(key_field, "", key)?;
        Ok(Self::fixed([(X_AUTH_EMAIL, email), (X_AUTH_KEY, key)]))
    }

    fn fixed(headers: impl IntoIterator<Item = (HeaderName, HeaderValue)>) -> Self {
        let same = [(USER_AGENT, AGENT), (ACCEPT, JSON), (CONTENT_TYPE, JSON)];
        Self(Kind::Fixed(Arc::new(Headers(same.into_iter().chain(headers).collect()))))
    }

    /// Credentials provided by a function, for tokens that change while the client runs.
    ///
    /// The function is called before the first request, and again when a call would fail with
    /// [`Unauthorized`](ErrorKind::Unauthorized). If it returns different ones, the request is sent once more with
    /// those. Otherwise the call fails.
    /// Concurrent calls share one call of the function. If the function fails, the call fails with
    /// [`CredentialsUnavailable`](ErrorKind::CredentialsUnavailable). If the call that waits for it ends before, its
    /// future is dropped, and the next call calls the function again.
    ///
    /// The function must return credentials of one of the other kinds.
    pub fn from_provider<F, P>(provider: P) -> Self
    where
        P: Fn() -> F + Send + Sync + 'static,
        F: Future<Output = Result<Self, Box<dyn StdError + Send + Sync>>> + Send + 'static,
    {
        Self(Kind::Provided(Arc::new(move || Box::pin(provider()))))
    }

    /// Reads the credentials from the environment: `CLOUDFLARE_API_TOKEN`, or `CLOUDFLARE_EMAIL` with
    /// `CLOUDFLARE_API_KEY`. An empty variable counts as not set.
    ///
    /// # Errors
    ///
    /// [`InvalidInput`](crate::ErrorKind::InvalidInput), if none is set, if both kinds are set, if half of a pair is
    /// missing, or if a value is not valid in a header. The error names the variable.
    pub fn from_env() -> Result<Self, Error> {
        Self::from_variables(variable)
    }

    fn from_variables(get: impl Fn(&'static str) -> Result<Option<String>, Error>) -> Result<Self, Error> {
        match (get(TOKEN)?, get(EMAIL)?, get(KEY)?) {
            (Some(token), None, None) => Self::token(TOKEN, &token),
            (None, Some(email), Some(key)) => Self::pair([EMAIL, KEY], &email, &key),
            (Some(_), email, _) => {
                let other = if email.is_some() { EMAIL } else { KEY };
                Err(Error::invalid(format!(
                    "{TOKEN} and {other} are both set, so it is unclear which one is meant: unset one"
                )))
            }
            (None, Some(_), None) => Err(Error::invalid(format!("{EMAIL} is set, but {KEY} is not"))),
            (None, None, Some(_)) => Err(Error::invalid(format!("{KEY} is set, but {EMAIL} is not"))),
            (None, None, None) => Err(Error::invalid(format!("neither {TOKEN} nor {EMAIL} with {KEY} is set"))),
        }
    }
}

/// Where a client's calls take their credentials from.
#[derive(Debug)]
pub(crate) struct CredentialSource {
    credentials: Credentials,
    /// What the provider returned last. It is held while the provider is asked, so that callers wait for one reply.
    latest: Mutex<Latest>,
    /// How often the provider has replied.
    replies: AtomicU64,
}

#[derive(Debug, Default)]
struct Latest {
    headers: Option<Arc<Headers>>,
    /// The failure of the last call, if it failed.
    failure: Option<Error>,
}

impl CredentialSource {
    pub(crate) fn new(credentials: Credentials) -> Self {
        Self { credentials, latest: Mutex::default(), replies: AtomicU64::new(0) }
    }

    /// The present credentials, or others than those that were refused if there are any. A provider has until `end`.
    pub(crate) async fn get(&self, refused: Option<&Arc<Headers>>, end: Instant) -> Result<Arc<Headers>, Error> {
        match &self.credentials.0 {
            Kind::Fixed(headers) => Ok(Arc::clone(headers)),
            Kind::Provided(provider) => {
                let late = |_| Err(unavailable("the credentials were not provided in time"));
                timeout_at(end, self.ask(&**provider, refused)).await.unwrap_or_else(late)
            }
        }
    }

    async fn ask(&self, provider: &Provider, refused: Option<&Arc<Headers>>) -> Result<Arc<Headers>, Error> {
        let known = self.replies.load(Ordering::Relaxed);
        let mut latest = self.latest.lock().await;
        // Whoever waited for a reply shares it, even if it is a failure or the same again.
        let has_waited = self.replies.load(Ordering::Relaxed) != known;
        let is_other = |headers: &Arc<Headers>| refused.is_none_or(|refused| *refused != *headers);
        match (&latest.headers, &latest.failure) {
            (Some(headers), _) if is_other(headers) => return Ok(Arc::clone(headers)),
            (_, Some(failure)) if has_waited => return Err(failure.clone()),
            (Some(headers), None) if has_waited => return Ok(Arc::clone(headers)),
            _ => {}
        }
        let reply = match provider().await {
            Ok(Credentials(Kind::Fixed(headers))) => Ok(headers),
            Ok(_) => Err(unavailable("the function that provides credentials returned another provider")),
            Err(error) => Err(unavailable("the function that provides credentials failed").with_source(error, false)),
        };
        self.replies.fetch_add(1, Ordering::Relaxed);
        latest.failure = reply.as_ref().err().cloned();
        if let Ok(headers) = &reply {
            latest.headers = Some(Arc::clone(headers));
        }
        reply
    }
}

fn unavailable(message: &'static str) -> Error {
    Error::new(ErrorKind::CredentialsUnavailable, message)
}

/// A variable of the environment, if it is set to something.
pub(crate) fn variable(name: &'static str) -> Result<Option<String>, Error> {
    match env::var(name) {
        Ok(value) => Ok(Some(value).filter(|value| !value.is_empty())),
        Err(env::VarError::NotPresent) => Ok(None),
        Err(env::VarError::NotUnicode(_)) => Err(Error::invalid(format!("{name} is not valid UTF-8"))),
    }
}

fn sensitive(field: &str, prefix: &str, secret: &str) -> Result<HeaderValue, Error> {
    if secret.is_empty() {
        return Err(Error::invalid(format!("{field}: must not be empty")));
    }
    // Leading or trailing white space is a copying mistake, and would be trimmed on the way.
    let printable = secret.bytes().all(|byte| byte.is_ascii_graphic());
    match HeaderValue::try_from(format!("{prefix}{secret}")) {
        Ok(mut value) if printable => {
            value.set_sensitive(true);
            Ok(value)
        }
        _ => Err(Error::invalid(format!(
            "{field}: must be printable ASCII without white space, to be valid in a header"
        ))),
    }
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match &self.0 {
            Kind::Fixed(headers) if headers.0.contains_key(AUTHORIZATION) => "Credentials(api_token, ..)",
            Kind::Fixed(_) => "Credentials(email_and_key, ..)",
            Kind::Provided(_) => "Credentials(from_provider, ..)",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn from(set: &[(&str, &str)]) -> Result<Credentials, Error> {
        Credentials::from_variables(|name| {
            Ok(set.iter().find(|(variable, _)| *variable == name).map(|(_, value)| value.to_string()))
        })
    }

    #[test]
    fn tokens_are_sent_as_bearer_and_pairs_in_both_headers() {
        let headers = |credentials: Credentials| match credentials.0 {
            Kind::Fixed(headers) => headers.0.clone(),
            Kind::Provided(_) => panic!("no headers"),
        };
        let token = headers(from(&[(TOKEN, "t0ken")]).unwrap());
        assert_eq!(token[AUTHORIZATION], "Bearer t0ken");
        let secrets = |headers: &HeaderMap| headers.values().filter(|value| value.is_sensitive()).count();
        assert_eq!(secrets(&token), 1);
        let pair = headers(from(&[(EMAIL, "me@example.com"), (KEY, "k3y")]).unwrap());
        assert_eq!(pair[X_AUTH_EMAIL], "me@example.com");
        assert_eq!(pair[X_AUTH_KEY], "k3y");
        assert_eq!(secrets(&pair), 2);
    }

    #[test]
    fn a_doubtful_environment_is_refused_naming_the_variables() {
        let message = |set: &[(&str, &str)]| from(set).unwrap_err().to_string();
        assert!(
            message(&[]).contains("neither CLOUDFLARE_API_TOKEN nor CLOUDFLARE_EMAIL with CLOUDFLARE_API_KEY is set")
        );
        assert!(message(&[(EMAIL, "e")]).contains("CLOUDFLARE_API_KEY is not"));
        assert!(message(&[(KEY, "k")]).contains("CLOUDFLARE_EMAIL is not"));
        assert!(
            message(&[(TOKEN, "t"), (KEY, "k")]).contains("CLOUDFLARE_API_TOKEN and CLOUDFLARE_API_KEY are both set")
        );
        assert!(
            message(&[(TOKEN, "t"), (EMAIL, "e"), (KEY, "k")]).contains("CLOUDFLARE_API_TOKEN and CLOUDFLARE_EMAIL")
        );
    }

    #[test]
    fn an_invalid_secret_is_refused_without_being_shown() {
        for secret in ["", " s3cret", "s3cret\n", "s3\r\ncret", "s\u{e9}cret"] {
            let error = Credentials::api_token(secret).unwrap_err();
            assert!(error.to_string().starts_with("API token: must"), "{error}");
            assert!(!format!("{error} {error:?}").contains("cret"), "{error:?}");
        }
    }

    #[test]
    fn debug_shows_no_secret() {
        let token = Credentials::api_token("s3cret").unwrap();
        let pair = Credentials::email_and_key("s3cret@example.com", "s3cret").unwrap();
        assert_eq!(format!("{token:?} {pair:?}"), "Credentials(api_token, ..) Credentials(email_and_key, ..)");
    }
}
