# SPDX-License-Identifier: BSD-2-Clause
# Other people's programs and suites with big volumes; the short form is part of `make check`. SUITES="suites/ssh": only these.
.PHONY: check-suites
check-suites:
	@[ "$$(id -u)" = 0 ] || { echo 'make check-suites: needs root (BPF, network namespaces, packages)' >&2; exit 1; }
	@tests/deps install build test suites
	@+$(MAKE) --no-print-directory $(JOBS) all tests
	@$(RUN_TESTS) --tests tests/suites/list --log-dir '$(abspath $(B))/suite-logs' --within 9000 $(SUITES); status=$$?; \
		echo; grep -h '^suite ' '$(abspath $(B))'/suite-logs/suites.*.log; exit $$status
