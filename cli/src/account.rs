//! The account, and how to reach it.

use clap::Args;
use cloudflare_queues::{Client, ClientBuilder, Queue, manage::Queues};

use crate::exit::{Exit, Failure};

/// How to reach the account.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Account")]
pub(crate) struct Account {
    /// The id of the account
    #[arg(long = "account", global = true, value_name = "ID", env = "CLOUDFLARE_ACCOUNT_ID", hide_env_values = true)]
    id: Option<String>,
    /// The base URL of the service, including /client/v4
    #[arg(long, global = true, value_name = "URL", env = "CLOUDFLARE_BASE_URL", hide_env_values = true)]
    base_url: Option<String>,
    /// Allow a base URL with plain http, which exposes the token and the messages to the network
    #[arg(long, global = true)]
    plain_http: bool,
}

impl Account {
    /// The base URL of the service.
    pub(crate) fn base_url(&self) -> &str {
        self.base_url.as_deref().filter(|url| !url.is_empty()).unwrap_or("https://api.cloudflare.com/client/v4")
    }

    /// The id of the account, if it is given.
    pub(crate) fn given_id(&self) -> Option<&str> {
        self.id.as_deref().filter(|id| !id.is_empty())
    }

    /// The id of the account, as given.
    pub(crate) fn id(&self) -> Result<&str, Failure> {
        self.given_id().ok_or_else(|| Failure::new(Exit::Input, "set CLOUDFLARE_ACCOUNT_ID, or give --account"))
    }

    pub(crate) fn client(&self) -> Result<Client, Failure> {
        install_tls();
        Ok(self.builder()?.build()?)
    }

    fn builder(&self) -> Result<ClientBuilder, Failure> {
        let mut builder = ClientBuilder::from_env()?;
        if let Some(url) = self.base_url.as_ref().filter(|url| !url.is_empty()) {
            builder = builder.base_url(url);
        }
        Ok(if self.plain_http { builder.allow_plain_http() } else { builder })
    }

    /// The queues of the account.
    pub(crate) fn queues(&self) -> Result<Queues, Failure> {
        Ok(self.client()?.queues(self.id()?)?)
    }

    /// A queue by its name or its id.
    pub(crate) async fn queue(&self, name_or_id: &str) -> Result<Queue, Failure> {
        find(&self.queues()?, name_or_id).await
    }
}

pub(crate) fn install_tls() {
    // It fails only if there is a provider already.
    let _ = rustls::crypto::ring::default_provider().install_default();
}

/// A name that looks like an id counts as an id.
pub(crate) async fn find(queues: &Queues, name_or_id: &str) -> Result<Queue, Failure> {
    if is_id(name_or_id) {
        return Ok(queues.queue(name_or_id)?);
    }
    Ok(queues.named(name_or_id).await?)
}

/// Whether the text has the form of a queue's id.
pub(crate) fn is_id(name_or_id: &str) -> bool {
    name_or_id.len() == 32 && name_or_id.bytes().all(|byte| byte.is_ascii_hexdigit())
}
