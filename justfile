# Short names for what is done often. `just check` is exactly what CI runs.

# List the recipes
default:
    @just --list

# Everything that CI runs
check:
    ./test

# Format the code
fmt:
    cargo fmt --all

# Lint as CI does
lint:
    ./test fmt lint

# The tests of one part
test-codec *ARGS:
    cargo test -p syncbridge-codec {{ARGS}}
test-document *ARGS:
    cargo test -p syncbridge-document {{ARGS}}
test-storage *ARGS:
    cargo test -p syncbridge-storage {{ARGS}}
test-server *ARGS:
    cargo test -p syncbridge {{ARGS}}
test-client *ARGS:
    cargo test -p syncbridge-client {{ARGS}}

# Every fault of server/tests/torture.rs in its long form, with a report; 100 takeovers from owners that stand still, at the
# store and between servers
torture:
    SYNCBRIDGE_TORTURE_LOSSES=400 SYNCBRIDGE_TORTURE_POINTS=10 SYNCBRIDGE_TORTURE_FAILURES=5 SYNCBRIDGE_TORTURE_JUMPS=5 \
        SYNCBRIDGE_TORTURE_TAILS=5 cargo test -p syncbridge --test torture -- --nocapture --test-threads=1
    SYNCBRIDGE_KILLS=500 cargo test --release -p syncbridge-storage --test kill
    SYNCBRIDGE_TAKEOVERS=100 cargo test --release -p syncbridge-storage --test takeover
    SYNCBRIDGE_TAKEOVERS=100 cargo test --release -p syncbridge --test cluster -- --nocapture an_owner_that_stood_still
    SYNCBRIDGE_TORTURE_KILLS=500 cargo test --release -p syncbridge --test torture -- --nocapture kill
    SYNCBRIDGE_SEEDS=5000 SYNCBRIDGE_FIRST=1000 cargo test --release -p syncbridge --test simulation -- --nocapture whatever_breaks

# Measure; perf/README.md says what the figures mean
perf *ARGS="fanout":
    cargo build --release -p syncbridge
    cargo run --release -p syncbridge-perf -- {{ARGS}} --server-bin "${CARGO_TARGET_DIR:-target}/release/syncbridge"

# Write docs/CONFIG.md anew from the code
docs:
    cargo run --quiet -- config print --markdown > docs/CONFIG.md.new
    mv docs/CONFIG.md.new docs/CONFIG.md

# Known vulnerabilities among the dependencies; needs the network
advisories:
    scripts/deny advisories
