//! Reports the changes, with what to edit.

use std::collections::BTreeSet;

use serde_json::Value;

use crate::{
    compare::{self, Difference},
    places::{Operation, Operations},
};

/// What a change means for the client.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Class {
    /// Requests may be refused.
    Request,
    /// Responses cannot be read.
    Response,
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
        Self { class, what, to_do, names: vec![name.to_owned()], places: Vec::new(), here: Vec::new() }
    }

    fn add(&mut self, other: Self) {
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
    pub(crate) fn changes(&mut self, ours: &Operations, before: &Operations, after: &Operations) {
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
                    compare::differences(old, new)
                        .iter()
                        .for_each(|difference| add(change(here, old, new, difference)));
                }
                (None, Some(_)) => {
                    add(Change::told(Class::Harmless, "it is compared from now on", "nothing.", &here.name));
                }
                (_, None) => {
                    add(Change::told(Class::Request, "the document has no such operation", GONE, &here.name));
                }
            }
        }
        for (_, gone) in before.iter().filter(|(key, _)| !ours.contains_key(*key)) {
            add(Change::told(Class::Harmless, "openapi/queues.json no longer has it", "nothing.", &gone.name));
        }
        changes.sort_by_key(|change| change.class);
        for change in changes {
            self.classes.insert(change.class);
            let is_all = change.names.len() == ours.len() && ours.len() > 1;
            let names = if is_all { "every operation".to_owned() } else { change.names.join(", ") };
            self.line(format!("{}: {names}", change.class.words()));
            change.places.iter().for_each(|place| self.line(format!("  where: `{place}`")));
            change.what.1.iter().for_each(|line| self.line(format!("  {line}")));
            change.here.iter().for_each(|here| self.line(format!("  here:  {here}")));
            self.line(format!("  to do: {}", change.to_do));
        }
        self.needs_edit = self.classes.iter().any(|class| *class <= Class::Lost);
        if self.needs_edit {
            self.line(PLACES);
        }
    }

    /// Other Queues operations that are new, or gone.
    pub(crate) fn beside(&mut self, before: &Value, after: &Value) {
        let names = |document: &Value| -> BTreeSet<String> {
            let names = document.get("x-beside").and_then(Value::as_array).into_iter().flatten();
            names.filter_map(Value::as_str).map(str::to_owned).collect()
        };
        let (before, after) = (names(before), names(after));
        for name in after.difference(&before) {
            self.classes.insert(Class::NotCalled);
            self.line(format!("{}: {name}", Class::NotCalled.words()));
            self.line("  to do: nothing, or add it: \"Adding an operation\" in openapi/README.md says how.");
        }
        for name in before.difference(&after) {
            self.classes.insert(Class::Harmless);
            self.line(format!(
                "{}: {name}\n  it is gone, or called otherwise, or was added to openapi/queues.json",
                Class::Harmless.words()
            ));
        }
    }

    /// What the tables in `openapi/README.md` do not explain.
    pub(crate) fn account(&mut self, complaints: &[String]) {
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

const GONE: &str = "if it was renamed, it stands among those below: give openapi/queues.json its path and its fields. \
                    If it is gone, take it out there; the compiler names its method, its row in src/http/retry.rs, its \
                    route in src/emulator/routes.rs and its call in tests/support/operations.rs.";

const PATTERN: &str = "the document there has no patterns: check it in src/queue/ids.rs or src/message/limits.rs, and say \
                       so in the second table of openapi/README.md.";

/// The same for every edit, so it is printed once.
const PLACES: &str = "\
after an edit of openapi/queues.json:
  `cargo check --all-features` names what has to follow: the conversions in src/queue/wire.rs, the methods in src/queue.rs,
    src/queue/settle.rs and src/manage/, and the emulator in src/emulator/result.rs.
    Types written by hand (REPLACED in build.rs) read fields by name: look for the name in src/.
  The emulator checks requests by hand: src/emulator/request.rs for messages, src/emulator/manage/ for the rest.
  A field that is a secret refers to a component that says `x-secret`.
  A bound is stated there alone; `cargo test --test document bounds` names texts that say another.
  Run this again: it tells what is left. Then the tables in openapi/README.md, `cargo test`, and CHANGELOG.md.";

fn change(here: &Operation, old: &Operation, new: &Operation, difference: &Difference) -> Change {
    let Difference { place, keyword, left, right } = difference;
    let (published, ours) = (new.places.get(place), here.places.get(place));
    let within = ours.or_else(|| here.places.get(compare::parent(place)?));
    let lives = compare::lives_with(place, keyword.as_deref(), published, ours)
        || compare::is_no_stricter(place, keyword.as_deref(), old.places.get(place), published);
    let class = match (lives, place.starts_with("request")) {
        (true, _) if right.contains("deprecated true") => Class::Deprecated,
        (true, _) => Class::Harmless,
        (false, true) => Class::Request,
        (false, false) if within.is_some_and(|place| place.is_tolerant) => Class::Lost,
        (false, false) => Class::Response,
    };
    let at = within.map_or("", |place| place.at.as_str());
    let words = match ours {
        Some(_) => format!("{}, at openapi/queues.json#{at}", compare::describe(ours)),
        None if at.is_empty() => "left out".to_owned(),
        None => format!("left out; it would stand within openapi/queues.json#{at}"),
    };
    let is_new = !old.places.contains_key(place);
    let to_do = match keyword.as_deref() {
        Some("pattern") if class == Class::Request => PATTERN,
        _ => advice(class, place, published.is_some(), ours.is_some(), is_new),
    };
    let origin = published.or_else(|| old.places.get(place)).map_or("", |place| place.at.as_str());
    // What is at odds by itself, such as a new failure, has no place of its own that others could share.
    let origin = if origin.starts_with("/components") { origin } else { place };
    Change {
        class,
        what: (origin.to_owned(), vec![format!("was:   {left}"), format!("is:    {right}")]),
        to_do,
        names: vec![here.name.clone()],
        places: vec![place.clone()],
        here: vec![words],
    }
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
            "have the code read the new form beside the old one (or the new name, if it was renamed), and say so \
             there, in `x-reads`."
        }
        _ => "nothing.",
    }
}
