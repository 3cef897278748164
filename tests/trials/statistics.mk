# SPDX-License-Identifier: BSD-2-Clause
# The statistics of `smaccel ab` as a shared object, for Python (tests/bench/statistics_ab.py): one module for all.
STATISTICS_SOURCES := $(sort $(wildcard helper/cli/statistics*.c))
TEST_PROGRAMS += $(B)/tests/bench/libstatistics.so

# Without sanitizers: Python would have to preload their runtime.
$(B)/tests/bench/libstatistics.so: $(STATISTICS_SOURCES) helper/cli/statistics.h $(B)/.flags | $(B)/.packages
	@mkdir -p $(@D)
	$(say) LINK $@
	$(Q)$(CC) $(COMMON_FLAGS) $(CPPFLAGS) $(CFLAGS) -fPIC -shared -o $@ $(STATISTICS_SOURCES) $(LDFLAGS) -lm
