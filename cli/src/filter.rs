//! Selects messages: conditions on their properties and on the content of their bodies.

use std::{
    borrow::Cow,
    cmp::Ordering,
    collections::HashMap,
    str::FromStr,
    time::{Duration, SystemTime},
};

use cloudflare_queues::{Body, Message, PeekedMessage};
use serde_json::value::RawValue;

pub(crate) const HELP: &str = "\
Filters: FIELD OPERATOR VALUE; a message matches if all that are given do.
  fields      id, attempts (deliveries before this one), age, type (the
              content type), body (as text), or a path into the JSON of the
              body, such as /user/name or /items/0
  operators   =  !=  <  <=  >  >=  ~ (contains)  !~ (does not contain);
              for = and !=, only attempts and numbers of the JSON are
              numbers: 1.1 equals 1.10, but not the string \"1.10\"
  examples    /type=order   /amount>=100   age>1h   attempts>3   body~timeout";

/// A condition on a message.
#[derive(Clone, Debug)]
pub(crate) struct Condition {
    field: Field,
    operator: Operator,
    value: String,
}

/// A property of a message.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Field {
    Id,
    Attempts,
    Age,
    Type,
    Body,
    /// Into a JSON body.
    Path(String),
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Operator {
    Equal,
    NotEqual,
    AtMost,
    AtLeast,
    Less,
    More,
    Contains,
    ContainsNot,
}

/// The longer ones first, since they begin like the shorter ones.
const OPERATORS: [(&str, Operator); 8] = [
    ("!=", Operator::NotEqual),
    ("<=", Operator::AtMost),
    (">=", Operator::AtLeast),
    ("!~", Operator::ContainsNot),
    ("=", Operator::Equal),
    ("<", Operator::Less),
    (">", Operator::More),
    ("~", Operator::Contains),
];

/// What conditions look at.
#[derive(Clone, Copy)]
pub(crate) struct Subject<'a> {
    id: &'a str,
    attempts: Option<u32>,
    timestamp: Option<SystemTime>,
    body: &'a Body,
}

impl<'a> From<&'a Message> for Subject<'a> {
    fn from(message: &'a Message) -> Self {
        let Message { id, timestamp, body, .. } = message;
        Self { id, attempts: attempts_before(message), timestamp: *timestamp, body }
    }
}

impl<'a> From<&'a PeekedMessage> for Subject<'a> {
    fn from(message: &'a PeekedMessage) -> Self {
        let PeekedMessage { id, attempts, timestamp, body, .. } = message;
        Self { id, attempts: *attempts, timestamp: *timestamp, body }
    }
}

/// How often a pulled message was delivered before: what a peek would have shown.
pub(crate) fn attempts_before(message: &Message) -> Option<u32> {
    message.attempts.map(|attempts| attempts.saturating_sub(1))
}

impl FromStr for Field {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        Ok(match text {
            "id" => Self::Id,
            "attempts" => Self::Attempts,
            "age" => Self::Age,
            "type" => Self::Type,
            "body" => Self::Body,
            path if path.starts_with('/') => Self::Path(path.to_owned()),
            other => {
                return Err(format!(
                    "`{other}` is no field: id, attempts, age, type, body, or a path into the body such as /a/b"
                ));
            }
        })
    }
}

/// Ages that messages are counted by.
const AGES: [(u64, &str); 6] =
    [(60, "< 1m"), (600, "< 10m"), (3600, "< 1h"), (86_400, "< 1 day"), (604_800, "< 7 days"), (u64::MAX, "older")];

impl Field {
    /// The value that a message has, an age rounded up; `None` if it has none.
    pub(crate) fn of<'a>(&self, message: impl Into<Subject<'a>>) -> Option<String> {
        let subject = message.into();
        match self {
            Self::Id => Some(subject.id.to_owned()),
            Self::Attempts => subject.attempts.map(|attempts| attempts.to_string()),
            Self::Age => {
                let age = subject.timestamp?.elapsed().unwrap_or_default().as_secs();
                AGES.iter().find(|(below, _)| age < *below).map(|(_, name)| (*name).to_owned())
            }
            Self::Type => Some(subject.body.content_type().as_str().to_owned()),
            Self::Body => subject.body.text().ok().map(Cow::into_owned),
            Self::Path(path) => text_of(value_at(path, &subject.body.json::<Box<RawValue>>().ok()?)?),
        }
    }
}

impl FromStr for Condition {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let no_operator = || "there is no operator: = != < <= > >= ~ !~".to_owned();
        let at = text.find(['=', '!', '<', '>', '~']).ok_or_else(no_operator)?;
        let (field, rest) = text.split_at(at);
        let find = |(sign, operator): &(&str, Operator)| Some((*operator, rest.strip_prefix(sign)?));
        let (operator, value) = OPERATORS.iter().find_map(find).ok_or_else(no_operator)?;
        if value.starts_with('=') && operator == Operator::Equal {
            return Err("`==` is no operator; equal is a single `=`".to_owned());
        }
        let field: Field = field.trim().parse()?;
        let value = value.trim().to_owned();
        let is_readable = match field {
            Field::Age => humantime::parse_duration(&value).is_ok(),
            Field::Attempts => value.parse::<f64>().is_ok_and(f64::is_finite),
            _ => true,
        };
        if !is_readable {
            return Err(format!("`{value}` is no {}", if field == Field::Age { "time such as 1h" } else { "number" }));
        }
        Ok(Self { field, operator, value })
    }
}

/// Groups of conditions: a message meets it if it meets all of one group.
#[derive(Clone, Debug)]
pub(crate) struct Filter(Vec<Vec<Condition>>);

impl Filter {
    pub(crate) fn any(groups: impl IntoIterator<Item = Vec<Condition>>) -> Self {
        Self(groups.into_iter().collect())
    }

    pub(crate) fn matches<'a>(&self, message: impl Into<Subject<'a>>) -> bool {
        self.group(message).is_some()
    }

    /// The first group that the message meets.
    pub(crate) fn group<'a>(&self, message: impl Into<Subject<'a>>) -> Option<usize> {
        let subject = message.into();
        self.0.iter().position(|group| group.iter().all(|condition| condition.holds_for(subject)))
    }

    /// Whether every message meets it.
    pub(crate) fn is_all(&self) -> bool {
        self.0.iter().any(Vec::is_empty)
    }
}

impl From<Vec<Condition>> for Filter {
    fn from(conditions: Vec<Condition>) -> Self {
        Self(vec![conditions])
    }
}

impl Condition {
    /// A missing value is different from every value, and neither greater nor less than it.
    fn holds_for(&self, subject: Subject<'_>) -> bool {
        match &self.field {
            Field::Id => self.compare(subject.id, false),
            Field::Type => self.compare(subject.body.content_type().as_str(), false),
            Field::Attempts => self.compare_or_absent(subject.attempts.map(|attempts| attempts.to_string()), true),
            Field::Body => self.compare_or_absent(subject.body.text().ok(), false),
            Field::Age => {
                let age = subject.timestamp.map(|time| time.elapsed().unwrap_or_default());
                let value = humantime::parse_duration(&self.value).unwrap_or(Duration::MAX);
                age.map_or(self.is_negative(), |age| self.is_so(Some(age.cmp(&value)), false))
            }
            Field::Path(path) => {
                let body = subject.body.json::<Box<RawValue>>().ok();
                let found = body.as_deref().and_then(|body| value_at(path, body));
                self.compare_or_absent(found.and_then(text_of), found.is_some_and(|found| !is_string(found)))
            }
        }
    }

    fn compare_or_absent(&self, found: Option<impl AsRef<str>>, may_be_number: bool) -> bool {
        found.map_or(self.is_negative(), |found| self.compare(found.as_ref(), may_be_number))
    }

    /// A text such as `01234` or `1.10` is equal only to itself, although it looks like a number.
    fn compare(&self, found: &str, may_be_number: bool) -> bool {
        let is_text = !may_be_number && matches!(self.operator, Operator::Equal | Operator::NotEqual);
        let order = if is_text { found.cmp(&self.value) } else { order(found, &self.value) };
        self.is_so(Some(order), found.contains(&self.value))
    }

    fn is_so(&self, order: Option<Ordering>, contains: bool) -> bool {
        match self.operator {
            Operator::Equal => order == Some(Ordering::Equal),
            Operator::NotEqual => order != Some(Ordering::Equal),
            Operator::Less => order == Some(Ordering::Less),
            Operator::More => order == Some(Ordering::Greater),
            Operator::AtMost => order.is_some_and(Ordering::is_le),
            Operator::AtLeast => order.is_some_and(Ordering::is_ge),
            Operator::Contains => contains,
            Operator::ContainsNot => !contains,
        }
    }

    fn is_negative(&self) -> bool {
        matches!(self.operator, Operator::NotEqual | Operator::ContainsNot)
    }
}

/// Numbers are compared as numbers, everything else as text. Whole numbers are often ids, and a float
/// confuses those of more than 15 digits.
fn order(found: &str, value: &str) -> Ordering {
    if let (Ok(found), Ok(value)) = (found.parse::<i128>(), value.parse::<i128>()) {
        return found.cmp(&value);
    }
    let number = |text: &str| text.parse::<f64>().ok().filter(|number| number.is_finite());
    let order = number(found).zip(number(value)).and_then(|(found, value)| found.partial_cmp(&value));
    order.unwrap_or_else(|| found.cmp(value))
}

/// What a path leads to.
fn value_at<'a>(path: &str, body: &'a RawValue) -> Option<&'a RawValue> {
    let mut at = body;
    for name in path.split('/').skip(1) {
        at = if at.get().starts_with('[') {
            serde_json::from_str::<Vec<&RawValue>>(at.get()).ok()?.get(name.parse::<usize>().ok()?)?
        } else {
            serde_json::from_str::<HashMap<String, &RawValue>>(at.get()).ok()?.remove(name)?
        };
    }
    Some(at)
}

/// A string's text, and anything else as it is in the body.
fn text_of(value: &RawValue) -> Option<String> {
    if is_string(value) { serde_json::from_str(value.get()).ok() } else { Some(value.get().to_owned()) }
}

fn is_string(value: &RawValue) -> bool {
    value.get().starts_with('"')
}

#[cfg(test)]
mod tests {
    use cloudflare_queues::PushMessage;

    use super::*;

    fn meets(condition: &str, json: &str) -> bool {
        let pushed = PushMessage::json(&RawValue::from_string(json.to_owned()).unwrap()).unwrap();
        let timestamp = SystemTime::now().checked_sub(Duration::from_secs(3600));
        let subject = Subject { id: "m-1", attempts: Some(4), timestamp, body: pushed.body() };
        Filter::from(vec![condition.parse().unwrap()]).matches(subject)
    }

    #[test]
    fn a_message_meets_what_it_should() {
        let body = r#"{"type":"order","amount":100,"user":{"name":"Ada"},"flag":true}"#;
        for condition in [
            "/type=order",
            "/type!=other",
            "/amount>=100",
            "/amount<1e3",
            "/user/name~da",
            "/user/name!~bob",
            "/flag=true",
            "/missing!=1",
            "body~order",
            "type=json",
            "attempts>3",
            "age>59m",
            "age<2h",
            "id=m-1",
        ] {
            assert!(meets(condition, body), "{condition}");
        }
        for condition in ["/type=other", "/amount>100", "/missing=1", "/missing<1", "age>2h", "attempts<=3", "id!=m-1"]
        {
            assert!(!meets(condition, body), "{condition}");
        }
    }

    #[test]
    fn numbers_are_compared_exactly() {
        for (condition, body, expected) in [
            ("/id=9007199254740993", r#"{"id":9007199254740993}"#, true),
            ("/id=9007199254740993", r#"{"id":9007199254740992}"#, false),
            ("/id=9007199254740993", r#"{"id":"9007199254740992"}"#, false),
            ("/id!=9007199254740993", r#"{"id":9007199254740992}"#, true),
            ("/id>9007199254740992", r#"{"id":9007199254740993}"#, true),
            // Larger than 64 bits.
            ("/id=12345678901234567890123", r#"{"id":12345678901234567890123}"#, true),
            ("/id=12345678901234567890123", r#"{"id":12345678901234567890124}"#, false),
            ("/id=NaN", r#"{"id":"NaN"}"#, true),
            ("/id!=NaN", r#"{"id":"NaN"}"#, false),
            ("/id=inf", r#"{"id":1e999}"#, false),
            ("/id=1e999", r#"{"id":1e998}"#, false),
            ("/id=1e999", r#"{"id":1e999}"#, true),
            ("/id=1e3", r#"{"id":1000}"#, true),
            ("/id=1.5", r#"{"id":1.50}"#, true),
            ("/id<10", r#"{"id":9.5}"#, true),
            // A string is equal only to the same text.
            ("/id=1.1", r#"{"id":"1.10"}"#, false),
            ("/id=1234", r#"{"id":"01234"}"#, false),
            ("/id=1e3", r#"{"id":"1000"}"#, false),
            ("/id!=1234", r#"{"id":"01234"}"#, true),
            ("/id=01234", r#"{"id":"01234"}"#, true),
            ("/id>99", r#"{"id":"100"}"#, true),
        ] {
            assert_eq!(meets(condition, body), expected, "{condition} {body}");
        }
    }

    #[test]
    fn a_path_leads_into_objects_and_lists() {
        let body = r#" {"a":[0,{"b c":"~"}], "n":null, "":7, "twice":1, "twice":2, "e":"\u00e9", "list":[1, 2]}"#;
        for condition in ["/a/1/b c=~", "/n=null", "/=7", "/twice=2", "/e=\u{e9}", "/list=[1, 2]", "/a/0=0"] {
            assert!(meets(condition, body), "{condition}");
        }
        for path in ["/a/2", "/a/x", "/a/0/b", "/a/1/b", "/x"] {
            assert!(meets(&format!("{path}!=1"), body), "{path}");
            assert!(!meets(&format!("{path}>=0"), body), "{path}");
        }
    }

    #[test]
    fn invalid_conditions_are_refused() {
        for text in
            ["", "order", "size=1", "age>soon", "attempts=many", "attempts=NaN", "attempts<inf", "/a!b", "/reason==x"]
        {
            assert!(text.parse::<Condition>().is_err(), "{text}");
        }
    }
}
