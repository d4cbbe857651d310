//! Why a text is no OpenAPI document in JSON, and what to do about it.

use serde_json::{Value, error::Category};

const FROM_YAML: &str = "convert it first: python3 -c 'import json, sys, yaml; json.dump(yaml.safe_load(sys.stdin), \
                         sys.stdout, default=str)' < openapi.yaml > target/openapi.json";

/// In words, to follow "the document".
pub(crate) fn why(text: &str, error: &serde_json::Error) -> String {
    let text = text.trim_start();
    let is_json = text.starts_with(['{', '[']);
    match error.classify() {
        _ if text.is_empty() => "is empty: download it again".to_owned(),
        _ if text.starts_with('<') => {
            "is a page of HTML or XML, not OpenAPI in JSON: see what the URL shows".to_owned()
        }
        _ if text.starts_with("version https://git-lfs") => {
            "is a pointer of Git LFS, not OpenAPI in JSON: download the file that it stands for".to_owned()
        }
        _ if text.starts_with("HTTP/") => "begins with the headers of a response: download it without them".to_owned(),
        _ if text.starts_with("//") || text.starts_with("/*") => {
            format!("is not JSON, which has no comments: {error}: take them out")
        }
        _ if !is_json && text.contains(':') => format!("is not JSON, but may be YAML ({error}): {FROM_YAML}"),
        _ if !is_json => format!("is not an OpenAPI document in JSON: {error}"),
        Category::Eof => format!("is cut off: {error}: download it again"),
        Category::Syntax if error.to_string().starts_with("key must be a string") => {
            format!("is not JSON, but may be YAML or JSON5 ({error}): {FROM_YAML}")
        }
        Category::Syntax if serde_json::from_str::<Value>(text).is_err() => {
            format!("is not JSON: {error}: download it again, or correct it there")
        }
        _ if text.contains("\"swagger\"") && error.to_string().contains("openapi") => {
            "is Swagger 2.0, not OpenAPI: convert it first, such as with `npx swagger2openapi`".to_owned()
        }
        _ => format!("is JSON, but not an OpenAPI document: {error}"),
    }
}

/// What a file is that is not text in UTF-8.
pub(crate) fn binary(bytes: &[u8]) -> &'static str {
    match bytes {
        [0x1f, 0x8b, ..] => "is compressed: run `gunzip` first",
        [b'P', b'K', ..] => "is a ZIP archive: extract it first",
        [0xfd, b'7', b'z', ..] | [0x28, 0xb5, 0x2f, 0xfd, ..] | [b'B', b'Z', b'h', ..] => {
            "is compressed: decompress it first, with `xz`, `zstd` or `bzip2`"
        }
        [0xff, 0xfe, 0, 0, ..] | [0, 0, 0xfe, 0xff, ..] => {
            "is in UTF-32, not UTF-8: convert it first, with `iconv -f UTF-32 -t UTF-8`"
        }
        [0xff, 0xfe, ..] | [0xfe, 0xff, ..] | [_, 0, ..] | [0, ..] => {
            "is in UTF-16, not UTF-8: convert it first, with `iconv -f UTF-16 -t UTF-8`"
        }
        _ => "is not text in UTF-8: convert it first, such as with `iconv`",
    }
}
