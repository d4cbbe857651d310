//! Where the fragment may differ from the published document: compares the tables of `openapi/README.md` with both.

use std::collections::BTreeMap;

use crate::{compare, places::Operations};

/// A row: `where`, what is published, what is here, why.
pub struct Row {
    place: String,
    published: String,
    here: String,
    why: String,
    /// Whether the row is from the table of exceptions to the rule that requests are narrower and responses wider.
    breaks_the_rule: bool,
}

/// The rows of the tables whose first column is called `where`. The second table has the exceptions.
pub fn table(readme: &str) -> Vec<Row> {
    let mut tables = 0;
    let mut rows = Vec::new();
    for line in readme.lines() {
        let cells: Vec<_> = line.trim_matches('|').split('|').map(|cell| cell.trim().replace('`', "")).collect();
        match cells.as_slice() {
            [place, ..] if place == "where" => tables += 1,
            [rule, ..] if rule.starts_with("---") => {}
            [place, published, here, why] if tables > 0 && line.starts_with('|') => rows.push(Row {
                place: place.clone(),
                published: published.clone(),
                here: here.clone(),
                why: why.clone(),
                breaks_the_rule: tables == 2,
            }),
            _ => {}
        }
    }
    rows
}

/// What is wrong with the tables.
#[derive(Default)]
pub struct Account {
    /// Every difference that no row explains, every row that explains none, and invalid rows.
    pub complaints: Vec<String>,
    /// The operations' ids with the places of such differences, and the patterns of such rows.
    about: Vec<String>,
}

impl Account {
    /// Whether a complaint is about this operation.
    pub(crate) fn concerns(&self, id: &str) -> bool {
        self.about.iter().any(|form| form.starts_with(&format!("{id} ")))
    }

    /// Whether a complaint is about this place of an operation, or one within it.
    pub(crate) fn is_about(&self, id: &str, place: &str) -> bool {
        let named = format!("{id} {place}");
        self.about.iter().any(|form| matches(form, &named) || form.starts_with(&format!("{named} /")))
    }
}

/// Compares every difference with the rows.
pub fn account(ours: &Operations, published: &Operations, rows: &[Row]) -> Account {
    let (mut complaints, mut about) = (faults(rows), Vec::new());
    let mut unexplained: BTreeMap<(String, String, String, bool), Vec<String>> = BTreeMap::new();
    let mut used = vec![false; rows.len()];
    for (name, here) in ours {
        let Some(there) = published.get(name) else {
            complaints.push(format!("{name}: `{}` is in openapi/queues.json, but not published", here.id));
            continue;
        };
        let here = &compare::with_failures(here, there);
        for difference in compare::differences(there, here) {
            let place = &difference.place;
            let breaks_the_rule = !compare::lives_with(place, difference.keyword.as_deref(), there, here);
            let named = format!("{} {place}", here.id);
            let mut explained = false;
            for (row, used) in rows.iter().zip(&mut used) {
                if row.breaks_the_rule == breaks_the_rule
                    && matches(&row.place, &named)
                    && matches(&row.published, &difference.left)
                    && matches(&row.here, &difference.right)
                {
                    (*used, explained) = (true, true);
                }
            }
            if !explained {
                about.push(named);
                let group = (difference.place, difference.left, difference.right, breaks_the_rule);
                unexplained.entry(group).or_default().push(here.id.clone());
            }
        }
    }
    for ((place, left, right, breaks_the_rule), ids) in unexplained {
        let more = match ids.get(1..).unwrap_or_default() {
            [] => String::new(),
            more if more.len() > SHOWN => format!(", nor that of {} other operations", more.len()),
            more => format!(", nor that of {}", more.join(", ")),
        };
        let rule = if breaks_the_rule {
            " (which breaks the rule: correct queues.json, or give the evidence, in the second table)"
        } else {
            ""
        };
        complaints.push(format!(
            "no row explains `{} {place}`: published {left}, here {right}{rule}{more}",
            ids.first().map_or("*", String::as_str),
        ));
    }
    for (row, _) in rows.iter().zip(used).filter(|(_, used)| !used) {
        complaints.push(format!("not needed: the row `{}`: published {}, here {}", row.place, row.published, row.here));
        about.push(row.place.clone());
    }
    Account { complaints, about }
}

/// How many operations are named.
pub(crate) const SHOWN: usize = 3;

/// Rows that are invalid, whatever they match.
fn faults(rows: &[Row]) -> Vec<String> {
    let mut faults = Vec::new();
    for (index, row) in rows.iter().enumerate() {
        let mut fault = |fault| {
            faults.push(format!("{fault}: the row `{}`: published {}, here {}", row.place, row.published, row.here))
        };
        if !row.why.contains(char::is_alphanumeric) {
            fault("has no reason");
        }
        let is_same =
            |other: &&Row| (&other.place, &other.published, &other.here) == (&row.place, &row.published, &row.here);
        if rows.iter().take(index).any(|other| is_same(&other)) {
            fault("occurs twice");
        }
        if row.published == "*" && row.here == "*" {
            fault("explains anything");
        }
    }
    faults
}

/// Whether a text matches a pattern in which `*` matches anything.
pub fn matches(form: &str, text: &str) -> bool {
    match form.split_once('*') {
        None => form == text,
        Some((start, rest)) => text
            .strip_prefix(start)
            .is_some_and(|text| (0..=text.len()).any(|end| text.get(end..).is_some_and(|text| matches(rest, text)))),
    }
}
