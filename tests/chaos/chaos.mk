# SPDX-License-Identifier: BSD-2-Clause
# A BPF program of the suite's own and its loader; a library for the helper.
SLOW_LANDING := $(B)/tests/chaos/slow_landing
TEST_OWN_RULES += tests/chaos/slow_landing.c tests/chaos/slow_landing.bpf.c tests/chaos/striking.c
TEST_PROGRAMS += $(SLOW_LANDING) $(B)/tests/chaos/striking.so

$(B)/tests/chaos/striking.so: tests/chaos/striking.c $(B)/.flags
	@mkdir -p $(@D)
	$(say) CC $@
	$(Q)$(CC) $(COMMON_FLAGS) $(CPPFLAGS) $(CFLAGS) $(TEST_DEPEND) -fPIC -shared -o $@ $< $(LDFLAGS)

$(SLOW_LANDING).bpf.o: tests/chaos/slow_landing.bpf.c $(B)/.flags | $(B)/.packages
	@mkdir -p $(@D)
	$(say) CLANG $@
	$(Q)$(CLANG) $(BPF_ALL_CFLAGS) -Ibpf $(DEPEND) -c -o $@ $<

$(SLOW_LANDING).skel.h: $(SLOW_LANDING).bpf.o
	$(say) SKEL $@
	$(Q)$(BPFTOOL) gen skeleton $< name slow_landing_bpf > $@

$(SLOW_LANDING): tests/chaos/slow_landing.c $(B)/.flags | $(B)/.packages $(SLOW_LANDING).skel.h
	@mkdir -p $(@D)
	$(say) CC $@
	$(Q)$(CC) $(TEST_CFLAGS) -I$(B)/tests/chaos $(TEST_DEPEND) -o $@ $< $(ALL_LDFLAGS) $(CLI_LIBS)

.SECONDARY: $(SLOW_LANDING).skel.h $(SLOW_LANDING).bpf.o
-include $(SLOW_LANDING).bpf.d
