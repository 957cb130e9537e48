# What can be done here; `just ci` is what CI runs.

# Format, lint and document, without running anything
lint:
    cargo fmt --all --check
    cargo clippy --workspace --all-targets --locked -- -D warnings
    RUSTDOCFLAGS="-D warnings" cargo doc --workspace --no-deps --locked

# All tests, with the prebuilt guests; no network, no root
test:
    cargo build --workspace --locked
    cargo test --workspace --locked

# The servers that some tests talk to: `just services stop` ends them. Without them, these tests say that they are left out
services VERB="start":
    tests/services.sh {{VERB}}

# Everything that CI asks for
ci: services test lint

# Measure what the road of a call, its capabilities and its policies cost: tables of ratios (release; `just bench --quick` for a first look)
bench *OPTIONS:
    cargo bench --workspace --bench road --bench capabilities --bench policies --locked -- {{OPTIONS}}

# Format the sources
fmt:
    cargo fmt --all

# Build the Rust guests into guest-examples/prebuilt
guests *NAMES:
    guest-examples/build.sh {{NAMES}}

# Build all guests, also those in C, and those with a large runtime (JavaScript, Python)
guests-all:
    guest-examples/build.sh --all
