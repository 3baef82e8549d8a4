# Entry points; each brings what it needs. `make help` says what there is.

CARGO ?= cargo
WITH_ENV := dev/setup/with-env
# Where cargo puts binaries, also when CARGO_TARGET_DIR or a cargo configuration says otherwise.
TARGET_DIR = $(shell $(CARGO) metadata --format-version 1 --no-deps --locked | \
	sed -n 's/.*"target_directory":"\([^"]*\)".*/\1/p')

# Other verifiers that `make bench` measures ours beside; sev-openssl needs Debian packages libssl-dev and pkg-config.
BENCH_PEERS := sev-openssl sev-nossl dcap-qvl
BENCH_MIB ?= 4096
BENCH_SESSIONS ?= 100000

.NOTPARALLEL:
.PHONY: help demo test bench soak image image-update mutants fuzz setup peers format lint models unit examples documents

help: ## this list
	@sed -n 's/^\([a-z]*\):[^#]*## */\1\t/p' $(MAKEFILE_LIST) | expand -t 10

demo: setup ## the whole system on this machine, without a TEE; KEEP=1 leaves it running
	$(CARGO) build --workspace --bins --locked
	$(WITH_ENV) "$(TARGET_DIR)/debug/strongroom-dev" demo $(if $(filter-out 0,$(KEEP)),--keep)

test: setup peers format lint models guest unit examples documents ## every check that CI runs

image: setup ## the guest image, reproducible, in target/image; prints digests and launch measurements. KEY=FILE signs its reference values; REPRODUCE=1 builds all of it twice, REPRODUCE=init all but the enclave
	$(CARGO) build --package strongroom-images --package strongroom-tools --bins --locked
	$(WITH_ENV) "$(TARGET_DIR)/debug/strongroom-image" build --out "$(TARGET_DIR)/$(or $(IMAGE),image)" --programs "$(TARGET_DIR)/image-build" \
		$(if $(PRESENT),--present) $(if $(filter command line,$(origin FOR_TESTS)),--for-tests) $(if $(KEY),--sign-key "$(KEY)") $(if $(REPRODUCE),--twice $(if $(filter init,$(REPRODUCE)),init,programs))

image-update: ## take what Debian has now into images/inputs.lock, and say what moved
	$(CARGO) run --package strongroom-images --locked --quiet -- update

# The image that the tests boot: of the present inputs where the archive has dropped those of the lock, and with programs of the profile
# `image-test`, which take less time to build than those of `make image`.
guest:
	@rm -rf "$(TARGET_DIR)/image-test"
	@if command -v apt-get >/dev/null && command -v dpkg-deb >/dev/null; then $(MAKE) --no-print-directory image PRESENT=1 FOR_TESTS=1 IMAGE=image-test KEY=; \
		else echo "guest: skipped, no apt-get and dpkg-deb here"; fi

bench: ## the figures, each beside its limit, measured in the same run where its name does not say otherwise; writes target/bench.json, bench-memory.json, bench-releases.json, bench-models.json, bench-boot.json and bench-served.json; BENCH_MIB=4096 is the length of the model that is pulled
	@for peer in $(BENCH_PEERS); do \
		$(CARGO) build --release --locked --quiet --manifest-path tests/peers/bench/Cargo.toml --bin $$peer \
			--features $$peer --target-dir "$(TARGET_DIR)/peers" || { rm -f "$(TARGET_DIR)/peers/release/$$peer"; \
			echo "$$peer: skipped, it cannot be built here for the reason above"; }; done
	$(CARGO) bench --locked -p strongroom-tests --bench strongroom -- "$(TARGET_DIR)/bench.json" "$(TARGET_DIR)/peers/release"
	$(CARGO) bench --locked -p strongroom-tests --bench memory -- "$(TARGET_DIR)/bench-memory.json"
	$(WITH_ENV) $(CARGO) bench --locked -p strongroom-attestation-verifier --bench releases -- "$(TARGET_DIR)/bench-releases.json" "$(BENCH_SESSIONS)"
	$(WITH_ENV) sh -c '$(CARGO) bench --locked -p strongroom-tests --bench models -- "$(TARGET_DIR)/bench-models.json" \
		"$(BENCH_MIB)" $${PEERS_PYTHON:+"$$PEERS_PYTHON"}'
	@if [ -e "$(TARGET_DIR)/image-test" ] && command -v qemu-system-x86_64 >/dev/null; then $(CARGO) build --workspace --bins --locked; \
		set -x; GUEST_IMAGE="$(TARGET_DIR)/image-test" BOOT_FIGURES="$(TARGET_DIR)/bench-boot.json" $(WITH_ENV) $(CARGO) test --locked --quiet \
			-p strongroom-tests --test strongroom image::boot::image_boots && cat "$(TARGET_DIR)/bench-boot.json"; \
		else echo "boot: skipped, no QEMU or no image here; \`make guest\` builds one"; fi
	$(CARGO) build --release --locked --bin strongroom-enclave --bin strongroom-verifier --bin strongroom
	$(WITH_ENV) $(CARGO) bench --locked -p strongroom-tests --bench served -- "$(TARGET_DIR)/bench-served.json"

soak: setup ## an enclave under mixed load for SECONDS (1800); a minute of it is among the tests
	$(CARGO) build --workspace --bins --locked
	STRONGROOM_REQUIRE_SETUP=1 STRONGROOM_SOAK_SECONDS="$(or $(SECONDS),1800)" $(WITH_ENV) $(CARGO) test --locked -p strongroom-tests \
		--test strongroom -- --nocapture enclave_under_mixed_load

# In place, because the tests read captured evidence beside the workspace: sources change while it runs and are put back.
mutants: ## mutation testing of the formats and the judgement, hours long; SHARD=k/n for a part. See tests/mutants.md
	$(CARGO) mutants -p strongroom-wire -p strongroom-appraisal --in-place $(if $(SHARD),--shard $(SHARD))

fuzz: ## every fuzz target for SECONDS_EACH (600); needs the nightly compiler and cargo-fuzz. See tests/fuzz/README.md
	tests/fuzz/run

setup:
	dev/setup/run

peers:
	tests/peers/setup

format:
	$(CARGO) fmt --all --check

lint:
	$(CARGO) clippy --workspace --all-targets --locked -- -D warnings

# That what our own converter writes is ONNX, by the word of the reference implementation.
models: setup peers
	$(WITH_ENV) sh -c 'if [ -n "$${PEERS_PYTHON:-}" ]; then "$$PEERS_PYTHON" tests/peers/check_models.py; \
		else echo "models: skipped, no Python peers"; fi'

# nextest where it is installed: it runs the test binaries side by side.
# The tests of the whole system start the programs, among them one that no package's own tests would build.
unit: setup peers guest
	$(CARGO) build --workspace --bins --locked
	@if $(CARGO) nextest --version >/dev/null 2>&1; then run='nextest run --no-tests=fail'; else run=test; fi; \
		set -x; STRONGROOM_REQUIRE_SETUP=1 GUEST_IMAGE="$(TARGET_DIR)/image-test" $(WITH_ENV) $(CARGO) $$run --workspace --locked

# nextest passes over examples in the documentation; many of them say what must not compile.
examples:
	$(CARGO) test --doc --workspace --locked

documents:
	RUSTDOCFLAGS="-D warnings" $(CARGO) doc --workspace --no-deps --locked
