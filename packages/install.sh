#!/bin/sh
# Installs the newest release of cf-queues on Linux or macOS, in ~/.local/bin:
#
#   curl -fsSL https://github.com/cloudflare-queues-rs/cloudflare-queues/releases/latest/download/install.sh | sh
#
# CF_QUEUES_FOLDER names another folder, and CF_QUEUES_RELEASES another place of the releases, such as a mirror.
set -eu

fail() {
    echo "install.sh: $1" >&2
    exit 1
}

# Downloads $1 to the file $2.
download() {
    if command -v curl >/dev/null; then
        curl --fail --silent --show-error --location --output "$2" "$1"
    elif command -v wget >/dev/null; then
        wget -q -O "$2" "$1"
    else
        fail 'curl or wget is needed'
    fi || fail "$1 could not be downloaded"
}

# Prints the SHA-256 of $1, and its name.
sha256() {
    if command -v sha256sum >/dev/null; then
        sha256sum "$1"
    elif command -v shasum >/dev/null; then
        shasum -a 256 "$1"
    else
        fail 'sha256sum or shasum is needed'
    fi
}

# A function, so that nothing is run if only a part of this file arrived.
main() {
    # The release writes its own version here.
    version=${CF_QUEUES_VERSION:-0.0.0}
    releases=${CF_QUEUES_RELEASES:-https://github.com/cloudflare-queues-rs/cloudflare-queues/releases/download}
    folder=${CF_QUEUES_FOLDER:-${HOME:?it names no folder}/.local/bin}

    platform="$(uname -s) $(uname -m)"
    case $platform in
        'Linux x86_64') target=x86_64-unknown-linux-musl ;;
        'Linux aarch64' | 'Linux arm64') target=aarch64-unknown-linux-musl ;;
        'Darwin x86_64') target=x86_64-apple-darwin ;;
        'Darwin arm64') target=aarch64-apple-darwin ;;
        *) fail "there is no program for $platform; with Rust, use cargo install --locked cf-queues" ;;
    esac
    name=cf-queues-v$version-$target

    # Next to its final path, so that the program is there either whole or not at all. What was left by one that was
    # killed long ago is removed.
    mkdir -p "$folder" || fail "$folder cannot be created; set CF_QUEUES_FOLDER to another one"
    find "$folder/" -maxdepth 1 -name '.cf-queues.??????' -mtime +0 -exec rm -rf {} +
    work=$(mktemp -d "$folder/.cf-queues.XXXXXX") || fail "$folder cannot be written; set CF_QUEUES_FOLDER to another one"
    trap 'rm -rf "$work"' EXIT
    trap 'exit 1' HUP INT TERM

    download "$releases/v$version/$name.tar.gz" "$work/archive"
    download "$releases/v$version/$name.tar.gz.sha256" "$work/expected"
    expected=$(cut -d ' ' -f 1 "$work/expected")
    found=$(sha256 "$work/archive")
    found=${found%% *}
    [ "$found" = "$expected" ] || fail "$name.tar.gz has the SHA-256 $found instead of $expected; nothing was installed"
    tar -xzf "$work/archive" -C "$work" || fail "$name.tar.gz cannot be unpacked"
    "$work/$name/cf-queues" --version || fail 'the program does not run here; nothing was installed'
    mv "$work/$name/cf-queues" "$folder/cf-queues"

    echo "installed as $folder/cf-queues"
    case :$PATH: in
        *":$folder:"*) ;;
        *) echo "$folder is not on the PATH: add it, or run the program by its whole path" ;;
    esac
}

main
