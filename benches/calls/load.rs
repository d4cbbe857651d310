//! What a client is to do, handed to it as the argument of its process.

use serde::{Deserialize, Serialize};

pub(crate) use benches::Result;

#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Load {
    pub(crate) client: String,
    pub(crate) site: Site,
    /// Over TLS, and who encrypts on this side.
    pub(crate) tls: Option<Provider>,
    pub(crate) call: Call,
    /// How many calls are counted; none for the first one alone.
    pub(crate) calls: usize,
    pub(crate) in_flight: usize,
}

/// Where the server is.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Site {
    pub(crate) http: String,
    pub(crate) https: String,
    /// The certificate that is to be trusted, in hexadecimal DER.
    pub(crate) issuer: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) enum Provider {
    AwsLc,
    Ring,
}

/// One call, as a user would make it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) enum Call {
    /// Of so many leases.
    Ack(usize),
    /// Of so many messages of so many bytes.
    Pull(Form, usize, usize),
    /// Of so many messages of 1 KB.
    Push(usize),
}

/// How messages arrive.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(crate) struct Form {
    pub(crate) is_base64: bool,
    /// Whether `success` comes after the result.
    pub(crate) is_last: bool,
}

impl Load {
    pub(crate) fn url(&self) -> &str {
        if self.tls.is_some() { &self.site.https } else { &self.site.http }
    }
}

impl Call {
    /// The queue's id, which tells the server what to respond.
    pub(crate) fn queue(&self) -> String {
        match self {
            Self::Ack(_) | Self::Push(_) => "queue".to_owned(),
            Self::Pull(form, messages, size) => {
                let encoding = if form.is_base64 { "base64" } else { "text" };
                let order = if form.is_last { "last" } else { "first" };
                format!("{encoding}-{order}-{messages}-{size}")
            }
        }
    }
}
