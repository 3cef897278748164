# SPDX-License-Identifier: BSD-2-Clause
# semantics: one program of several files.
SEMANTICS_OBJECTS := $(patsubst %.c,$(B)/obj/%.o,$(sort $(wildcard tests/conformance/semantics/*.c)))
TEST_PROGRAMS += $(B)/tests/conformance/semantics

$(B)/obj/tests/conformance/semantics/%.o: tests/conformance/semantics/%.c $(B)/.flags | $(B)/.packages
	@mkdir -p $(@D)
	$(say) CC $@
	$(Q)$(CC) $(TEST_CFLAGS) $(DEPEND) -c -o $@ $<

$(B)/tests/conformance/semantics: $(SEMANTICS_OBJECTS) $(B)/.sources
	@mkdir -p $(@D)
	$(say) LINK $@
	$(Q)$(CC) $(TEST_CFLAGS) -o $@ $(SEMANTICS_OBJECTS) $(ALL_LDFLAGS) -pthread

-include $(SEMANTICS_OBJECTS:.o=.d)
