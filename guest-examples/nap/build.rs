//! The linker reserves a stack of 1 MiB by default; this tool needs next to none.

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rustc-link-arg=-zstack-size=16384");
}
