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

# Everything that CI asks for
ci: test lint

# Format the sources
fmt:
    cargo fmt --all

# Build the Rust guests into guest-examples/prebuilt
guests *NAMES:
    guest-examples/build.sh {{NAMES}}

# Build all guests, also those with a large runtime (JavaScript, Python)
guests-all:
    guest-examples/build.sh --all
