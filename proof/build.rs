//! Builds the library's own sources, with the hooks that are hidden from users.

#[path = "../build.rs"]
mod library;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    println!("cargo::rustc-cfg=fuzzing");
    if std::env::var("CARGO_PKG_NAME")? == "schedules" {
        println!("cargo::rustc-cfg=stand_in");
    }
    // Paths in the library's own script are relative to its package.
    println!("cargo::rerun-if-changed=../../openapi/queues.json");
    std::env::set_current_dir("../..")?;
    library::main()
}
