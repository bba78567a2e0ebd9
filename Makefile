# vecdist: make, make install, make installcheck work as with any extension
# built by PGXS; "make help" lists the rest.

PG_CONFIG ?= pg_config
PGXS_MAKE = $(MAKE) --no-print-directory -f Makefile.pgxs PG_CONFIG=$(PG_CONFIG)

all install uninstall distclean installcheck installdirs:
	$(PGXS_MAKE) $@

clean:
	$(PGXS_MAKE) $@
	rm -rf build

# Builds for tests and tools live below build/ and leave the tree clean.
# $(call build_in,DIRECTORY,VARIABLES)
source_dirs = $(wildcard src/*/)
build_in = mkdir -p build/$(1)/src $(addprefix build/$(1)/,$(source_dirs)) && \
	$(MAKE) --no-print-directory -s $(if $(filter -j%,$(MAKEFLAGS)),,-j$(shell nproc)) \
	-C build/$(1) -f ../../Makefile.pgxs VPATH=../.. \
	PG_CONFIG=$(PG_CONFIG) with_llvm=no $(2)

# Everything: regress, isolation, unit and TAP tests on a temporary
# installation; see dev/check for TESTS, PROVE_TESTS, JOBS and KEEP.
check:
	+@$(call build_in,check,ASSERTIONS=1)
	@PG_CONFIG='$(PG_CONFIG)' TESTS='$(TESTS)' PROVE_TESTS='$(PROVE_TESTS)' \
		JOBS='$(or $(JOBS),2)' KEEP='$(KEEP)' dev/check

.PHONY: all install uninstall clean distclean installcheck installdirs check
