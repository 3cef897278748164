# SPDX-License-Identifier: BSD-2-Clause
# sandbox uses libseccomp; talk is built for several environments.
TEST_OWN_RULES += tests/environment/sandbox.c
TEST_PROGRAMS += $(B)/tests/environment/sandbox $(B)/tests/environment/talk-static $(B)/tests/environment/talk-asan

$(B)/tests/environment/sandbox: tests/environment/sandbox.c $(B)/.flags | $(B)/.packages
	@mkdir -p $(@D)
	$(say) CC $@
	$(Q)$(CC) $(TEST_CFLAGS) $(TEST_DEPEND) -o $@ $< $(ALL_LDFLAGS) $(shell $(PKG_CONFIG) --libs libseccomp) -pthread

$(B)/tests/environment/talk-static: tests/environment/talk.c $(B)/.flags | $(B)/.packages
	@mkdir -p $(@D)
	$(say) CC $@
	$(Q)$(CC) $(COMMON_FLAGS) $(CPPFLAGS) $(CFLAGS) $(TEST_DEPEND) -static -o $@ $< $(LDFLAGS)

$(B)/tests/environment/talk-asan: tests/environment/talk.c $(B)/.flags | $(B)/.packages
	@mkdir -p $(@D)
	$(say) CC $@
	$(Q)$(CC) $(COMMON_FLAGS) $(CPPFLAGS) $(CFLAGS) -fsanitize=address,undefined -fno-omit-frame-pointer $(TEST_DEPEND) -o $@ $< $(LDFLAGS)
