//! The account, and how to reach it.

use std::env;

use clap::Args;
use cloudflare_queues::{Client, ClientBuilder, Credentials, ErrorKind, Queue, manage::Queues};

use crate::{
    exit::{self, Exit, Failure},
    profile::Profile,
};

/// How to reach the account. The environment is not read by the parser, whose usage lines would show what is set in it.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Account")]
pub(crate) struct Account {
    /// The id of the account [env: CLOUDFLARE_ACCOUNT_ID]
    #[arg(long = "account", global = true, value_name = "ID")]
    id: Option<String>,
    /// The base URL of the service, including /client/v4 [env: CLOUDFLARE_BASE_URL]
    #[arg(long, global = true, value_name = "URL")]
    base_url: Option<String>,
    /// Take the account, the base URL and the variable with the token from this profile [env: CF_QUEUES_PROFILE]
    #[arg(long, global = true, value_name = "NAME")]
    profile: Option<String>,
    /// Allow a base URL with plain http, which exposes the token and the messages to the network
    #[arg(long, global = true)]
    plain_http: bool,
}

const HOW_TO_SET: &str = "set CLOUDFLARE_API_TOKEN to an API token with the permission Queues Write (My Profile, API \
                          Tokens), or give --profile";

/// A variable that is set, and not empty.
pub(crate) fn variable(name: &str) -> Option<String> {
    env::var(name).ok().filter(|value| !value.is_empty())
}

impl Account {
    /// The profile that was chosen, if any.
    pub(crate) fn profile(&self) -> Result<Profile, Failure> {
        match self.profile.clone().or_else(|| variable("CF_QUEUES_PROFILE")) {
            Some(name) => Profile::named(&name),
            None => Ok(Profile::default()),
        }
    }

    /// The base URL of the service.
    pub(crate) fn base_url(&self) -> Result<String, Failure> {
        let given = self.base_url.clone().filter(|url| !url.is_empty());
        let url = given.or(self.profile()?.base_url).or_else(|| variable("CLOUDFLARE_BASE_URL"));
        Ok(url.unwrap_or_else(|| "https://api.cloudflare.com/client/v4".to_owned()))
    }

    /// The id of the account, if it is given by the option or the environment.
    pub(crate) fn given_id(&self) -> Option<String> {
        self.id.clone().filter(|id| !id.is_empty()).or_else(|| variable("CLOUDFLARE_ACCOUNT_ID"))
    }

    /// The id of the account, as given.
    pub(crate) fn id(&self) -> Result<String, Failure> {
        let given = self.id.clone().filter(|id| !id.is_empty());
        let id = given.or(self.profile()?.account).or_else(|| variable("CLOUDFLARE_ACCOUNT_ID"));
        id.ok_or_else(|| Failure::new(Exit::Input, "set CLOUDFLARE_ACCOUNT_ID, or give --account or --profile"))
    }

    pub(crate) fn client(&self) -> Result<Client, Failure> {
        install_tls();
        Ok(self.builder()?.build()?)
    }

    /// The credentials, and the variable that they come from.
    pub(crate) fn credentials(&self) -> Result<(Credentials, String), Failure> {
        if let Some(name) = self.profile()?.token_variable {
            // Its value may be a token that someone has put there.
            let what = "the variable that the profile's token_variable names is not set";
            let missing = || Failure::new(Exit::Input, what);
            return Ok((Credentials::api_token(variable(&name).ok_or_else(missing)?)?, name));
        }
        let credentials = Credentials::from_env().map_err(|error| Failure::from(error).with_note(HOW_TO_SET))?;
        let is_token = variable("CLOUDFLARE_API_TOKEN").is_some();
        let names = if is_token { "CLOUDFLARE_API_TOKEN" } else { "CLOUDFLARE_EMAIL with CLOUDFLARE_API_KEY" };
        Ok((credentials, names.to_owned()))
    }

    /// The variables that give access to the account.
    pub(crate) fn secret_variables(&self) -> Result<Vec<String>, Failure> {
        let usual = ["CLOUDFLARE_API_TOKEN", "CLOUDFLARE_API_KEY", "CLOUDFLARE_EMAIL"].map(str::to_owned);
        Ok(usual.into_iter().chain(self.profile()?.token_variable).collect())
    }

    fn builder(&self) -> Result<ClientBuilder, Failure> {
        let url = self.base_url()?;
        exit::speak_of(&url);
        let builder = Client::builder(self.credentials()?.0).base_url(url);
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
    let found = if is_id(name_or_id) {
        let queue = queues.queue(name_or_id)?;
        queue.describe().await.map(|_| queue)
    } else {
        queues.named(name_or_id).await
    };
    let error = match found {
        Ok(queue) => return Ok(queue),
        Err(error) => error,
    };
    // Where the account is not known, there is nothing to suggest.
    if error.kind() != ErrorKind::NotFound || exit::is_account(&error) {
        return Err(error.into());
    }
    let what = if is_id(name_or_id) { "with the id" } else { "named" };
    let failure = Failure::new(Exit::NotFound, format!("the account has no queue {what} `{name_or_id}`"));
    Err(failure.with_note(&suggestion(queues, name_or_id).await))
}

/// Suggests names that are similar to the given one.
pub(crate) async fn suggestion(queues: &Queues, name: &str) -> String {
    let all = queues.list().all().await.unwrap_or_default();
    let wanted = name.to_lowercase();
    let near = |name: &&str| {
        let name = name.to_lowercase();
        // A name of one or two letters is part of many.
        let is_part = |part: &str, whole: &str| part.len() > 2 && whole.contains(part);
        is_part(&wanted, &name) || is_part(&name, &wanted) || distance(&name, &wanted) <= 2
    };
    let names: Vec<_> = all.iter().map(|queue| queue.name()).filter(near).take(5).collect();
    match names[..] {
        [] => "`cf-queues ls` lists the queues of the account; check the account id, too".to_owned(),
        _ => format!("did you mean {}?", names.join(", ")),
    }
}

/// Whether the text has the form of a queue's id.
pub(crate) fn is_id(name_or_id: &str) -> bool {
    name_or_id.len() == 32 && name_or_id.bytes().all(|byte| byte.is_ascii_hexdigit())
}

/// The number of letters that have to be changed, added or removed.
fn distance(from: &str, to: &str) -> usize {
    let to: Vec<char> = to.chars().collect();
    let mut row: Vec<usize> = (0..=to.len()).collect();
    for (line, from) in from.chars().enumerate() {
        let mut corner = line;
        let mut left = line + 1;
        for (cell, to) in row.iter_mut().skip(1).zip(&to) {
            left = (corner + usize::from(from != *to)).min(*cell + 1).min(left + 1);
            corner = std::mem::replace(cell, left);
        }
        if let Some(first) = row.first_mut() {
            *first = line + 1;
        }
    }
    row.last().copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::distance;

    #[test]
    fn a_distance_counts_changes() {
        for (from, to, expected) in
            [("jobs", "jobs", 0), ("jobs", "job", 1), ("jbos", "jobs", 2), ("", "abc", 3), ("kitten", "sitting", 3)]
        {
            assert_eq!(distance(from, to), expected, "{from} {to}");
        }
    }
}
