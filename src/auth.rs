//! Credentials: an API token, or an email with a global API key.

use std::{env, fmt};

use reqwest::header::{AUTHORIZATION, HeaderMap, HeaderName, HeaderValue};

use crate::error::Error;

const TOKEN: &str = "CLOUDFLARE_API_TOKEN";
const EMAIL: &str = "CLOUDFLARE_EMAIL";
const KEY: &str = "CLOUDFLARE_API_KEY";

const BEARER: &str = "Bearer ";
const X_AUTH_EMAIL: HeaderName = HeaderName::from_static("x-auth-email");
const X_AUTH_KEY: HeaderName = HeaderName::from_static("x-auth-key");

/// Proves to the service who is calling.
///
/// The `Debug` form says which kind it is, and nothing else.
#[derive(Clone)]
pub struct Credentials {
    headers: HeaderMap,
}

impl Credentials {
    /// An API token with the permission Queues Write or Workers Scripts Write, sent as a bearer token.
    ///
    /// # Errors
    ///
    /// [`InvalidInput`](crate::ErrorKind::InvalidInput) if the token is empty or cannot stand in a header.
    pub fn api_token(token: impl Into<String>) -> Result<Self, Error> {
        Self::token("API token", &token.into())
    }

    fn token(field: &str, token: &str) -> Result<Self, Error> {
        Ok(Self { headers: HeaderMap::from_iter([(AUTHORIZATION, sensitive(field, BEARER, token)?)]) })
    }

    /// An account's email and its global API key: the older scheme, which gives every permission that the user has.
    ///
    /// # Errors
    ///
    /// [`InvalidInput`](crate::ErrorKind::InvalidInput) if either is empty or cannot stand in a header.
    pub fn email_and_key(email: impl Into<String>, key: impl Into<String>) -> Result<Self, Error> {
        Self::pair(["email", "API key"], &email.into(), &key.into())
    }

    fn pair(fields: [&str; 2], email: &str, key: &str) -> Result<Self, Error> {
        let [email_field, key_field] = fields;
        let email = sensitive(email_field, "", email)?;
        let key = sensitive(key_field, "", key)?;
        Ok(Self { headers: HeaderMap::from_iter([(X_AUTH_EMAIL, email), (X_AUTH_KEY, key)]) })
    }

    /// The credentials in the environment: `CLOUDFLARE_API_TOKEN`, or `CLOUDFLARE_EMAIL` with `CLOUDFLARE_API_KEY`. A variable that
    /// is empty counts as absent.
    ///
    /// # Errors
    ///
    /// [`InvalidInput`](crate::ErrorKind::InvalidInput), naming the variable, if none is set, if both kinds are, if half of a pair is
    /// missing, or if a value cannot stand in a header.
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

    pub(crate) fn headers(&self) -> &HeaderMap {
        &self.headers
    }

    pub(crate) fn secrets(&self) -> impl Iterator<Item = &str> {
        let values = self.headers.values().filter_map(|value| value.to_str().ok());
        values.map(|value| value.strip_prefix(BEARER).unwrap_or(value))
    }
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
    // White space at an end is a slip of copying, and would be trimmed on the way.
    let printable = secret.bytes().all(|byte| byte.is_ascii_graphic());
    match HeaderValue::try_from(format!("{prefix}{secret}")) {
        Ok(mut value) if printable => {
            value.set_sensitive(true);
            Ok(value)
        }
        _ => Err(Error::invalid(format!(
            "{field}: must be printable ASCII without white space, as it stands in a header"
        ))),
    }
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = if self.headers.contains_key(AUTHORIZATION) { "api_token" } else { "email_and_key" };
        write!(f, "Credentials({kind}, ..)")
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
    fn a_token_is_sent_as_a_bearer_and_a_pair_in_both_headers() {
        let token = from(&[(TOKEN, "t0ken")]).unwrap();
        assert_eq!(token.headers()[AUTHORIZATION], "Bearer t0ken");
        assert_eq!(token.headers().len(), 1);
        let pair = from(&[(EMAIL, "me@example.com"), (KEY, "k3y")]).unwrap();
        assert_eq!(pair.headers()[X_AUTH_EMAIL], "me@example.com");
        assert_eq!(pair.headers()[X_AUTH_KEY], "k3y");
        assert_eq!(pair.headers().len(), 2);
        assert!(token.headers().values().chain(pair.headers().values()).all(HeaderValue::is_sensitive));
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
    fn a_secret_that_cannot_be_a_header_is_refused_without_being_shown() {
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
