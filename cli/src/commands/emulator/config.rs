//! The queues of an emulator, as a file or as arguments.

use std::{collections::BTreeSet, fs, path::Path};

use cloudflare_queues::{
    emulator::{Behavior, Seed},
    manage::{ConsumerSettings, NewQueue, QueueSettings},
};
use serde::Deserialize;
use serde_json::{Map, Value};

use crate::exit::{Exit, Failure};

/// What `queues.toml` holds.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Config {
    pub(super) queues: Vec<Queue>,
    #[serde(default)]
    pub(super) behavior: Behavior,
}

/// A queue, with the names and units of Cloudflare's API.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Queue {
    pub(super) name: String,
    pub(super) id: Option<String>,
    delivery_delay: Option<u32>,
    delivery_paused: Option<bool>,
    message_retention_period: Option<u32>,
    visibility_timeout_ms: Option<u32>,
    max_retries: Option<u32>,
    retry_delay: Option<u32>,
    dead_letter_queue: Option<String>,
    #[serde(default)]
    pub(super) messages: Vec<Seed>,
}

/// The configuration in a file.
pub(super) fn read(path: &Path) -> Result<Config, Failure> {
    let wrong = |error: String| Failure::new(Exit::Input, format!("{}: {}", path.display(), error.trim_end()));
    let text = fs::read_to_string(path).map_err(|error| wrong(error.to_string()))?;
    let config: Config = toml::from_str(&text).map_err(|error| wrong(error.to_string()))?;
    Ok(Config { queues: complete(config.queues).map_err(wrong)?, ..config })
}

/// The queues of arguments; one if there are none.
pub(super) fn of_arguments(arguments: &[String]) -> Result<Config, Failure> {
    if arguments.is_empty() {
        let queues = vec![Queue { name: "queue-1".to_owned(), ..Queue::default() }];
        return Ok(Config { queues, behavior: Behavior::new() });
    }
    let queues: Vec<_> = arguments.iter().map(|argument| of_argument(argument)).collect::<Result<_, _>>()?;
    let queues = complete(queues).map_err(|message| Failure::new(Exit::Input, format!("--queue: {message}")))?;
    Ok(Config { queues, behavior: Behavior::new() })
}

/// The behavior with switches of the form `name=value`, where a value is JSON, or otherwise text.
pub(super) fn behave(behavior: Behavior, switches: &[String]) -> Result<Behavior, Failure> {
    switches.iter().try_fold(behavior, |behavior, switch| {
        let (name, value) = switch.split_once('=').unwrap_or((switch, "true"));
        let value = serde_json::from_str(value).unwrap_or_else(|_| Value::from(value));
        let wrong = |error| Failure::new(Exit::Input, format!("--behavior {switch}: {}", Failure::described(&error)));
        behavior.set(name, value).map_err(wrong)
    })
}

fn of_argument(argument: &str) -> Result<Queue, Failure> {
    let wrong = |error: String| Failure::new(Exit::Input, format!("--queue {argument}: {error}"));
    let mut parts = argument.split(',');
    let name = ("name".to_owned(), Value::from(parts.next().unwrap_or_default()));
    let queue = |fields: Map<String, Value>| serde_json::from_value::<Queue>(fields.into());
    let mut fields = Map::from_iter([name.clone()]);
    for part in parts {
        let (key, value) = part.split_once('=').unwrap_or((part, ""));
        if fields.contains_key(key) {
            return Err(wrong(format!("`{key}` is given twice")));
        }
        // A name or an id may look like a number.
        let readings = [serde_json::from_str(value).unwrap_or_else(|_| Value::from(value)), Value::from(value)];
        let [read, text] = readings.map(|value| {
            let field = (key.to_owned(), value);
            queue(Map::from_iter([name.clone(), field.clone()])).map(|_| field)
        });
        fields.extend([read.or_else(|error| text.map_err(|_| wrong(format!("`{key}`: {error}"))))?]);
    }
    queue(fields).map_err(|error| wrong(error.to_string()))
}

/// Refuses duplicate names, and adds dead-letter queues that are not listed.
fn complete(mut queues: Vec<Queue>) -> Result<Vec<Queue>, String> {
    let mut names = BTreeSet::new();
    for queue in &queues {
        if !names.insert(queue.name.clone()) {
            return Err(format!("the queue `{}` is listed twice", queue.name));
        }
        if queue.dead_letter_queue.as_ref() == Some(&queue.name) {
            return Err(format!("`dead_letter_queue` of `{0}` is `{0}` itself", queue.name));
        }
    }
    if names.is_empty() {
        return Err("`queues` is empty".to_owned());
    }
    let named: Vec<_> = queues.iter().filter_map(|queue| queue.dead_letter_queue.clone()).collect();
    for name in named {
        if names.insert(name.clone()) {
            queues.push(Queue { name, ..Queue::default() });
        }
    }
    Ok(queues)
}

impl Queue {
    /// The queue without its consumer.
    pub(super) fn new_queue(&self) -> NewQueue {
        NewQueue::new(&self.name).settings(self.settings())
    }

    pub(super) fn settings(&self) -> QueueSettings {
        let settings = [
            ("delivery_delay", self.delivery_delay.map(Value::from)),
            ("delivery_paused", self.delivery_paused.map(Value::from)),
            ("message_retention_period", self.message_retention_period.map(Value::from)),
        ];
        let named = settings.into_iter().filter_map(|(name, value)| Some((name, value?)));
        named.fold(QueueSettings::new(), |settings, (name, value)| settings.setting(name, value))
    }

    pub(super) fn consumer(&self) -> ConsumerSettings {
        let settings = [
            ("visibility_timeout_ms", self.visibility_timeout_ms),
            ("max_retries", self.max_retries),
            ("retry_delay", self.retry_delay),
        ];
        let named = settings.into_iter().filter_map(|(name, value)| Some((name, value?)));
        let consumer = named.fold(ConsumerSettings::pull(), |consumer, (name, value)| consumer.setting(name, value));
        self.dead_letter_queue.iter().fold(consumer, ConsumerSettings::dead_letter_queue)
    }
}
