# SPDX-License-Identifier: BSD-2-Clause
# The competition: a BPF program of the benchmark's own and its loader.
BYPASS := $(B)/tests/bench/bypass
TEST_OWN_RULES += tests/bench/bypass.c tests/bench/bypass.bpf.c
TEST_PROGRAMS += $(BYPASS)

$(BYPASS).bpf.o: tests/bench/bypass.bpf.c $(B)/.flags | $(B)/.packages
	@mkdir -p $(@D)
	$(say) CLANG $@
	$(Q)$(CLANG) $(BPF_ALL_CFLAGS) $(DEPEND) -c -o $@ $<

$(BYPASS).skel.h: $(BYPASS).bpf.o
	$(say) SKEL $@
	$(Q)$(BPFTOOL) gen skeleton $< name bypass_bpf > $@

$(BYPASS): tests/bench/bypass.c $(B)/.flags | $(B)/.packages $(BYPASS).skel.h
	@mkdir -p $(@D)
	$(say) CC $@
	$(Q)$(CC) $(TEST_CFLAGS) -I$(B)/tests/bench -Itests/bench $(TEST_DEPEND) -o $@ $< $(ALL_LDFLAGS) $(CLI_LIBS)

.SECONDARY: $(BYPASS).skel.h $(BYPASS).bpf.o
-include $(BYPASS).bpf.d
