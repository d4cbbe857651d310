//! Profiles: named accounts in a file. It holds the name of a variable with the token, never the token itself.

use std::{collections::BTreeMap, env, fs, path::PathBuf};

use serde::Deserialize;

use crate::exit::{Exit, Failure};

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Profile {
    pub(crate) account: Option<String>,
    pub(crate) base_url: Option<String>,
    pub(crate) token_variable: Option<String>,
}

impl Profile {
    pub(crate) fn named(name: &str) -> Result<Self, Failure> {
        let path = path().ok_or_else(|| Failure::new(Exit::Input, "no folder for profiles: set CF_QUEUES_PROFILES"))?;
        let wrong = |what: String| {
            let failure = Failure::new(Exit::Input, format!("the profile `{name}`: {}: {what}", path.display()));
            failure.with_note("a profile is a table [NAME] with account, base_url and token_variable, not the token")
        };
        let text = fs::read_to_string(&path).map_err(|error| wrong(error.to_string()))?;
        // An error of the parser quotes names and values, which may be a token that someone has put there.
        let mut profiles: BTreeMap<String, Self> = toml::from_str(&text).map_err(|error| {
            let before = error.span().and_then(|span| text.get(..span.start)).unwrap_or_default();
            wrong(format!("line {} cannot be read", before.matches('\n').count().saturating_add(1)))
        })?;
        let names = profiles.keys().cloned().collect::<Vec<_>>().join(", ");
        profiles.remove(name).ok_or_else(|| wrong(format!("there is no such profile, but: {names}")))
    }
}

/// Where the profiles are.
fn path() -> Option<PathBuf> {
    let set = |name: &str| env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let folder = || {
        let home = || set("HOME").map(|home| home.join(".config")).or_else(|| set("APPDATA"));
        Some(set("XDG_CONFIG_HOME").or_else(home)?.join("cf-queues").join("profiles.toml"))
    };
    set("CF_QUEUES_PROFILES").or_else(folder)
}
