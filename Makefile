# vecdist: make, make install, make installcheck work as with any extension
# built by PGXS; "make help" lists the rest.

PG_CONFIG ?= pg_config
PGXS_MAKE = $(MAKE) --no-print-directory -f Makefile.pgxs PG_CONFIG=$(PG_CONFIG)

all install uninstall distclean installcheck installdirs:
	+$(PGXS_MAKE) $@

clean: demo-stop
	+$(PGXS_MAKE) $@
	rm -rf build

# Builds for tests and tools live below build/ and leave the tree clean.
# $(call build_in,DIRECTORY,VARIABLES)
source_dirs = $(wildcard src/*/)
build_in = mkdir -p build/$(1)/src $(addprefix build/$(1)/,$(source_dirs)) && \
	$(MAKE) --no-print-directory -s $(if $(filter -j%,$(MAKEFLAGS)),,-j$(shell nproc)) \
	-C build/$(1) -f ../../Makefile.pgxs VPATH=../.. \
	PG_CONFIG=$(PG_CONFIG) with_llvm=no $(2)

# The extension vector for clients and dumps made for pgvector; see shim/.
install-vector-shim uninstall-vector-shim:
	+@$(MAKE) --no-print-directory -C shim $@

.PHONY: install-vector-shim uninstall-vector-shim

# Searching Debian's package descriptions on a cluster of five servers; see
# demo/demo.  Q is the phrase, SECTION and K are optional.
export Q SECTION K
demo:
	@demo/demo start
demo-stop:
	@demo/demo stop
demo-search:
	@demo/demo search "$$Q"
demo-env:
	@demo/demo env
demo-build:
	+@$(call build_in,release)

.PHONY: demo demo-stop demo-search demo-env demo-build

# PGXS says little when pg_config is missing.  The demo installs it.
ifeq ($(filter demo% help,$(MAKECMDGOALS))$(shell command -v $(PG_CONFIG)),)
$(error "$(PG_CONFIG)" was not found; "dev/install-packages build" (as root) installs what building needs, or set PG_CONFIG)
endif

# Everything: regress, isolation, unit and TAP tests on a temporary
# installation; see dev/check for TESTS, PROVE_TESTS, JOBS and KEEP.
check-build:
	+@$(call build_in,check,ASSERTIONS=1)
check: check-build
	@PG_CONFIG='$(PG_CONFIG)' TESTS='$(TESTS)' PROVE_TESTS='$(PROVE_TESTS)' \
		JOBS='$(or $(JOBS),2)' KEEP='$(KEEP)' dev/check

# Tests of the types with the server under valgrind; TESTS chooses others.
VALGRIND_TESTS = vector_* halfvec_* sparsevec_* bit_distance types_bad_input
check-valgrind: check-build
	@VALGRIND=1 PG_CONFIG='$(PG_CONFIG)' TESTS='$(or $(TESTS),$(VALGRIND_TESTS))' \
		KEEP='$(KEEP)' dev/check

# Random searches against the exact answer until stopped or ROUNDS tables are
# done, with SEED; each table gets a hundred queries.
soak: check-build
	@VECDIST_ROUNDS='$(or $(ROUNDS),1000)' VECDIST_SEED='$(or $(SEED),6)' \
		PG_CONFIG='$(PG_CONFIG)' PROVE_TESTS=test/t/332_dist_differential.pl dev/check

# Millions of pairs of vectors whose bounds must hold
check-bounds: check-build
	@VECDIST_PAIRS='$(or $(PAIRS),3000000)' VECDIST_SEED='$(or $(SEED),2)' \
		PG_CONFIG='$(PG_CONFIG)' PROVE_TESTS=test/t/107_vhnsw_bounds.pl dev/check

.PHONY: all install uninstall clean distclean installcheck installdirs \
	check check-build check-bounds check-valgrind soak

# Unit tests for aarch64, cross-compiled and emulated, for those without one: on
# a CPU with all extensions, and on one with none
CROSS = aarch64-linux-gnu-
check-neon:
	@mkdir -p build/neon
	@for test in test/unit/*.c; do \
		program=build/neon/$$(basename "$$test" .c); \
		$(CROSS)gcc -std=gnu99 -O2 -ffp-contract=off -Wall -Wextra -Werror \
			-Wno-unused-parameter -static -Isrc -o "$$program" "$$test" \
			src/distance/*.c -lm && echo "$$test" && \
			qemu-aarch64 -cpu max "$$program" && \
			qemu-aarch64 -cpu cortex-a57 "$$program" || exit 1; \
	done

.PHONY: check-neon

# Inputs that libFuzzer thinks of, for the types' input functions and casts;
# test/fuzz/README.  What it found interesting stays in build/fuzz/corpus.
FUZZ_CC = clang-14
fuzz_build = mkdir -p build/fuzz && $(FUZZ_CC) -std=gnu99 -g -O1 \
	-fsanitize=fuzzer,address,undefined -fno-sanitize-recover=all \
	-ffp-contract=off -DUSE_ASSERT_CHECKING=1 -D_GNU_SOURCE \
	-Wall -Wno-ignored-attributes -Werror -Isrc -Itest/fuzz \
	-isystem "$$($(PG_CONFIG) --includedir-server)" -o build/fuzz/types_fuzz \
	test/fuzz/*.c $(wildcard $(addprefix src/types/,$(addsuffix .c, \
		vector vector_list vector_cast halfvec halfvec_cast sparsevec sparsevec_cast))) \
	src/distance/*.c -L"$$($(PG_CONFIG) --pkglibdir)" -L"$$($(PG_CONFIG) --libdir)" \
	-lpgcommon -lpgport -lm -no-pie -Wl,--wrap=float_to_shortest_decimal_bufn \
	-Wl,--unresolved-symbols=ignore-in-object-files
# $(call fuzz_run,DIRECTORY FOR NEW INPUTS,OPTIONS)
fuzz_run = $(fuzz_build) && mkdir -p build/fuzz/$(1) && cd build/fuzz && \
	./types_fuzz -dict=../../test/fuzz/types.dict -print_final_stats=1 $(2) \
	$(1) ../../test/fuzz/seeds
fuzz:
	@$(call fuzz_run,corpus,-max_total_time=$(or $(FUZZ_SECONDS),180))
# The same inputs each time
check-fuzz:
	@rm -rf build/fuzz/check
	@$(call fuzz_run,check,-verbosity=0 -seed=1 -runs=20000)

.PHONY: fuzz check-fuzz

# For developers
format:
	@dev/format
check-format:
	@dev/format --check
typedefs:
	@dev/gen-typedefs

# Warnings as errors, without assertions, as users build it
lint-build:
	+@$(call build_in,lint,COPT=-Werror)
lint: lint-build
	@dev/lint
check-layers:
	@dev/check-layers
check-symbols: lint-build
	@dev/check-symbols build/lint/vecdist.so

.PHONY: format check-format typedefs lint lint-build check-layers check-symbols

# Benchmarks: bench/README.md has results, bench/*.py the variables.  Debian's
# Python packages serve Debian's Python.  A client that cannot be built leaves
# its system out of the comparison.
PYTHON ?= $(or $(wildcard /usr/bin/python3),python3)
CXX ?= c++
bench-build:
	@$(PYTHON) -c 'import numpy' || \
		{ echo 'the benchmarks need python3-numpy' >&2; exit 1; }
	+@$(call build_in,bench)
	@$(CC) -O2 -Wall -I"$$($(PG_CONFIG) --includedir)" -o build/bench/bench_pg_client \
		bench/bench_pg_client.c -L"$$($(PG_CONFIG) --libdir)" -lpq
	@rm -f build/bench/bench_hnswlib_client
	-@if [ -e /usr/include/hnswlib/hnswlib.h ]; then \
		$(CXX) -O3 -march=native -w -pthread -o build/bench/bench_hnswlib_client \
			bench/bench_hnswlib_client.cpp; fi
bench-kernels:
	@mkdir -p build/bench
	@$(CC) -std=gnu99 -O2 -ffp-contract=off -Wall -Isrc -o build/bench/bench_kernels \
		bench/bench_kernels.c src/distance/*.c -lm
	@build/bench/bench_kernels $(KERNELS)
bench_targets = $(addprefix bench-,awkward cancel distributed filter index \
	interrupts planner profile sharding single types)
$(bench_targets): bench-%: bench-build
	@PG_CONFIG='$(PG_CONFIG)' $(PYTHON) bench/bench_$*.py

.PHONY: bench-build bench-kernels $(bench_targets)

help:
	@echo 'make, make install       build and install for PG_CONFIG (default: pg_config)'
	@echo 'make install-vector-shim an extension "vector" on top, for what was made for pgvector'
	@echo 'make installcheck        tests against a running server'
	@echo 'make check               all tests, on a temporary installation;'
	@echo '                         TESTS="name ..." or PROVE_TESTS="file ..." chooses'
	@echo 'make soak                random searches for hours; ROUNDS=n SEED=n'
	@echo 'make check-bounds        vectors that are hard on proven bounds; PAIRS=n SEED=n'
	@echo 'make demo                a cluster that searches real text; also demo-env,'
	@echo '                         demo-search Q="phrase", demo-stop'
	@echo 'make check-valgrind      tests of the types with the server under valgrind'
	@echo 'make fuzz                input functions under libFuzzer; FUZZ_SECONDS=n'
	@echo 'make check-fuzz          the same on some inputs, always the same ones'
	@echo 'make check-neon          unit tests for aarch64, under emulation'
	@echo 'make format check-format lay out the source'
	@echo 'make lint                all checks that need no server'
	@echo 'make typedefs            renew dev/typedefs.list'
	@echo 'make bench-kernels bench-single bench-index bench-planner bench-types'
	@echo 'make bench-filter bench-cancel bench-interrupts bench-profile bench-distributed'
	@echo '     bench-sharding bench-awkward'
	@echo '                         benchmarks; see bench/README.md'

.PHONY: help
