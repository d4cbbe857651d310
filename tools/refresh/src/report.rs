//! The changes in words that lead to the edit.

use crate::{
    compare::{self, Difference},
    places::{Operation, Operations},
};

const REQUEST: &str = "a request that we may no longer send";
const RESPONSE: &str = "a response that we cannot read";

/// What changed, and what to do.
#[derive(Default)]
pub struct Report {
    /// For a terminal.
    pub text: String,
    /// Whether a change is other than harmless.
    pub needs_edit: bool,
}

impl Report {
    pub(crate) fn line(&mut self, line: impl AsRef<str>) {
        self.text += line.as_ref();
        self.text.push('\n');
    }

    /// Every change from `before` to `after`, by what it means for the client, which is as `ours` says.
    pub(crate) fn changes(&mut self, ours: &Operations, before: &Operations, after: &Operations) {
        for (name, here) in ours {
            match (before.get(name), after.get(name)) {
                (Some(old), Some(new)) => {
                    for difference in compare::differences(old, new) {
                        self.change(name, here, old, new, &difference);
                    }
                }
                (None, Some(_)) => {
                    self.line(format!("harmless: {name}"));
                    self.line(format!("  it is compared from now on, with {}", here.id));
                }
                (_, None) => {
                    self.needs_edit = true;
                    self.line(format!("{REQUEST}: {name}"));
                    self.line(format!("  the document has no such operation, but the client calls it as {}", here.id));
                    self.line("  to do: if it was renamed, it stands among those below: give openapi/queues.json its path and its fields.");
                    self.line("         If it is gone, take it out of openapi/queues.json, and its method out of src/queue.rs.");
                }
            }
        }
        for name in before.keys().filter(|name| !ours.contains_key(*name)) {
            self.line(format!("harmless: {name}"));
            self.line("  it is no longer compared, since openapi/queues.json no longer has it");
        }
    }

    fn change(&mut self, name: &str, here: &Operation, old: &Operation, new: &Operation, difference: &Difference) {
        let Difference { place, keyword, left, right } = difference;
        let is_request = place.starts_with("request");
        let (published, ours) = (new.places.get(place), here.places.get(place));
        let lives = compare::lives_with(place, keyword.as_deref(), published, ours);
        self.needs_edit |= !lives;
        let class = match (lives, is_request) {
            (true, _) => "harmless",
            (false, true) => REQUEST,
            (false, false) => RESPONSE,
        };
        self.line(format!("{class}: {name}"));
        self.line(format!("  where: `{} {place}`", here.id));
        self.line(format!("  was:   {left}"));
        self.line(format!("  is:    {right}"));
        let within = here.places.get(place).or_else(|| here.places.get(compare::parent(place)?));
        let at = within.map_or("", |place| place.at.as_str());
        self.line(match ours {
            Some(_) => format!("  here:  {}, at openapi/queues.json#{at}", compare::describe(ours)),
            None => format!("  here:  left out; it would stand within openapi/queues.json#{at}"),
        });
        let to_do = match (lives, is_request, published.is_some(), ours.is_some()) {
            (true, _, true, false) if !old.places.contains_key(place) => {
                "nothing, or describe it there, to have it in the generated type, and use it in src/queue.rs."
            }
            (true, ..) => "nothing.",
            (false, true, true, true) => {
                "make it there what is published, or narrower, and what src/check.rs lets pass with it; the compiler names the rest."
            }
            (false, true, true, false) => "describe it there, and fill it where src/queue.rs builds the payload.",
            (false, true, false, _) => "take it out there; the compiler names the places in src/queue.rs that fill it.",
            (false, false, true, _) => {
                "widen it there, so that the old form and the new one are read; the compiler names the places in src/queue.rs \
                 that use it. No type for both? Leave the type out and write it by hand, as `Warnings` (REPLACED in build.rs)."
            }
            (false, false, false, _) => {
                "decide what src/queue.rs makes of it when it is missing; if nothing uses it any more, take it out there."
            }
        };
        self.line(format!("  to do: {to_do}"));
    }

    /// Operations beside ours: new ones stand here.
    pub(crate) fn beside(&mut self, operations: &[String]) {
        for operation in operations {
            self.line(format!("not called: {operation}"));
            self.line("  to do: nothing, or add it: \"To add an operation\" in openapi/README.md says how.");
        }
    }

    /// What the tables in `openapi/README.md` do not account for.
    pub(crate) fn account(&mut self, complaints: &[String]) {
        if !complaints.is_empty() {
            self.line("When queues.json is as it should be, the tables in openapi/README.md have to say so, or `cargo test` fails. Now:");
        }
        for complaint in complaints {
            self.line(format!("  {complaint}"));
        }
    }
}
