# SPDX-License-Identifier: BSD-2-Clause
# smaccel. `make help` lists the targets; tests/tests.mk builds and runs the tests.

MAKEFLAGS += --no-builtin-rules --no-builtin-variables
.SUFFIXES:
.DELETE_ON_ERROR:
.DEFAULT_GOAL := all
SHELL := /bin/bash

VERSION := 0.1.0

# ---- settings: command line or environment ----------------------------------------------------------------------
ifneq ($(filter undefined default,$(origin CC)),)
CC := gcc
endif
CLANG ?= clang
PKG_CONFIG ?= pkg-config
# bpftool is in an sbin folder that not every user's PATH has.
BPFTOOL ?= $(or $(shell PATH="$$PATH:/usr/sbin:/sbin" command -v bpftool),bpftool)
INSTALL ?= install
CFLAGS ?= -O2 -g
CPPFLAGS ?=
LDFLAGS ?=
BPF_CFLAGS ?= -O2 -g
PREFIX ?= /usr/local
BINDIR ?= $(PREFIX)/bin
SBINDIR ?= $(PREFIX)/sbin
MANDIR ?= $(PREFIX)/share/man
DOCDIR ?= $(PREFIX)/share/doc/smaccel
UNITDIR ?= $(if $(filter /usr,$(PREFIX)),/lib/systemd/system,$(PREFIX)/lib/systemd/system)
# Debian's linker looks in $(PREFIX)/lib/<multiarch> for /usr and /usr/local; elsewhere lib64 or lib is the place.
MULTIARCH ?= $(shell $(CC) -print-multiarch 2>/dev/null || gcc -print-multiarch 2>/dev/null)
LIBDIR ?= $(PREFIX)/lib$(if $(MULTIARCH),/$(MULTIARCH),$(if $(wildcard /usr/lib64/libc.so.6),64))

# The shim lives in programs that have no sanitizer runtime: undefined behaviour traps, and needs none.
TRAPPING_FLAGS := -fsanitize=undefined -fsanitize-undefined-trap-on-error
ifeq ($(SANITIZE),1)
B := build-asan
SANITIZE_FLAGS := -fsanitize=address,undefined -fno-omit-frame-pointer
SHIM_SANITIZE_FLAGS := $(TRAPPING_FLAGS)
else
B := build
endif

ifeq ($(V),1)
Q :=
say = @:
else
Q := @
say = @printf '  %-8s %s\n'
endif

# ---- what is made of what -----------------------------------------------------------------------------------------
WIRE_SOURCES := $(sort $(wildcard helper/wire/*.c))
DAEMON_SOURCES := $(sort $(wildcard helper/*.c)) $(WIRE_SOURCES)
CLI_SOURCES := $(sort $(wildcard helper/cli/*.c helper/cli/ab/*.c)) $(WIRE_SOURCES)
# `smaccel probe` runs the self-test in its own process: these (what they have to say goes by log.c), and nothing else of the command line, know libbpf.
PROBE_SOURCES := $(sort $(wildcard helper/selftest*.c helper/datapath*.c helper/loopback*.c) helper/log.c)
SHIM_SOURCES := $(sort $(wildcard preload/*.c)) $(WIRE_SOURCES)
BPF_SOURCES := $(sort $(wildcard bpf/*.bpf.c))

DAEMON_OBJECTS := $(DAEMON_SOURCES:%.c=$(B)/obj/daemon/%.o)
CLI_OBJECTS := $(CLI_SOURCES:%.c=$(B)/obj/cli/%.o)
PROBE_OBJECTS := $(PROBE_SOURCES:%.c=$(B)/obj/daemon/%.o)
SHIM_OBJECTS := $(SHIM_SOURCES:%.c=$(B)/obj/shim/%.o)
SKELETONS := $(BPF_SOURCES:bpf/%.bpf.c=$(B)/bpf/%.skel.h)

PROGRAMS := $(B)/libsmaccel.so $(B)/smacceld $(B)/smaccel

.PHONY: all
all: $(PROGRAMS)

# ---- flags ---------------------------------------------------------------------------------------------------------
# Asked for once, and only when a recipe needs it: by then $(B)/.packages has said what is missing.
once = $(eval $1 := $(shell $2))$($1)
DAEMON_MODULES := libbpf libseccomp libcap-ng libsystemd jansson popt
CLI_MODULES := libbpf jansson popt
DAEMON_CFLAGS = $(call once,DAEMON_CFLAGS,$(PKG_CONFIG) --cflags $(DAEMON_MODULES))
DAEMON_LIBS = $(call once,DAEMON_LIBS,$(PKG_CONFIG) --libs $(DAEMON_MODULES))
CLI_CFLAGS = $(call once,CLI_CFLAGS,$(PKG_CONFIG) --cflags $(CLI_MODULES))
CLI_LIBS = $(call once,CLI_LIBS,$(PKG_CONFIG) --libs $(CLI_MODULES) && echo -lm)

WARNINGS := -Wall -Wextra -Wshadow -Wstrict-prototypes -Wmissing-prototypes -Wpointer-arith
DEPEND = -MMD -MP -MF $(@:.o=.d)
COMMON_FLAGS := -std=gnu11 $(WARNINGS) -D_GNU_SOURCE= -DSMACCEL_VERSION='"$(VERSION)"'
ALL_CFLAGS = $(COMMON_FLAGS) $(CPPFLAGS) $(CFLAGS) $(SANITIZE_FLAGS)
ALL_LDFLAGS = $(LDFLAGS) $(SANITIZE_FLAGS)

# The shim: nothing exported but what its map lists, no lazy binding, no fortified wrappers calling back into it, thread-local
# storage that never allocates, little of the application's stack, which may be small; the wire code calls libc past the shim's own
# wrappers.
SHIM_CFLAGS = $(COMMON_FLAGS) -Wframe-larger-than=4608 $(CPPFLAGS) -O2 $(CFLAGS) -fPIC -fvisibility=hidden -ftls-model=initial-exec -fno-lto \
	-fexceptions -fno-plt -U_FORTIFY_SOURCE $(SHIM_SANITIZE_FLAGS)
SHIM_WIRE_FLAGS := -include preload/wire_calls.h
# No vector registers on the way of a call: the kernel would have to save them at each context switch of a program that has no
# use for them itself.
SHIM_PRELOAD_FLAGS := -mgeneral-regs-only
SHIM_LDFLAGS = $(LDFLAGS) $(SHIM_SANITIZE_FLAGS) -shared -fno-lto -Wl,-soname,libsmaccel.so -Wl,-Bsymbolic -Wl,-z,now -Wl,-z,relro \
	-Wl,-z,nodelete -Wl,--no-undefined -Wl,--version-script=preload/libsmaccel.map preload/aliases.ld
SHIM_SCRIPTS := preload/libsmaccel.map preload/aliases.ld

# clang's BPF target has no multiarch folder of its own, where <asm/types.h> lives.
BPF_ARCH := $(patsubst aarch64,arm64,$(patsubst x86_64,x86,$(shell uname -m)))
BPF_ALL_CFLAGS = -target bpf -mcpu=v3 -D__TARGET_ARCH_$(BPF_ARCH) -std=gnu11 -Wall -Wextra -Wno-unused-parameter \
	$(call once,BPF_INCLUDES,$(PKG_CONFIG) --cflags libbpf) $(if $(MULTIARCH),-idirafter /usr/include/$(MULTIARCH)) $(BPF_CFLAGS)

# ---- stamps: missing packages, changed flags, changed lists of sources -----------------------------------------------
$(B)/.packages: tests/packages tests/deps
	@mkdir -p $(@D)
	$(Q)PKG_CONFIG='$(PKG_CONFIG)' CC='$(CC)' CLANG='$(CLANG)' BPFTOOL='$(BPFTOOL)' tests/deps missing build
	@touch $@

# Rewritten only when its text changes, so that what depends on it is remade only then.
define stamp_rule
$(1): FORCE
	@mkdir -p $$(@D)
	@echo '$(subst ','"'"',$(2))' | cmp -s - $$@ || echo '$(subst ','"'"',$(2))' > $$@
endef
$(eval $(call stamp_rule,$(B)/.flags,$(CC) $(CLANG) $(ALL_CFLAGS) $(SHIM_CFLAGS) $(SHIM_WIRE_FLAGS) $(SHIM_PRELOAD_FLAGS) $(BPF_CFLAGS) $(TRAPPING_FLAGS)))
$(eval $(call stamp_rule,$(B)/.libdir,$(LIBDIR) $(MULTIARCH)))
$(eval $(call stamp_rule,$(B)/.sources,$(LDFLAGS) $(DAEMON_SOURCES) / $(CLI_SOURCES) / $(PROBE_SOURCES) / $(SHIM_SOURCES)))

.SECONDARY: $(SKELETONS) $(SKELETONS:.skel.h=.bpf.o)
.PHONY: FORCE
FORCE:

# ---- BPF -------------------------------------------------------------------------------------------------------------
$(B)/bpf/%.bpf.o: bpf/%.bpf.c $(B)/.flags | $(B)/.packages
	@mkdir -p $(@D)
	$(say) CLANG $@
	$(Q)$(CLANG) $(BPF_ALL_CFLAGS) $(DEPEND) -c -o $@ $<

# The BPF linker drops the debugging sections: the skeleton, and so each program, is a third of the size.
$(B)/bpf/%.skel.h: $(B)/bpf/%.bpf.o
	$(say) SKEL $@
	$(Q)$(BPFTOOL) gen object $(@:.skel.h=.linked.o) $<
	$(Q)$(BPFTOOL) gen skeleton $(@:.skel.h=.linked.o) name $*_bpf > $@

# ---- objects: $(B)/obj/<component>/<source>.o ------------------------------------------------------------------------
# Skeletons are order-only: who includes one gets a real dependency from its .d file after the first build.
$(B)/obj/daemon/%.o: %.c $(B)/.flags | $(B)/.packages $(SKELETONS)
	@mkdir -p $(@D)
	$(say) CC $@
	$(Q)$(CC) $(ALL_CFLAGS) $(DAEMON_CFLAGS) -I$(B)/bpf $(DEPEND) -c -o $@ $<

$(B)/obj/cli/%.o: %.c $(B)/.flags | $(B)/.packages $(SKELETONS)
	@mkdir -p $(@D)
	$(say) CC $@
	$(Q)$(CC) $(ALL_CFLAGS) $(CLI_CFLAGS) -I$(B)/bpf $(DEFINES) $(DEPEND) -c -o $@ $<

$(B)/obj/cli/helper/cli/library.o: DEFINES := -DSMACCEL_LIBDIR='"$(LIBDIR)"' -DSMACCEL_MULTIARCH='"$(MULTIARCH)"'
$(B)/obj/cli/helper/cli/library.o: $(B)/.libdir

$(B)/obj/shim/preload/%.o: preload/%.c $(B)/.flags | $(B)/.packages
	@mkdir -p $(@D)
	$(say) CC $@
	$(Q)$(CC) $(SHIM_CFLAGS) $(SHIM_PRELOAD_FLAGS) $(DEPEND) -c -o $@ $<

$(B)/obj/shim/helper/wire/%.o: helper/wire/%.c $(B)/.flags | $(B)/.packages
	@mkdir -p $(@D)
	$(say) CC $@
	$(Q)$(CC) $(SHIM_CFLAGS) $(SHIM_WIRE_FLAGS) $(DEPEND) -c -o $@ $<

# ---- programs ----------------------------------------------------------------------------------------------------------
$(B)/libsmaccel.so: $(SHIM_OBJECTS) $(SHIM_SCRIPTS) $(B)/.sources
	$(say) LINK $@
	$(Q)$(CC) $(SHIM_CFLAGS) $(SHIM_LDFLAGS) -o $@ $(SHIM_OBJECTS)

# With the name by which the library knows them (preload/init.c).
PROGRAM_LDFLAGS = $(ALL_LDFLAGS) -Wl,--export-dynamic-symbol=smaccel_shim

$(B)/smacceld: $(DAEMON_OBJECTS) $(B)/.sources
	$(say) LINK $@
	$(Q)$(CC) $(ALL_CFLAGS) $(PROGRAM_LDFLAGS) -o $@ $(DAEMON_OBJECTS) $(DAEMON_LIBS)

$(B)/smaccel: $(CLI_OBJECTS) $(PROBE_OBJECTS) $(B)/.sources
	$(say) LINK $@
	$(Q)$(CC) $(ALL_CFLAGS) $(PROGRAM_LDFLAGS) -o $@ $(CLI_OBJECTS) $(PROBE_OBJECTS) $(CLI_LIBS)

# ---- the shim by another compiler: musl's ------------------------------------------------------------------------------
# $(B)/libsmaccel.so serves programs of both libcs. This one is for a system that has no glibc: there, its own CC does as well.
# musl-gcc finds only musl's headers; those of the kernel are the system's. It names no libc that it needs: a program of the other
# one, a child perhaps, would not start.
MUSL_CC ?= musl-gcc
MUSL_CFLAGS = $(filter-out -fexceptions,$(SHIM_CFLAGS)) -idirafter $(B)/musl/include
MUSL_OBJECTS := $(SHIM_SOURCES:%.c=$(B)/musl/obj/%.o)

.PHONY: musl
musl: $(B)/musl/libsmaccel.so

$(B)/musl/include/.made:
	@mkdir -p $(@D)
	$(Q)for folder in linux asm asm-generic; do ln -sfn "$$(ls -d /usr/include/$$folder /usr/include/$(MULTIARCH)/$$folder 2>/dev/null | head -n 1)" \
		$(@D)/$$folder; done
	@touch $@

$(B)/musl/obj/preload/%.o: preload/%.c $(B)/.flags $(B)/musl/include/.made
	@mkdir -p $(@D)
	$(say) MUSL-CC $@
	$(Q)$(MUSL_CC) $(MUSL_CFLAGS) $(SHIM_PRELOAD_FLAGS) $(DEPEND) -c -o $@ $<

$(B)/musl/obj/helper/wire/%.o: helper/wire/%.c $(B)/.flags $(B)/musl/include/.made
	@mkdir -p $(@D)
	$(say) MUSL-CC $@
	$(Q)$(MUSL_CC) $(MUSL_CFLAGS) $(SHIM_WIRE_FLAGS) $(DEPEND) -c -o $@ $<

$(B)/musl/libsmaccel.so: $(MUSL_OBJECTS) $(SHIM_SCRIPTS) $(B)/.sources
	$(say) LINK $@
	$(Q)$(MUSL_CC) $(MUSL_CFLAGS) $(filter-out %--no-undefined,$(SHIM_LDFLAGS)) -nodefaultlibs -o $@ $(MUSL_OBJECTS)

-include $(MUSL_OBJECTS:.o=.d)

include tests/tests.mk
-include $(patsubst %.o,%.d,$(DAEMON_OBJECTS) $(CLI_OBJECTS) $(SHIM_OBJECTS) $(SKELETONS:.skel.h=.bpf.o))

# ---- packages -------------------------------------------------------------------------------------------------------------
.PHONY: deps
deps:
	tests/deps install build test lint vm try

# ---- to use it -------------------------------------------------------------------------------------------------------------
.PHONY: try
try:
	tests/deps install build try
	+$(MAKE) --no-print-directory $(JOBS) all
	examples/redis-before-after.sh

# ---- installing ----------------------------------------------------------------------------------------------------------
# The library goes where the dynamic linker looks by itself, so that LD_PRELOAD=libsmaccel.so is enough.
.PHONY: install uninstall
SAMPLES := smacceld.conf systemd-service.conf
# sd_booted(3): without it `systemctl restart` would start what the unit was.
RELOAD_UNITS = [ ! -d /run/systemd/system ] || systemctl daemon-reload
install: all
	$(INSTALL) -d '$(DESTDIR)$(BINDIR)' '$(DESTDIR)$(SBINDIR)' '$(DESTDIR)$(LIBDIR)' '$(DESTDIR)$(MANDIR)/man1' \
		'$(DESTDIR)$(MANDIR)/man8' '$(DESTDIR)$(UNITDIR)' '$(DESTDIR)$(DOCDIR)'
	$(INSTALL) -m 755 $(B)/smaccel '$(DESTDIR)$(BINDIR)/smaccel'
	$(INSTALL) -m 755 $(B)/smacceld '$(DESTDIR)$(SBINDIR)/smacceld'
	$(INSTALL) -m 644 $(B)/libsmaccel.so '$(DESTDIR)$(LIBDIR)/libsmaccel.so.new'
	mv -f '$(DESTDIR)$(LIBDIR)/libsmaccel.so.new' '$(DESTDIR)$(LIBDIR)/libsmaccel.so'
	$(INSTALL) -m 644 helper/man/smaccel.1 '$(DESTDIR)$(MANDIR)/man1/smaccel.1'
	$(INSTALL) -m 644 helper/man/smacceld.8 '$(DESTDIR)$(MANDIR)/man8/smacceld.8'
	sed 's|@SBINDIR@|$(SBINDIR)|g' helper/systemd/smacceld.service.in > '$(DESTDIR)$(UNITDIR)/smacceld.service'
	chmod 644 '$(DESTDIR)$(UNITDIR)/smacceld.service'
	$(INSTALL) -m 644 helper/systemd/smacceld.socket '$(DESTDIR)$(UNITDIR)/smacceld.socket'
	$(INSTALL) -m 644 $(SAMPLES:%=examples/%) '$(DESTDIR)$(DOCDIR)'
ifeq ($(DESTDIR),)
	PATH="$$PATH:/usr/sbin:/sbin" ldconfig
	$(RELOAD_UNITS)
	@PATH="$$PATH:/usr/sbin:/sbin" ldconfig -p | grep -qF '$(LIBDIR)/libsmaccel.so' || echo 'note: the dynamic linker does not' \
		'search $(LIBDIR): use `smaccel run`, or LD_PRELOAD=$(LIBDIR)/libsmaccel.so'
endif

# Not while ld.so is told to load the library into each program: all of them would complain from then on.
uninstall:
	@! grep -qsF libsmaccel.so '$(DESTDIR)/etc/ld.so.preload' || { echo 'uninstall: $(DESTDIR)/etc/ld.so.preload names the library:' \
		'take that line out first, or each program that starts prints an error' >&2; exit 1; }
	rm -f '$(DESTDIR)$(BINDIR)/smaccel' '$(DESTDIR)$(SBINDIR)/smacceld' '$(DESTDIR)$(LIBDIR)/libsmaccel.so' \
		'$(DESTDIR)$(MANDIR)/man1/smaccel.1' '$(DESTDIR)$(MANDIR)/man8/smacceld.8' '$(DESTDIR)$(UNITDIR)/smacceld.service' \
		'$(DESTDIR)$(UNITDIR)/smacceld.socket' $(SAMPLES:%='$(DESTDIR)$(DOCDIR)/%')
	! [ -d '$(DESTDIR)$(DOCDIR)' ] || rmdir --ignore-fail-on-non-empty '$(DESTDIR)$(DOCDIR)'
ifeq ($(DESTDIR),)
	PATH="$$PATH:/usr/sbin:/sbin" ldconfig
	$(RELOAD_UNITS)
	@echo 'What stays: a smacceld that runs, and programs that have the library (end them);' \
		'links that `systemctl enable` has made (systemctl disable smacceld.service smacceld.socket);' \
		'/etc/smaccel; the pinned maps (rm -r /sys/fs/bpf/smaccel, when both have ended); /run/smaccel.'
endif

.PHONY: clean
clean:
	rm -rf build build-asan

# ---- help -----------------------------------------------------------------------------------------------------------------
.PHONY: help
help:
	@echo 'make                 build/libsmaccel.so, build/smacceld, build/smaccel'
	@echo 'make try             installs what is missing, builds, and runs redis-benchmark before and after (root)'
	@echo 'make check           installs what is missing, builds, lints and runs every test (root)'
	@echo 'make check-vm        the parts of it that boot Debian'"'"'s kernels in QEMU (root)'
	@echo 'make check-suites    other people'"'"'s programs and suites with big volumes: 70 minutes (root)'
	@echo 'make check-planted   planted differences, 100 trials of each: 17 minutes (root)'
	@echo 'make test T="..."    runs the named tests or suites; tests/run --list names them'
	@echo 'make musl            $(B)/musl/libsmaccel.so by musl-gcc, for a system without glibc'
	@echo 'make tests           builds the test programs only'
	@echo 'make lint | format   checks | applies the style'
	@echo 'make analyze         clang'"'"'s static analyzer, slow; looked at by a person'
	@echo 'make bench           the benchmark; make bench-quick: a short one (root)'
	@echo 'make deps            installs the Debian packages that are missing (root)'
	@echo 'make install         PREFIX=$(PREFIX) DESTDIR=   also: uninstall; the library goes to $(LIBDIR)'
	@echo 'make clean'
	@echo
	@echo 'SANITIZE=1           builds into build-asan/ with the address and undefined-behaviour sanitizers'
	@echo 'V=1                  shows the commands;  CC CLANG BPFTOOL CFLAGS LDFLAGS BPF_CFLAGS are respected'
