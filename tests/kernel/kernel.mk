# SPDX-License-Identifier: BSD-2-Clause
# The kernel tests: each test_*.c is one program, with the data path and the skeletons of the tests' own BPF programs.
KERNEL_SOURCES := $(sort $(wildcard tests/kernel/*.c))
KERNEL_TESTS := $(filter tests/kernel/test_%,$(KERNEL_SOURCES))
KERNEL_BPF := $(filter %.bpf.c,$(KERNEL_SOURCES))
KERNEL_SKELETONS := $(KERNEL_BPF:tests/kernel/%.bpf.c=$(B)/tests/kernel/%.skel.h)
TEST_OWN_RULES += $(KERNEL_SOURCES)
TEST_PROGRAMS += $(KERNEL_TESTS:%.c=$(B)/%)

$(B)/tests/kernel/%.bpf.o: tests/kernel/%.bpf.c $(B)/.flags | $(B)/.packages
	@mkdir -p $(@D)
	$(say) CLANG $@
	$(Q)$(CLANG) $(BPF_ALL_CFLAGS) -Ibpf $(DEPEND) -c -o $@ $<

$(B)/tests/kernel/%.skel.h: $(B)/tests/kernel/%.bpf.o
	$(say) SKEL $@
	$(Q)$(BPFTOOL) gen skeleton $< name $*_bpf > $@

$(KERNEL_TESTS:%.c=$(B)/%): $(B)/%: %.c $(PROBE_OBJECTS) $(B)/.flags | $(B)/.packages $(KERNEL_SKELETONS)
	@mkdir -p $(@D)
	$(say) CC $@
	$(Q)$(CC) $(TEST_CFLAGS) -I$(B)/bpf -I$(B)/tests/kernel -Ibpf -Ihelper -Itests/kernel $(TEST_DEPEND) -o $@ $< $(PROBE_OBJECTS) \
		$(ALL_LDFLAGS) $(CLI_LIBS) -pthread

.SECONDARY: $(KERNEL_SKELETONS) $(KERNEL_BPF:%.bpf.c=$(B)/%.bpf.o)
-include $(KERNEL_BPF:%.bpf.c=$(B)/%.bpf.d)
