//! The checks, each of which builds on those before it.

use std::{
    env,
    time::{Duration, SystemTime},
};

use cloudflare_queues::{
    AccountId, Error, ErrorKind, Queue,
    manage::{ConsumerDescription, ConsumerKind, Queues},
    reqwest::{self, Url, header::DATE, redirect},
};

use super::{Finding, State};
use crate::{
    account::{Account, find, install_tls, is_id, suggestion, variable},
    backlog,
    exit::{Exit, Failure, innermost},
    output::{counted, lasting, messages},
};

const CONNECT: Duration = Duration::from_secs(10);
/// With a larger difference, certificates may seem expired, and the ages of messages are wrong.
const MOST_SKEW: Duration = Duration::from_secs(60);

#[derive(Default)]
pub(super) struct Checks {
    pub(super) findings: Vec<Finding>,
    /// The queue has no consumer at all.
    pub(super) lacks_consumer: bool,
}

impl Checks {
    /// Runs every check that has what it needs. Returns the queue if it was found.
    pub(super) async fn all(&mut self, account: &Account, queue: Option<&str>) -> Option<Queue> {
        let mut is_ready = self.credentials(account);
        is_ready &= self.account_id(account);
        self.proxy();
        is_ready &= self.network(account).await;
        if !is_ready {
            return None;
        }
        let queues = match account.queues() {
            Ok(queues) => queues,
            Err(failure) => {
                self.failed("client", failure, "correct what is named");
                return None;
            }
        };
        if !self.listing(&queues).await {
            return None;
        }
        let queue = self.queue(&queues, queue?).await?;
        self.consumers(&queue).await;
        self.backlog(&queue).await;
        Some(queue)
    }

    fn add(&mut self, check: &'static str, state: State, exit: Exit, found: String, advice: Option<String>) {
        self.findings.push(Finding { check, state, found, advice, exit });
    }

    fn ok(&mut self, check: &'static str, found: impl Into<String>) {
        self.add(check, State::Ok, Exit::Partly, found.into(), None);
    }

    fn doubtful(&mut self, check: &'static str, found: impl Into<String>, advice: &str) {
        self.add(check, State::Doubtful, Exit::Partly, found.into(), Some(advice.to_owned()));
    }

    fn failed(&mut self, check: &'static str, failure: impl Into<Failure>, advice: &str) {
        let failure = failure.into();
        // The lines after the first one point to this command.
        let found = failure.to_string().lines().next().unwrap_or_default().to_owned();
        self.add(check, State::Wrong, failure.exit(), found, Some(advice.to_owned()));
    }

    fn credentials(&mut self, account: &Account) -> bool {
        match account.credentials() {
            Ok((_, from)) => self.ok("credentials", from),
            Err(error) => {
                self.failed(
                    "credentials",
                    error,
                    "create an API token with the permission Queues Write (My Profile, API Tokens), and set \
                     CLOUDFLARE_API_TOKEN to it",
                );
                return false;
            }
        }
        true
    }

    fn account_id(&mut self, account: &Account) -> bool {
        let checked = account.id().and_then(|id| Ok((id.clone(), AccountId::try_from(id)?)));
        match checked {
            Ok((id, _)) if is_id(&id) => self.ok("account", id),
            Ok((id, _)) if account.base_url().is_ok_and(|url| url.contains("cloudflare.com")) => {
                self.doubtful(
                    "account",
                    id,
                    "Cloudflare's ids have 32 hexadecimal digits; the dashboard's URL shows yours",
                );
            }
            Ok((id, _)) => self.ok("account", id),
            Err(failure) => {
                self.failed("account", failure, "take the id from the dashboard's URL, after dash.cloudflare.com/");
                return false;
            }
        }
        true
    }

    /// The library reads its proxy from the environment.
    fn proxy(&mut self) {
        let names = ["HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"];
        let Some(name) = names.into_iter().find(|name| variable(name).is_some()) else { return };
        let value = env::var(name).unwrap_or_default();
        // It may hold a password.
        let url = if value.contains("://") { value } else { format!("http://{value}") };
        let host =
            Url::parse(&url).ok().and_then(|url| Some((url.host_str()?.to_owned(), url.port_or_known_default())));
        match host {
            Some((host, port)) => self.ok("proxy", format!("{name} leads to {host}:{}", port.unwrap_or_default())),
            None => self.doubtful("proxy", format!("{name} is not a URL"), "set it to http://HOST:PORT, or unset it"),
        }
    }

    /// Whether anything responds, and by which clock.
    async fn network(&mut self, account: &Account) -> bool {
        install_tls();
        let url = match account.base_url() {
            Ok(url) => url,
            Err(failure) => {
                self.failed("profile", failure, "correct the profile");
                return false;
            }
        };
        let url = public(&url);
        let is_loopback = url.contains("//127.0.0.1") || url.contains("//localhost") || url.contains("//[::1]");
        let client = reqwest::Client::builder().redirect(redirect::Policy::none()).timeout(CONNECT);
        let client = if is_loopback { client.no_proxy() } else { client };
        let response = match client.build() {
            Ok(client) => client.get(&url).send().await,
            Err(error) => Err(error),
        };
        let response = match response {
            Ok(response) => response,
            Err(error) => {
                let found = format!("{url} does not respond: {}", innermost(&error.without_url()));
                let advice = "check the base URL, the network, a firewall, and a proxy (HTTPS_PROXY, NO_PROXY)";
                self.add("network", State::Wrong, Exit::Service, found, Some(advice.to_owned()));
                return false;
            }
        };
        self.ok("network", format!("{url} responds"));
        let date = response.headers().get(DATE).and_then(|date| date.to_str().ok());
        let Some(theirs) = date.and_then(|date| httpdate::parse_http_date(date).ok()) else { return true };
        let ours = SystemTime::now();
        let skew = ours.duration_since(theirs).or_else(|_| theirs.duration_since(ours)).unwrap_or_default();
        if skew <= MOST_SKEW {
            self.ok("clock", "within a minute of the service's");
        } else {
            let found = format!("{} off the service's", lasting(skew));
            self.doubtful("clock", found, "set the clock: certificates and the ages of messages depend on it");
        }
        true
    }

    async fn listing(&mut self, queues: &Queues) -> bool {
        match queues.list().next().await {
            None => self.ok("permission", "the account has no queue"),
            Some(Ok(_)) => {
                self.ok("permission", "the credentials can list queues; whether they can write is not checked")
            }
            Some(Err(error)) => {
                let advice = refusal(&error);
                self.failed("permission", error, advice);
                return false;
            }
        }
        true
    }

    async fn queue(&mut self, queues: &Queues, name_or_id: &str) -> Option<Queue> {
        let queue = match find(queues, name_or_id).await {
            Ok(queue) => queue,
            Err(failure) => {
                let advice = suggestion(queues, name_or_id).await;
                self.failed("queue", failure, &advice);
                return None;
            }
        };
        let described = match queue.describe().await {
            Ok(described) => described,
            Err(error) => {
                let advice = suggestion(queues, name_or_id).await;
                self.failed("queue", error, &advice);
                return None;
            }
        };
        self.ok("queue", format!("{}, with the id {}", described.name(), queue.id()));
        if described.delivery_paused() == Some(true) {
            let advice = format!("cf-queues resume {}", described.name());
            self.add(
                "delivery",
                State::Wrong,
                Exit::Refused,
                "it is paused: pulls are refused".to_owned(),
                Some(advice),
            );
        }
        Some(queue)
    }

    async fn consumers(&mut self, queue: &Queue) {
        let consumers = match queue.consumers().await {
            Ok(consumers) => consumers,
            Err(error) => return self.failed("consumer", error, "the token may lack a permission"),
        };
        let Some(pull) = consumers.iter().find(|consumer| consumer.kind() == ConsumerKind::HttpPull) else {
            self.lacks_consumer = consumers.is_empty();
            let kinds: Vec<_> = consumers.iter().map(|consumer| consumer.kind().as_str().to_owned()).collect();
            let (found, advice) = match kinds[..] {
                [] => ("there is none: pulls are refused".to_owned(), "run this again with --enable-pull"),
                _ => (
                    format!("there is no pull consumer, but one of the kind {}", kinds.join(", ")),
                    "a queue has one consumer: remove that one first, or redrive from another queue",
                ),
            };
            return self.add("consumer", State::Wrong, Exit::Refused, found, Some(advice.to_owned()));
        };
        self.ok("consumer", "a pull consumer");
        self.dead_letters(queue, pull).await;
    }

    async fn dead_letters(&mut self, queue: &Queue, consumer: &ConsumerDescription) {
        const CHECK: &str = "dead letters";
        let Some(name) = backlog::dead_letters(consumer) else {
            let found = match consumer.max_retries() {
                Some(retries) => {
                    format!("none: a message is deleted after {}", counted(retries.into(), "retry", "retries"))
                }
                None => "none: a message is deleted after its last retry".to_owned(),
            };
            return self.doubtful(CHECK, found, "name a dead-letter queue if messages must not be lost");
        };
        let dead = match queue.queues().find(name).await {
            Ok(Some(dead)) => dead,
            Ok(None) => {
                let advice = "create it, or name another: messages without retries left are lost";
                let found = format!("{name} does not exist");
                return self.add(CHECK, State::Wrong, Exit::NotFound, found, Some(advice.to_owned()));
            }
            Err(error) => return self.failed(CHECK, error, "the token may lack a permission"),
        };
        let count = match dead.id().and_then(|id| queue.queues().queue(id)) {
            Ok(dead) => dead.metrics().await.ok().and_then(|metrics| metrics.backlog_count),
            Err(_) => None,
        };
        let found = match count {
            Some(count) => format!("{name}, with {}", messages(count)),
            None => name.to_owned(),
        };
        let has_pull = dead.consumers().iter().any(|consumer| consumer.kind() == ConsumerKind::HttpPull);
        if !has_pull {
            let advice = format!("`cf-queues doctor {name} --enable-pull` adds one, so that redrive and export work");
            return self.doubtful(CHECK, format!("{found}, and without a pull consumer"), &advice);
        }
        if dead.delivery_paused() == Some(true) {
            let advice = format!("`cf-queues resume {name}`: pulls are refused while it is paused");
            return self.doubtful(CHECK, format!("{found}, and paused"), &advice);
        }
        if count.is_some_and(|count| count > 0) {
            let advice = format!("`cf-queues count {name} --by /FIELD` shows what they have in common");
            return self.doubtful(CHECK, found, &advice);
        }
        self.ok(CHECK, found);
    }

    async fn backlog(&mut self, queue: &Queue) {
        let metrics = match queue.metrics().await {
            Ok(metrics) => metrics,
            Err(error) => return self.failed("backlog", error, "the token may lack a permission"),
        };
        let age = metrics.oldest_message.map(|oldest| oldest.elapsed().unwrap_or_default());
        let age = age.map(|age| format!(", the oldest {} old", lasting(age)));
        let count = metrics.backlog_count.map_or_else(|| "unknown".to_owned(), messages);
        self.ok("backlog", format!("{count}{}", age.unwrap_or_default()));
    }
}

/// A base URL without its password and other parts that the library refuses, and that may be secret.
fn public(url: &str) -> String {
    let Some(mut url) = Url::parse(url).ok().filter(Url::has_host) else { return "the base URL".to_owned() };
    // This cannot fail if there is a host.
    let _ = (url.set_username(""), url.set_password(None));
    url.set_query(None);
    url.set_fragment(None);
    url.to_string()
}

/// What to do when the service refuses to list queues.
fn refusal(error: &Error) -> &'static str {
    match error.kind() {
        ErrorKind::Unauthorized if error.has_code(6003) || error.has_code(6111) => {
            "the token is malformed: copy it again, whole and without quotes"
        }
        ErrorKind::Unauthorized if error.has_code(9109) => {
            "the token lacks the permission Queues Write (or Workers Scripts Write) for this account"
        }
        ErrorKind::Unauthorized => "the token is unknown, has expired, or belongs to another account: create a new one",
        ErrorKind::NotFound => "there is no account with this id, or the base URL is wrong",
        ErrorKind::Rejected if error.status() == Some(403) => {
            "a firewall challenges this machine: try from another network, or without the proxy"
        }
        ErrorKind::ServiceFailure if error.status().is_some_and(|status| status < 500) => {
            "the response is not the service's: check the base URL, and what a proxy or firewall on the way refuses"
        }
        ErrorKind::RateLimited => "wait: the account's limit of requests holds for up to 5 minutes",
        _ => "try again later",
    }
}
