# `make` says what there is. Everything works on a fresh Debian or Ubuntu.

CARGO := deploy/cargo.sh
INSTALL := deploy/install-packages.sh
MAKEFLAGS += --no-print-directory
.DEFAULT_GOAL := help
.PHONY: help deb install uninstall demo test acceptance soak fault-table bench compare bench-check screenshots fuzz check build clean root fresh

## demo: the story in a table: four scenarios, without and with the relay; root only to install packages
demo:
	@$(INSTALL) lab rust
	@$(CARGO) build --release --locked
	@PATH="$$PATH:/usr/sbin:/sbin" $(CARGO) run --release --locked --quiet -- lab run

## test: every test, those in network namespaces too, and each micro-benchmark once; nothing is skipped
test: root
	@$(INSTALL) lab bench metrics browser python machine rust deb
	CI=true $(CARGO) test --locked --no-fail-fast
	$(CARGO) test --locked --bench micro -- --quiet

## acceptance: the full matrix, one verdict a requirement; up to an hour
acceptance: root
	@$(INSTALL) lab machine image deb rust
	$(CARGO) test --release --locked --test acceptance
	CI=true $(CARGO) test --release --locked --test faults_wire --test faults_load --test upgrade_scp --test probe_lab --test container --test install_by_hand -- --ignored --nocapture

## fresh: README's two commands in a minimal Debian root, with a Rust toolchain and nothing else; forty minutes
fresh: root
	@$(INSTALL) machine rust
	CI=true $(CARGO) test --locked --test fresh_machine -- --include-ignored --nocapture --test-threads=1

## soak: everything at once with bad wires, ten minutes or SOAK_MINUTES=, and a verdict
soak: root
	@$(INSTALL) lab rust
	$(CARGO) test --release --locked --test soak -- --ignored --nocapture

## fault-table: runs every test of faults and writes the README's table from what they saw
fault-table: root
	@$(INSTALL) lab rust
	CI=true $(CARGO) test --release --locked --test faults_wire --test faults_host --test faults_kernel --test faults_load -- --include-ignored
	$(CARGO) test --release --locked --test faults_table -- --ignored

## bench: one figure of speed: the relay beside direct and HAProxy, bulk, one flow; what measuring costs; how fast captures are explained; the micro-benchmarks
bench: root
	@$(INSTALL) lab bench rust
	$(CARGO) bench --locked --bench bulk
	$(CARGO) bench --locked --bench added
	$(CARGO) bench --locked --bench scrape
	$(CARGO) bench --locked --bench crowd
	$(CARGO) bench --locked --bench recording
	$(CARGO) bench --locked --bench recording -- --one-core
	$(CARGO) bench --locked --bench explain
	$(CARGO) bench --locked --bench micro

## compare: the relay and its engines beside HAProxy, nginx and socat; under 15 minutes
compare: root
	@$(INSTALL) lab bench rust
	@$(CARGO) build --release --locked
	@PATH="$$PATH:/usr/sbin:/sbin" $(CARGO) run --release --locked --quiet -- bench compare

## bench-check: fails if a ratio to direct, HAProxy or nginx is worse than benches/baseline.json has it; 6 minutes
BENCH_CHECK := --peers haproxy,nginx --engines splice --work stream1,stream8,rr1,rr64,crr64 --rounds 6 --slices 6 --baseline benches/baseline.json
bench-check: root
	@$(INSTALL) lab bench rust
	@$(CARGO) build --release --locked
	@PATH="$$PATH:/usr/sbin:/sbin" $(CARGO) run --release --locked --quiet -- bench compare $(BENCH_CHECK)

## screenshots: docs/img, the status page and top of a gateway in the lab under load, a report of the lab; seven minutes
screenshots: root
	@$(INSTALL) lab browser rust
	CI=true $(CARGO) test --locked --test status_page_pictures -- --ignored --test-threads=1

## fuzz: every fuzz target, a minute each; FUZZ_SECONDS=600 for longer; wants nightly Rust and cargo-fuzz
FUZZ_SECONDS := 60
fuzz:
	@fuzz/run.sh $(FUZZ_SECONDS)

## check: formatting and lints
check:
	@$(INSTALL) rust lint
	$(CARGO) fmt --check
	$(CARGO) clippy --locked --all-targets -- -D warnings

## build: the release binary, target/release/unmangle
build:
	@$(INSTALL) rust
	$(CARGO) build --release --locked

## deb: the Debian package, in target/debian
deb:
	@$(INSTALL) rust deb
	@$(CARGO) build --release --locked
	@PATH="$(CURDIR)/target/tools/bin:$$PATH" $(CARGO) deb --no-build --strip --locked

## install: what `make build` has built, below PREFIX (/usr/local); DESTDIR= comes before it
PREFIX := /usr/local
install:
	@deploy/install.sh install "$(DESTDIR)" "$(PREFIX)"

## uninstall: removes that; what stands in /etc/unmangle stays
uninstall:
	@deploy/install.sh uninstall "$(DESTDIR)" "$(PREFIX)"

## clean: removes what was built
clean:
	$(CARGO) clean

help:
	@sed -n 's/^## \([a-z-]*\): /  make \1\t/p' Makefile | expand -t 20

root:
	@[ "$$(id -u)" -eq 0 ] || { echo "make $(MAKECMDGOALS): network namespaces (and missing packages) need root: sudo make $(MAKECMDGOALS)" >&2; exit 1; }
