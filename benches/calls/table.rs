//! The table, as it stands in `README.md`.

use crate::{
    load::Result,
    measure::{Figure, Measured},
};

const HEAD: &str = "| | by hand | ours | ratio | goal | bare | hyper |\n|---|---|---|---|---|---|---|\n";
const BEGIN: &str = "<!-- calls -->\n";
const END: &str = "<!-- /calls -->";

pub(crate) fn of(rows: &[Measured]) -> String {
    let mut table = HEAD.to_owned();
    for row in rows {
        let [by_hand, ours, bare, hyper] = row.figures;
        let ratio = by_hand.zip(ours).map(|(by_hand, ours)| format!("{:.2}", ours / by_hand)).unwrap_or_default();
        let digits = if row.figures.iter().flatten().all(|figure| *figure < 1000.0) { 1 } else { 0 };
        let cell = |figure: Figure| figure.map(|figure| format!("{figure:.digits$}")).unwrap_or_default();
        let cells = [cell(by_hand), cell(ours), ratio, row.goal.clone(), cell(bare), cell(hyper)];
        table.push_str(&format!("| {} | {} |\n", row.name, cells.join(" | ")));
    }
    table
}

/// The text with the table instead of the one that it has.
pub(crate) fn put(readme: &str, table: &str) -> Result<String> {
    let (head, rest) = readme.split_once(BEGIN).ok_or("README.md has no place for the table")?;
    let (_, tail) = rest.split_once(END).ok_or("README.md has no end of the table")?;
    Ok(format!("{head}{BEGIN}{table}{END}{tail}"))
}

/// The table, compared with our column of another one.
pub(crate) fn compared(table: &str, before: &str) -> String {
    let ours = |line: &str| -> Option<(String, f64, String)> {
        let cells: Vec<_> = line.split('|').map(str::trim).collect();
        let [_, name, _, ours, ratio, ..] = cells[..] else { return None };
        Some((name.to_owned(), ours.parse().ok()?, ratio.to_owned()))
    };
    let before: Vec<_> = before.lines().filter_map(ours).collect();
    let mut compared =
        "| | ours before | ours | change | ratio before | ratio |\n|---|---|---|---|---|---|\n".to_owned();
    for (name, now, ratio) in table.lines().filter_map(ours) {
        let Some((_, was, ratio_was)) = before.iter().find(|(other, ..)| *other == name) else { continue };
        compared.push_str(&format!("| {name} | {was} | {now} | {:.2} | {ratio_was} | {ratio} |\n", now / was));
    }
    compared
}
