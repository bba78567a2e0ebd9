# vecdist: make, make install, make installcheck work as with any extension
# built by PGXS; "make help" lists the rest.

PG_CONFIG ?= pg_config
PGXS_MAKE = $(MAKE) --no-print-directory -f Makefile.pgxs PG_CONFIG=$(PG_CONFIG)

all install uninstall clean distclean installcheck installdirs:
	$(PGXS_MAKE) $@

.PHONY: all install uninstall clean distclean installcheck installdirs
