//! Reports the changes, with what to edit.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use crate::{
    account::{Account, SHOWN},
    compare::{self, Difference},
    places::{self, Operation, Operations, Place},
    rules,
};

/// What a change means for the client.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Class {
    /// Requests may be refused.
    Request,
    /// Responses cannot be read.
    Response,
    /// The client may show it.
    Secret,
    /// Responses are read, except for this part.
    Lost,
    /// It works for now.
    Deprecated,
    /// An operation that the client does not have.
    NotCalled,
    /// Requests are still allowed, and responses can still be read.
    Harmless,
}

impl Class {
    fn words(self) -> &'static str {
        match self {
            Self::Request => "a request that we may no longer send",
            Self::Response => "a response that we cannot read",
            Self::Secret => "a secret that we may show",
            Self::Lost => "read, but lost",
            Self::Deprecated => "deprecated",
            Self::NotCalled => "not called",
            Self::Harmless => "harmless",
        }
    }
}

/// A change of one place in the published document, for all operations that share it.
struct Change {
    class: Class,
    /// Where it is in the published document, what was there, and what is.
    what: (String, Vec<String>),
    to_do: &'static str,
    /// Whether a complaint about the tables is about it.
    is_in_tables: bool,
    /// The operations that have it.
    names: Vec<String>,
    /// Where they have it.
    places: Vec<String>,
    /// What `queues.json` says there.
    here: Vec<String>,
}

impl Change {
    fn told(class: Class, words: &str, to_do: &'static str, name: &str) -> Self {
        let what = (String::new(), vec![words.to_owned()]);
        let names = vec![name.to_owned()];
        Self { class, what, to_do, is_in_tables: false, names, places: Vec::new(), here: Vec::new() }
    }

    fn add(&mut self, other: Self) {
        self.is_in_tables |= other.is_in_tables;
        for (known, new) in
            [(&mut self.names, other.names), (&mut self.places, other.places), (&mut self.here, other.here)]
        {
            for new in new {
                if !known.contains(&new) {
                    known.push(new);
                }
            }
        }
    }
}

/// What changed, and what to do.
#[derive(Default)]
pub struct Report {
    /// For a terminal.
    pub text: String,
    /// Whether a change is other than harmless.
    pub needs_edit: bool,
    /// The classes of the changes, the worst first.
    pub classes: BTreeSet<Class>,
}

impl Report {
    pub(crate) fn line(&mut self, line: impl AsRef<str>) {
        self.text += line.as_ref();
        self.text.push('\n');
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.classes.is_empty()
    }

    /// Every change from `before` to `after`, with what it means for the client that `ours` describes. A change shared
    /// by several operations is reported once.
    pub(crate) fn changes(&mut self, ours: &Operations, before: &Operations, after: &Operations, account: &Account) {
        let mut changes: Vec<Change> = Vec::new();
        let mut add = |change: Change| {
            let is_same = |known: &&mut Change| {
                (known.class, &known.what, known.to_do) == (change.class, &change.what, change.to_do)
            };
            match changes.iter_mut().find(is_same) {
                Some(known) => known.add(change),
                None => changes.push(change),
            }
        };
        for (key, here) in ours {
            match (before.get(key), after.get(key)) {
                (Some(old), Some(new)) => {
                    let here = &compare::with_failures(here, new);
                    for difference in compare::differences(old, new) {
                        let mut change = change(here, old, new, &difference);
                        change.is_in_tables = account.is_about(&here.id, &difference.place);
                        add(change);
                    }
                }
                (None, Some(_)) => {
                    let mut change = Change::told(Class::Harmless, "it is compared from now on", NOTHING, &here.name);
                    change.is_in_tables = account.concerns(&here.id);
                    add(change);
                }
                (_, None) => {
                    add(Change::told(Class::Request, "the document has no such operation", GONE, &here.name));
                }
            }
        }
        for (_, gone) in before.iter().filter(|(key, _)| !ours.contains_key(*key)) {
            add(Change::told(Class::Harmless, "openapi/queues.json no longer has it", NOTHING, &gone.name));
        }
        changes.sort_by_key(|change| change.class);
        for change in changes {
            self.classes.insert(change.class);
            let names = match change.names.len() {
                all if all == ours.len() && all > 1 => "every operation".to_owned(),
                some if some > SHOWN => format!("{some} operations\n  {}", change.names.join("\n  ")),
                _ => change.names.join(", "),
            };
            self.line(format!("{}: {names}", change.class.words()));
            change.places.iter().for_each(|place| self.line(format!("  where: `{place}`")));
            change.what.1.iter().for_each(|line| self.line(format!("  {line}")));
            change.here.iter().for_each(|here| self.line(format!("  here:  {here}")));
            let to_do = if change.is_in_tables && change.to_do == NOTHING { TABLES } else { change.to_do };
            self.line(format!("  to do: {to_do}"));
        }
        self.needs_edit = self.classes.iter().any(|class| *class <= Class::Lost);
        if self.needs_edit {
            self.line(PLACES);
        }
    }

    /// Other Queues operations that are new, or gone.
    pub(crate) fn others(&mut self, before: &Value, after: &Value) {
        // Whatever the parameters of their paths are called.
        let names = |document: &Value| -> BTreeMap<String, String> {
            let names = document.get("x-others").and_then(Value::as_array).into_iter().flatten();
            names.filter_map(Value::as_str).map(|name| (places::key(name, ""), name.to_owned())).collect()
        };
        let (before, after) = (names(before), names(after));
        for (_, name) in after.iter().filter(|(key, _)| !before.contains_key(*key)) {
            self.classes.insert(Class::NotCalled);
            self.line(format!("{}: {name}", Class::NotCalled.words()));
            self.line("  to do: nothing, or add it: \"Adding an operation\" in openapi/README.md says how.");
        }
        for (_, name) in before.iter().filter(|(key, _)| !after.contains_key(*key)) {
            self.classes.insert(Class::Harmless);
            self.line(format!(
                "{}: {name}\n  it is gone, or called otherwise, or was added to openapi/queues.json",
                Class::Harmless.words()
            ));
        }
    }

    /// What the tables in `openapi/README.md` do not explain.
    pub(crate) fn account(&mut self, Account { complaints, .. }: &Account) {
        if !complaints.is_empty() {
            self.line(
                "When queues.json is as it should be, the tables in openapi/README.md have to say so, or `cargo test` \
                 fails: the second table has what breaks the rule, the first one the rest. Now:",
            );
        }
        for complaint in complaints {
            self.line(format!("  {complaint}"));
        }
    }
}

const NOTHING: &str = "nothing.";
const TABLES: &str = "nothing but the tables in openapi/README.md: see below.";

const GONE: &str = "if it was renamed, it stands among those below: give openapi/queues.json its path and its fields. \
                    If it is gone, take it out there; the compiler names its method, its row in src/http/retry.rs, its \
                    route in src/emulator/routes.rs and its call in tests/support/operations.rs.";

const UNSTATED: &str = "openapi/queues.json cannot state that, since no check is made of it: check it in \
                        src/queue/ids.rs, src/message/limits.rs or src/manage/limits.rs, and say so in the second \
                        table of openapi/README.md.";

const EXCLUSIVE: &str = "make it the last value that is allowed there: bounds are inclusive.";

const SECRET: &str = "it may be a secret: let it refer there to a component with `x-secret`, or give the reason why it \
                      is none in openapi/rules.rs.";

const NEW_SECRET: &str = "nothing; but it may be a secret, or hold one: if you describe it there, let the secret refer \
                          to a component with `x-secret`.";

const EXTRA: &str = "the client sends more there than is published, as the second table of openapi/README.md says: \
                     take that out of openapi/queues.json.";

const PAGES: &str = "the list comes in pages now: request them all in src/manage/ (`Listing` does), and describe the \
                     parameter and the number of pages there. Until then, the call fails if the service says that \
                     there is more.";

const NAME: &str =
    "see what is meant by it: a name where an id was, or the reverse, needs another value in src/queue/ids.rs.";

const DEFAULT: &str = "nothing, unless the client counts on the old one where it sends nothing: look for it in src/ \
                       and in the documentation.";

const FAILURE: &str = "have `ApiError` (src/error/api.rs) and the envelope (src/http/) read the new form as well as \
                       the old one: without it, errors have no code and no text, and their kind is that of the status.";

const HEADER: &str = "src/http/ reads this header: decide what happens without it.";

/// The same for every edit, so it is printed once.
const PLACES: &str = "\
after an edit of openapi/queues.json:
  `cargo check --all-features` names what has to follow: the conversions in src/queue/wire.rs, the methods in
    src/queue.rs, src/queue/settle.rs and src/manage/, and the emulator in src/emulator/result.rs.
    Types written by hand (REPLACED in build.rs) read fields by name: look for the name in src/.
  The emulator checks requests by hand: src/emulator/request.rs for messages, src/emulator/manage/ for the rest.
  A field that is a secret refers to a component that says `x-secret`.
  A bound is stated there alone; `cargo test --test document bounds` names texts that say another.
  Run this again: it tells what is left. Then the tables in openapi/README.md, `cargo test`, and CHANGELOG.md.";

fn change(here: &Operation, old: &Operation, new: &Operation, difference: &Difference) -> Change {
    let Difference { place, keyword, left, right } = difference;
    let (published, ours) = (new.places.get(place), here.places.get(place));
    let within = ours.or_else(|| here.places.get(compare::parent(place)?));
    let is_new = !old.places.contains_key(place);
    let lives = match compare::failure(place) {
        // What is within a new response is not reported by itself.
        Some(status) if is_new && place.ends_with(status) => is_read_or_unsaid(here, new, place),
        _ => {
            compare::lives_with(place, keyword.as_deref(), new, here)
                || compare::is_no_stricter(place, keyword.as_deref(), old.places.get(place), published)
        }
    };
    let is_error = compare::failure(place).is_some() || place.starts_with("response 200 /errors");
    let class = match (lives, place.starts_with("request")) {
        (true, _) if looks_secret(place, published) && ours.is_some_and(|ours| !ours.is_secret) => Class::Secret,
        (true, _) if right.contains("deprecated true") => Class::Deprecated,
        (true, _) if is_new && starts_pages(here, place) => Class::Lost,
        (true, false) if right == "in some alternatives" && ours.is_some() => Class::Lost,
        (true, _) if is_new && is_without_json(new, place) => Class::Lost,
        (true, _) => Class::Harmless,
        (false, true) => Class::Request,
        (false, false) if is_error || place.contains(" header ") => Class::Lost,
        (false, false) if within.is_some_and(|place| place.is_tolerant) => Class::Lost,
        (false, false) => Class::Response,
    };
    let at = within.map_or("", |place| place.at.as_str());
    let words = match ours {
        Some(_) => format!("{}, at openapi/queues.json#{at}", compare::describe(ours)),
        None if at.is_empty() => "left out".to_owned(),
        None => format!("left out; it would stand within openapi/queues.json#{at}"),
    };
    let to_do = match keyword.as_deref() {
        Some(keyword) if class == Class::Request && right.starts_with(&format!("{keyword} below")) => EXCLUSIVE,
        Some(keyword) if class == Class::Request && right.starts_with(&format!("{keyword} above")) => EXCLUSIVE,
        Some(keyword) if class == Class::Request && published.is_some() && !is_stated(keyword) => UNSTATED,
        _ if class == Class::Secret => SECRET,
        Some("additionalProperties") if class == Class::Request => EXTRA,
        _ if class == Class::Harmless && is_new && ours.is_none() && holds_secret(place, new) => NEW_SECRET,
        _ if class == Class::Lost && is_new && ours.is_none() && starts_pages(here, place) => PAGES,
        _ if class == Class::Lost && place.contains(" header ") => HEADER,
        _ if class == Class::Lost && is_error => FAILURE,
        Some("name") => NAME,
        Some("default") => DEFAULT,
        _ => advice(class, place, published.is_some(), ours.is_some(), is_new),
    };
    let origin = published.or_else(|| old.places.get(place)).map_or("", |place| place.at.as_str());
    // What is at odds by itself, such as a new failure, has no place of its own that others could share.
    let origin = if origin.starts_with("/components") { origin } else { place };
    Change {
        class,
        what: (origin.to_owned(), vec![format!("was:   {left}"), format!("is:    {right}")]),
        to_do,
        is_in_tables: false,
        names: vec![here.name.clone()],
        places: vec![place.clone()],
        here: vec![words],
    }
}

/// Whether our document can state a keyword, or another place than its schemas says it.
fn is_stated(keyword: &str) -> bool {
    rules::is_stated(keyword) || ["security", "servers"].contains(&keyword)
}

/// Whether a published place may hold a secret.
fn looks_secret(place: &str, published: Option<&Place>) -> bool {
    let name = place.rsplit(['/', ' ']).find(|name| *name != "*").unwrap_or_default();
    published.is_some_and(|published| published.is_secret || rules::is_named_like_a_secret(name))
}

/// Whether a new place may be a secret, or something within it.
fn holds_secret(place: &str, new: &Operation) -> bool {
    let is_within = |other: &str| {
        other.strip_prefix(place).is_some_and(|rest| rest.is_empty() || rest.starts_with('/') || rest.starts_with(" /"))
    };
    new.places.iter().any(|(other, found)| is_within(other) && looks_secret(other, Some(found)))
}

/// Whether a failure has this media type, and is not described as JSON.
fn is_without_json(new: &Operation, place: &str) -> bool {
    let status = compare::failure(place).unwrap_or_default();
    let is_media_type =
        place.strip_prefix(&format!("response {status} ")).is_some_and(|rest| !rest.starts_with("header "));
    is_media_type && !place.contains(" /") && !new.places.contains_key(&format!("response {status}"))
}

/// Whether the errors of a new failure are read, or the document does not say what it has.
fn is_read_or_unsaid(here: &Operation, new: &Operation, failure: &str) -> bool {
    let within = format!("{failure} ");
    let is_described = |place: &String| place.starts_with(&within) && !place.contains(" header ");
    let is_read = |place: &String| {
        let is_needed = ["/errors", "/code", "/message"].iter().any(|end| place.ends_with(end));
        !new.places.contains_key(place) && !is_needed || compare::lives_with(place, None, new, here)
    };
    let is_errors =
        |place: &&String| place.starts_with(&format!("{failure} /errors")) && !place.contains("/error_chain");
    !new.places.keys().any(is_described) || here.places.keys().filter(is_errors).all(is_read)
}

/// Whether a new place means that a list comes in pages, or in other ones than the client requests.
fn starts_pages(here: &Operation, place: &str) -> bool {
    const CURSORS: [&str; 9] =
        ["cursor", "token", "continuation", "marker", "after", "before", "next", "link", "scroll"];
    const PAGES: [&str; 16] = [
        "page", "pagin", "limit", "offset", "skip", "size", "total", "count", "more", "info", "start", "from", "first",
        "max", "trunc", "remain",
    ];
    let kinds = here.places.get("response 200 /result").and_then(|result| result.facts.get("type"));
    let is_list = kinds.and_then(Value::as_array).is_some_and(|kinds| kinds.iter().any(|kind| kind == "array"));
    // An account is no count, and what comes with the number of pages need not page.
    let name = place.to_ascii_lowercase().replace("account", "").replace("/result_info/", "/");
    let is_one_of = |words: &[&str]| words.iter().any(|word| name.contains(word));
    match (place.strip_prefix("request query "), place.strip_prefix("response 200 ")) {
        // The lists within a result, or one that is no longer the result.
        (_, Some(rest)) if rest.starts_with("/result/") => {
            return !rest.contains('*') && is_one_of(&["cursor", "page"]);
        }
        (_, Some(rest)) if rest.starts_with("/errors") => return false,
        (Some(_), _) | (_, Some(_)) => {}
        _ if place.starts_with("request header ") => return is_list && is_one_of(&["cursor", "page", "offset"]),
        _ => return false,
    }
    let has_pages = here.places.contains_key("request query page");
    is_list && (is_one_of(&CURSORS) || !has_pages && is_one_of(&PAGES))
}

fn advice(class: Class, place: &str, is_published: bool, is_ours: bool, is_new: bool) -> &'static str {
    match (class, is_published, is_ours) {
        (Class::Harmless, true, false) if place.starts_with("response 200 /") && is_new => {
            "nothing, or describe it there, to have it in the generated type, and show it in the type that users see."
        }
        (Class::Deprecated, ..) => "plan for what takes its place: the published document's words say what that is.",
        (Class::Request, ..) if place == "request security" => "src/http/credentials.rs sends the credentials.",
        (Class::Request, ..) if place == "request server" => {
            "DEFAULT_BASE_URL in src/http/transport.rs and `servers` in openapi/queues.json name the server."
        }
        (Class::Request | Class::Response, false, true) if ["request", "response 200"].contains(&place) => {
            "it is no longer JSON, or has another media type, which stands below: the client sends and reads JSON \
             alone, in src/http/call.rs and src/http/response.rs."
        }
        (Class::Request, true, true) => {
            "make it there what is published, or narrower; src/message/limits.rs lets pass what the bounds there allow."
        }
        (Class::Request, true, false) => "describe it there, and fill it where the payload is built.",
        (Class::Request, false, _) => "take it out there; the compiler names the places that fill it.",
        (Class::Response, ..) if !place.starts_with("response 200") => {
            "the client takes any status but 200 for a failure: src/http/transport.rs and src/http/response.rs have to \
             know it."
        }
        (Class::Response, true, _) => {
            "widen it there, so that the old form and the new one are read. No type for both? Leave the type \
             out, say in `x-reads` what is read, and read that in src/queue/wire.rs; or write the type by hand, as \
             `Warnings` (REPLACED in build.rs)."
        }
        (Class::Response, false, _) => {
            "decide what users see when it is missing; if nothing uses it any more, take it out there. If it was \
             renamed, read both."
        }
        (Class::Lost, ..) => {
            "have the code read the new form as well as the old one (or the new name, if it was renamed), and say so \
             there, in `x-reads`."
        }
        _ => NOTHING,
    }
}
