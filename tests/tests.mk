# SPDX-License-Identifier: BSD-2-Clause
# Test programs and the targets that run them. Included by the Makefile.
#
# tests/<suite>/<name>.c is one program, $(B)/tests/<suite>/<name>; headers of a suite and of tests/support are included
# by relative paths. Two suites differ:
#   unit    test_cli_*.c is linked with the command line's objects, test_shim_*.c with the shim's (without the wrappers'
#           constructor's help: nothing is preloaded), the others with the daemon's; all with cmocka, none with main.o.
#           Archives: only what a test refers to comes in, so a test may bring its own fakes.
#   kernel  tests/kernel/kernel.mk.
# A suite's own rules go to tests/<suite>/<suite>.mk, which lists in TEST_OWN_RULES the sources it builds itself
# (or that are no programs) and adds its programs to TEST_PROGRAMS.

TEST_OWN_RULES :=
TEST_PROGRAMS :=
include $(sort $(wildcard tests/*/*.mk))

TEST_SOURCES := $(filter-out $(TEST_OWN_RULES) tests/unit/% tests/support/%,$(sort $(wildcard tests/*/*.c)))
UNIT_SOURCES := $(filter-out $(TEST_OWN_RULES),$(sort $(wildcard tests/unit/test_*.c)))
UNIT_CLI_SOURCES := $(filter tests/unit/test_cli%,$(UNIT_SOURCES))
UNIT_SHIM_SOURCES := $(filter tests/unit/test_shim%,$(UNIT_SOURCES))
UNIT_DAEMON_SOURCES := $(filter-out $(UNIT_CLI_SOURCES) $(UNIT_SHIM_SOURCES),$(UNIT_SOURCES))

TEST_PROGRAMS += $(TEST_SOURCES:%.c=$(B)/%) $(UNIT_SOURCES:%.c=$(B)/%)
TEST_MODULES := cmocka
UNIT_LIBS = $(call once,UNIT_LIBS,$(PKG_CONFIG) --libs $(TEST_MODULES))

# Tests are built with assertions, and keep frame pointers for the stack of a failure.
TEST_CFLAGS = $(ALL_CFLAGS) -UNDEBUG -fno-omit-frame-pointer
TEST_DEPEND = -MMD -MP -MF $@.d

.PHONY: tests
tests: $(TEST_PROGRAMS)

$(TEST_SOURCES:%.c=$(B)/%): $(B)/%: %.c $(B)/.flags | $(B)/.packages
	@mkdir -p $(@D)
	$(say) CC $@
	$(Q)$(CC) $(TEST_CFLAGS) $(TEST_DEPEND) -o $@ $< $(ALL_LDFLAGS) -pthread -lm

# ---- unit tests ------------------------------------------------------------------------------------------------------
ARCHIVES := $(B)/obj/libdaemon.a $(B)/obj/libcli.a $(B)/obj/libshim.a
$(B)/obj/libdaemon.a: $(filter-out %/main.o,$(DAEMON_OBJECTS))
$(B)/obj/libcli.a: $(filter-out %/main.o,$(CLI_OBJECTS)) $(PROBE_OBJECTS)
$(B)/obj/libshim.a: $(SHIM_OBJECTS)
$(ARCHIVES): $(B)/.sources
	$(say) AR $@
	$(Q)rm -f $@ && $(AR) qcs $@ $(filter %.o,$^)
ifneq ($(filter undefined default,$(origin AR)),)
AR := ar
endif

define unit_rule
$(B)/$(1:.c=): $(1) $(B)/obj/lib$(2).a $(B)/.flags $(B)/.packages-test
	@mkdir -p $$(@D)
	$$(say) CC $$@
	$$(Q)$$(CC) $$(TEST_CFLAGS) -I$(B)/bpf -Ibpf -Ihelper $$(TEST_DEPEND) -o $$@ $$< $(B)/obj/lib$(2).a $$(ALL_LDFLAGS) $$(UNIT_LIBS) $(3) -pthread
endef
$(foreach source,$(UNIT_DAEMON_SOURCES),$(eval $(call unit_rule,$(source),daemon,$$(DAEMON_LIBS))))
$(foreach source,$(UNIT_CLI_SOURCES),$(eval $(call unit_rule,$(source),cli,$$(CLI_LIBS))))
$(foreach source,$(UNIT_SHIM_SOURCES),$(eval $(call unit_rule,$(source),shim,)))

$(B)/.packages-test: tests/packages tests/deps
	@mkdir -p $(@D)
	$(Q)PKG_CONFIG='$(PKG_CONFIG)' CC='$(CC)' tests/deps missing test
	@touch $@

-include $(addsuffix .d,$(TEST_PROGRAMS))

# ---- running them -----------------------------------------------------------------------------------------------------
# All CPUs, unless the caller gave -j.
JOBS = $(if $(filter -j% --jobserver%,$(MAKEFLAGS)),,-j$(shell nproc))
# The tests find $(B) under its absolute name.
RUN_TESTS = SMACCEL_BUILD='$(abspath $(B))' tests/run

# Warnings are errors in a build for all tests, so that lint need not make another one; unless the flags are the caller's, or it fails.
STRICT = $(if $(filter file,$(origin CFLAGS)),CFLAGS='$(CFLAGS) -Werror')

.PHONY: check test
check:
	@[ "$$(id -u)" = 0 ] || { echo 'make check: needs root (BPF, network namespaces, packages)' >&2; exit 1; }
	@tests/deps install build test lint vm
	@+$(MAKE) --no-print-directory $(JOBS) $(STRICT) all tests || $(MAKE) --no-print-directory $(JOBS) all tests
	@$(RUN_TESTS)

test:
	@+$(MAKE) --no-print-directory $(JOBS) all tests
	@$(RUN_TESTS) $(T)

# ---- style --------------------------------------------------------------------------------------------------------------
# A file is looked at again when its object changed, that is when it or a header of it did. Many files a process: to start one takes twice as
# long as to look at a file.
TIDY_FLAGS := -std=gnu11 -D_GNU_SOURCE= -DSMACCEL_VERSION='""' -DSMACCEL_LIBDIR='""' -DSMACCEL_MULTIARCH='""' -I$(B)/bpf
.PHONY: tidy

define tidy_rule # NAME, COMPONENT, SOURCES
tidy: $(B)/lint/$(1).tidy
$(B)/lint/$(1).tidy: $(3:%.c=$(B)/obj/$(2)/%.o) .clang-tidy
	@mkdir -p $$(@D)
	$$(Q)clang-tidy --quiet $$(if $$(filter .clang-tidy,$$?),$(3),$$(patsubst $(B)/obj/$(2)/%.o,%.c,$$?)) -- $$(TIDY_FLAGS) > $$@.log 2>&1 || \
		{ grep -E '(error|warning):|^ +[0-9]* \|' $$@.log; exit 1; }
	@mv $$@.log $$@
endef
PRELOAD_SOURCES := $(filter-out $(WIRE_SOURCES),$(SHIM_SOURCES))
COMMAND_SOURCES := $(filter-out $(WIRE_SOURCES),$(CLI_SOURCES))
$(eval $(call tidy_rule,helper,daemon,$(DAEMON_SOURCES)))
$(eval $(call tidy_rule,cli,cli,$(COMMAND_SOURCES)))
$(eval $(call tidy_rule,intercept,shim,$(filter preload/intercept%,$(PRELOAD_SOURCES))))
$(eval $(call tidy_rule,preload,shim,$(filter-out preload/intercept%,$(PRELOAD_SOURCES))))

.PHONY: analyze
analyze: all
	for file in $(DAEMON_SOURCES) $(COMMAND_SOURCES) $(PRELOAD_SOURCES); do \
		clang-tidy --quiet --checks='-*,clang-analyzer-*,-clang-analyzer-security.insecureAPI.*' --warnings-as-errors=-* $$file \
			-- $(TIDY_FLAGS) 2>/dev/null; done

.PHONY: lint format
lint: $(B)/.packages
	@tests/deps missing lint
	@SMACCEL_BUILD='$(abspath $(B))' tests/lint/run

format:
	@tests/deps missing lint
	tests/lint/files c | xargs clang-format -i

# ---- the benchmark --------------------------------------------------------------------------------------------------------
.PHONY: bench bench-quick
bench bench-quick:
	@[ "$$(id -u)" = 0 ] || { echo 'make $@: needs root (the helper loads BPF programs)' >&2; exit 1; }
	@tests/deps install build try
	@[ $@ = bench-quick ] || tests/deps install bench || echo 'make bench: workloads of missing programs are left out' >&2
	@+$(MAKE) --no-print-directory $(JOBS) all tests
	@SMACCEL_BUILD='$(abspath $(B))' python3 tests/bench/bench.py $(if $(filter bench-quick,$@),--quick) $(BENCH)
