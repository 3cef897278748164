# SPDX-License-Identifier: BSD-2-Clause
# sandbox uses libseccomp; talk is built for several environments.
# For each function that direct.h may make in place a library that wraps it, and nothing else.
COUNTED := read recv recvfrom recvmsg readv write send sendto sendmsg writev
TEST_OWN_RULES += tests/environment/sandbox.c tests/environment/padding.c tests/environment/counting.c
TEST_PROGRAMS += $(B)/tests/environment/sandbox $(B)/tests/environment/talk-static $(B)/tests/environment/talk-asan \
	$(COUNTED:%=$(B)/tests/environment/counting-%.so)
# Without musl-gcc (tests/packages) the tests of musl fail by name.
ifneq ($(shell command -v $(MUSL_CC)),)
TEST_PROGRAMS += $(B)/tests/environment/talk-musl $(B)/tests/environment/padding $(B)/musl/libsmaccel.so
endif

$(B)/tests/environment/sandbox: tests/environment/sandbox.c $(B)/.flags | $(B)/.packages
	@mkdir -p $(@D)
	$(say) CC $@
	$(Q)$(CC) $(TEST_CFLAGS) $(TEST_DEPEND) -o $@ $< $(ALL_LDFLAGS) $(shell $(PKG_CONFIG) --libs libseccomp) -pthread

$(COUNTED:%=$(B)/tests/environment/counting-%.so): $(B)/tests/environment/counting-%.so: tests/environment/counting.c $(B)/.flags
	@mkdir -p $(@D)
	$(say) CC $@
	$(Q)$(CC) $(COMMON_FLAGS) $(CPPFLAGS) $(CFLAGS) $(TEST_DEPEND) -DCOUNTED=$* -fno-builtin -fPIC -shared -o $@ $< $(LDFLAGS)

$(B)/tests/environment/talk-static: tests/environment/talk.c $(B)/.flags | $(B)/.packages
	@mkdir -p $(@D)
	$(say) CC $@
	$(Q)$(CC) $(COMMON_FLAGS) $(CPPFLAGS) $(CFLAGS) $(TEST_DEPEND) -static -o $@ $< $(LDFLAGS)

$(B)/tests/environment/talk-asan: tests/environment/talk.c $(B)/.flags | $(B)/.packages
	@mkdir -p $(@D)
	$(say) CC $@
	$(Q)$(CC) $(COMMON_FLAGS) $(CPPFLAGS) $(CFLAGS) -fsanitize=address,undefined -fno-omit-frame-pointer $(TEST_DEPEND) -o $@ $< $(LDFLAGS)

$(B)/tests/environment/talk-musl: tests/environment/talk.c $(B)/.flags
	@mkdir -p $(@D)
	$(say) MUSL-CC $@
	$(Q)$(MUSL_CC) $(COMMON_FLAGS) $(CPPFLAGS) $(CFLAGS) $(TEST_DEPEND) -o $@ $< $(LDFLAGS)

$(B)/tests/environment/padding: tests/environment/padding.c $(B)/.flags
	@mkdir -p $(@D)
	$(say) MUSL-CC $@
	$(Q)$(MUSL_CC) $(COMMON_FLAGS) $(CPPFLAGS) $(CFLAGS) $(TEST_DEPEND) -o $@ $< $(LDFLAGS)
