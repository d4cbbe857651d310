//! The script that installs a release, with releases of a local server.

use std::{
    fs,
    io::{BufRead, BufReader, Write},
    net::TcpListener,
    os::unix::fs::{PermissionsExt, symlink},
    path::{Path, PathBuf},
    process::{Command, Output},
    thread,
};

use crate::world::folder;

const SCRIPT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../packages/install.sh");
const NAME: &str = "cf-queues-v1.2.3-x86_64-unknown-linux-musl";

/// Serves the files of a folder, and returns the URL.
fn serve(files: PathBuf) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let mut lines = BufReader::new(stream.try_clone().unwrap()).lines().map(Result::unwrap);
            let head: Vec<_> = lines.by_ref().take_while(|line| !line.is_empty()).collect();
            let path = head[0].split(' ').nth(1).unwrap();
            let (status, body) = match fs::read(files.join(&path[1..])) {
                Ok(body) => ("200 OK", body),
                Err(_) => ("404 Not Found", Vec::new()),
            };
            let length = body.len();
            write!(stream, "HTTP/1.1 {status}\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n").unwrap();
            let _ = stream.write_all(&body);
        }
    });
    url
}

fn sh(script: &str, folder: &Path) {
    assert!(Command::new("sh").args(["-ec", script]).current_dir(folder).status().unwrap().success(), "{script}");
}

fn write_program(path: &Path, text: &str) {
    fs::write(path, format!("#!/bin/sh\n{text}\n")).unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
}

/// A folder with a release, programs to be found before those of the system, and a place to install in.
struct World {
    folder: PathBuf,
    url: String,
}

impl World {
    fn new(name: &str, program: &str) -> Self {
        let folder = folder(&format!("install-{name}"));
        let _ = fs::remove_dir_all(&folder);
        let release = folder.join("releases/v1.2.3");
        fs::create_dir_all(release.join(NAME)).unwrap();
        fs::create_dir_all(folder.join("path")).unwrap();
        write_program(&release.join(NAME).join("cf-queues"), program);
        let sum = "{ sha256sum $1 2>/dev/null || shasum -a 256 $1; }";
        sh(&format!("tar -czf {NAME}.tar.gz {NAME}; set {NAME}.tar.gz; {sum} >{NAME}.tar.gz.sha256"), &release);
        let world = Self { url: serve(folder.join("releases")), folder };
        world.on("Linux", "x86_64");
        world
    }

    fn on(&self, system: &str, processor: &str) {
        let text = format!("[ \"$1\" = -s ] && echo {system} || echo {processor}");
        write_program(&self.folder.join("path/uname"), &text);
    }

    /// With the given programs of the system alone.
    fn with_only(&self, programs: &[&str]) {
        for program in programs {
            let found = Command::new("sh").args(["-c", &format!("command -v {program}")]).output().unwrap().stdout;
            symlink(String::from_utf8(found).unwrap().trim(), self.folder.join("path").join(program)).unwrap();
        }
    }

    fn install_in(&self, target: &str, path: &str) -> Output {
        let mut command = Command::new("/bin/sh");
        command.stdin(fs::File::open(SCRIPT).unwrap()).current_dir(&self.folder).env_clear();
        command.env("PATH", format!("{}{path}", self.folder.join("path").display()));
        let home = self.folder.join("home");
        command.env("HOME", &home).env("CF_QUEUES_VERSION", "1.2.3").env("CF_QUEUES_RELEASES", &self.url);
        command.env("CF_QUEUES_FOLDER", target).output().unwrap()
    }

    fn install(&self) -> Output {
        self.install_in("bin", &format!(":{}", std::env::var("PATH").unwrap()))
    }

    /// That it fails, with this reason, and leaves nothing.
    fn refuses(&self, why: &str) {
        let output = self.install();
        let told = String::from_utf8(output.stderr).unwrap();
        assert!(!output.status.success() && told.contains(why), "{told}");
        let left = fs::read_dir(self.folder.join("bin")).map_or(0, Iterator::count);
        assert_eq!(left, 0, "{told}");
    }
}

#[test]
fn a_release_is_installed_and_replaced() {
    let world = World::new("works", "echo cf-queues 1.2.3");
    for _ in 0..2 {
        let output = world.install();
        assert!(output.status.success(), "{output:?}");
        assert_eq!(fs::read_dir(world.folder.join("bin")).unwrap().count(), 1, "it leaves nothing else");
    }
    let output = Command::new(world.folder.join("bin/cf-queues")).output().unwrap();
    assert_eq!(output.stdout, b"cf-queues 1.2.3\n");
    // By default below the home folder.
    let output = world.install_in("", &format!(":{}", std::env::var("PATH").unwrap()));
    assert!(String::from_utf8_lossy(&output.stdout).contains("is not on the PATH"), "{output:?}");
    assert!(world.folder.join("home/.local/bin/cf-queues").exists());
}

#[test]
fn what_is_not_the_release_is_not_installed() {
    let world = World::new("wrong", "echo cf-queues 1.2.3");
    let archive = world.folder.join(format!("releases/v1.2.3/{NAME}.tar.gz"));
    let whole = fs::read(&archive).unwrap();
    fs::write(&archive, &whole[..whole.len() - 1]).unwrap();
    world.refuses("has the SHA-256");
    fs::write(&archive, &whole).unwrap();
    let sum = archive.with_extension("gz.sha256");
    fs::write(&sum, "").unwrap();
    world.refuses("instead of ;");
    fs::remove_file(sum).unwrap();
    world.refuses(".sha256 could not be downloaded");
    fs::remove_file(archive).unwrap();
    world.refuses(".tar.gz could not be downloaded");
    World::new("broken", "exit 1").refuses("does not run here");
}

#[test]
fn files_of_killed_runs_are_removed_a_day_later() {
    let world = World::new("killed", "echo cf-queues 1.2.3");
    let bin = world.folder.join("bin");
    sh("mkdir -p bin/.cf-queues.abcdef bin/.cf-queues.ghijkl bin/.cf-queues", &world.folder);
    sh("touch bin/.cf-queues.abcdef/archive", &world.folder);
    sh("touch -t 202001010000 bin/.cf-queues.abcdef bin/.cf-queues", &world.folder);
    assert!(world.install().status.success());
    // The second one may still run, and the third one is not the script's.
    let left = [".cf-queues.abcdef", ".cf-queues.ghijkl", ".cf-queues"].map(|name| bin.join(name).exists());
    assert_eq!(left, [false, true, true]);
}

#[test]
fn missing_programs_and_unwritable_folders_are_named() {
    let world = World::new("other", "echo cf-queues 1.2.3");
    world.on("FreeBSD", "riscv64");
    world.refuses("there is no program for FreeBSD riscv64");
    world.on("Linux", "x86_64");
    fs::write(world.folder.join("a-file"), "").unwrap();
    let output = world.install_in("a-file/bin", &format!(":{}", std::env::var("PATH").unwrap()));
    let told = String::from_utf8(output.stderr).unwrap();
    assert!(!output.status.success() && told.contains("set CF_QUEUES_FOLDER to another one"), "{told}");
}

#[test]
fn a_part_of_the_script_does_nothing() {
    let script = fs::read_to_string(SCRIPT).unwrap();
    let folder = folder("install-part");
    let lines: Vec<_> = script.lines().collect();
    for length in 0..lines.len() {
        let part = folder.join("part.sh");
        fs::write(&part, lines[..length].join("\n")).unwrap();
        let output = Command::new("sh").arg(&part).env_clear().output().unwrap();
        assert!(output.stdout.is_empty(), "{output:?}");
    }
}

#[test]
fn wget_and_the_least_tools_are_enough() {
    let has_wget = Command::new("sh").args(["-c", "command -v wget"]).output().unwrap().status.success();
    let world = World::new("wget", "echo cf-queues 1.2.3");
    world.with_only(&["mkdir", "mktemp", "rm", "cut", "tar", "gzip", "mv", "find"]);
    let sum = world.folder.join(format!("releases/v1.2.3/{NAME}.tar.gz.sha256"));
    let whole = fs::read(&sum).unwrap();
    let told = |output: Output| String::from_utf8(output.stderr).unwrap();
    assert!(told(world.install_in("bin", "")).contains("curl or wget is needed"));
    world.with_only(&[if has_wget { "wget" } else { "curl" }]);
    // Nothing is as good as an empty sum.
    fs::write(&sum, "").unwrap();
    let output = world.install_in("bin", "");
    assert!(!output.status.success(), "{output:?}");
    assert_eq!(told(output), "install.sh: sha256sum or shasum is needed\n");
    fs::write(&sum, whole).unwrap();
    world.with_only(&["sha256sum"]);
    let output = world.install_in("bin", "");
    assert!(output.status.success(), "{output:?}");
}
