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

# The same program for musl. Without musl-gcc (tests/packages) its test fails by name.
SEMANTICS_MUSL_OBJECTS := $(SEMANTICS_OBJECTS:$(B)/obj/%=$(B)/musl/obj/%)
ifneq ($(shell command -v $(MUSL_CC)),)
TEST_PROGRAMS += $(B)/tests/conformance/semantics-musl
endif

$(B)/musl/obj/tests/conformance/semantics/%.o: tests/conformance/semantics/%.c $(B)/.flags $(B)/musl/include/.made
	@mkdir -p $(@D)
	$(say) MUSL-CC $@
	$(Q)$(MUSL_CC) $(COMMON_FLAGS) $(CPPFLAGS) $(CFLAGS) -Wno-restrict -idirafter $(B)/musl/include $(DEPEND) -c -o $@ $<

$(B)/tests/conformance/semantics-musl: $(SEMANTICS_MUSL_OBJECTS) $(B)/.sources
	@mkdir -p $(@D)
	$(say) MUSL-LINK $@
	$(Q)$(MUSL_CC) -o $@ $(SEMANTICS_MUSL_OBJECTS) $(LDFLAGS) -pthread

# The shim once more: undefined behaviour traps. (Its warnings are those of the other build.)
TRAPPING_OBJECTS := $(SHIM_SOURCES:%.c=$(B)/trapping/obj/%.o)
TEST_PROGRAMS += $(B)/tests/trapping/libsmaccel.so

$(B)/trapping/obj/preload/%.o: preload/%.c $(B)/.flags
	@mkdir -p $(@D)
	$(say) CC $@
	$(Q)$(CC) $(SHIM_CFLAGS) $(TRAPPING_FLAGS) -O1 -w $(SHIM_PRELOAD_FLAGS) $(DEPEND) -c -o $@ $<

$(B)/trapping/obj/helper/wire/%.o: helper/wire/%.c $(B)/.flags
	@mkdir -p $(@D)
	$(say) CC $@
	$(Q)$(CC) $(SHIM_CFLAGS) $(TRAPPING_FLAGS) -O1 -w $(SHIM_WIRE_FLAGS) $(DEPEND) -c -o $@ $<

$(B)/tests/trapping/libsmaccel.so: $(TRAPPING_OBJECTS) $(SHIM_SCRIPTS) $(B)/.sources
	@mkdir -p $(@D)
	$(say) LINK $@
	$(Q)$(CC) $(SHIM_LDFLAGS) $(TRAPPING_FLAGS) -o $@ $(TRAPPING_OBJECTS)

-include $(SEMANTICS_OBJECTS:.o=.d) $(SEMANTICS_MUSL_OBJECTS:.o=.d) $(TRAPPING_OBJECTS:.o=.d)
